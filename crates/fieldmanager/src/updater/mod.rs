//! What a write does to everybody's fields. Upstream: `structured-merge-diff/merge/update.go`, `Updater`.

use std::collections::BTreeMap;

use schema::Node;

use crate::{
    conflict::Conflicts,
    managed::{ManagerId, VersionedSet},
    set::{Filter, Set},
    typed::{Comparison, Invalid, TypeRef, TypedValue},
};

pub(crate) type Fields = BTreeMap<ManagerId, VersionedSet>;

/// The versions of a kind.
pub trait Versions {
    /// The type of objects in a version, such as `apps/v1`; none when the version is not, or no longer, served.
    fn kind_in(&self, version: &str) -> Option<TypeRef<'_>>;

    /// Whether objects are read as upstream reads structs (built-in kinds) or as they are written.
    fn literal(&self) -> bool;

    /// The object in another version. Only called for versions that have a type.
    fn convert(&self, object: &Node<'_>, from: &str, to: &str) -> Result<Node<'static>, String>;

    /// What the request's endpoint lets through, in a version.
    fn filter_in(&self, version: &str) -> &Filter;
}

/// How the live and the new object differ as a version shows them; none when there is no such version.
pub type Compare<'f> = dyn FnMut(&str) -> Result<Option<Comparison>, Invalid> + 'f;

/// Why an apply came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    Conflicts(Conflicts),
    Invalid(String),
}

impl From<Invalid> for Failure {
    fn from(error: Invalid) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Takes the changed fields from everybody but `current`.
fn take_over(
    fields: &mut Fields,
    current: &ManagerId,
    force: bool,
    compare: &mut dyn FnMut(&str) -> Result<Option<Comparison>, Failure>,
) -> Result<(), Failure> {
    let mut known: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
    let mut conflicts = Conflicts::default();
    let mut left: Vec<(ManagerId, Option<Set>)> = Vec::new();
    for (manager, versioned) in &*fields {
        if manager == current {
            continue;
        }
        let comparison = match known.get(&versioned.api_version) {
            Some(comparison) => comparison,
            None => {
                let comparison = compare(&versioned.api_version)?;
                known.entry(versioned.api_version.clone()).or_insert(comparison)
            }
        };
        let Some(comparison) = comparison else {
            // The version is gone, and with it what the entry says.
            left.push((manager.clone(), None));
            continue;
        };
        let taken = versioned.set.intersection(&comparison.modified.union(&comparison.added));
        if taken.is_empty() && comparison.removed.is_empty() {
            continue;
        }
        conflicts.add(manager, &taken);
        left.push((manager.clone(), Some(versioned.set.difference(&taken).difference(&comparison.removed))));
    }
    if !force && !conflicts.is_empty() {
        return Err(Failure::Conflicts(conflicts));
    }
    for (manager, set) in left {
        match set {
            Some(set) => {
                if let Some(versioned) = fields.get_mut(&manager) {
                    versioned.set = set;
                }
            }
            None => {
                fields.remove(&manager);
            }
        }
    }
    fields.retain(|_, versioned| !versioned.set.is_empty());
    Ok(())
}

/// An update by `current`: what it changed is its own now, and nobody else's.
pub(crate) fn update(
    fields: Fields,
    version: &str,
    current: &ManagerId,
    versions: &dyn Versions,
    compare: &mut Compare<'_>,
) -> Result<Fields, Invalid> {
    let mut fields = reconciled(fields, versions);
    let own = compare(version)?.ok_or_else(|| Invalid::new(format!("no type for version {version}")))?;
    let own = own.filtered(versions.filter_in(version));
    let mut compare = |other: &str| {
        if other == version {
            return Ok(Some(own.clone()));
        }
        let comparison = compare(other).map_err(Failure::from)?;
        Ok(comparison.map(|comparison| comparison.filtered(versions.filter_in(other))))
    };
    match take_over(&mut fields, current, true, &mut compare) {
        Ok(()) => {}
        Err(Failure::Invalid(message)) => return Err(Invalid::new(message)),
        // Forced.
        Err(Failure::Conflicts(_)) => {}
    }
    let before = fields.remove(current).map(|versioned| versioned.set).unwrap_or_default();
    let set = before.difference(&own.removed).union(&own.modified).union(&own.added);
    let set = versions.filter_in(version).apply(set);
    if !set.is_empty() {
        fields.insert(current.clone(), VersionedSet { set, api_version: version.to_owned(), applied: false });
    }
    Ok(fields)
}

/// What an apply made.
pub(crate) struct Merged<'a> {
    /// None: nothing but ownership changed.
    pub(crate) object: Option<TypedValue<'a>>,
    pub(crate) fields: Fields,
}

/// Lays a configuration over the live object. What `current` applied before and no longer does goes, unless others want it.
pub(crate) fn apply<'a>(
    live: &TypedValue<'a>,
    config: &TypedValue<'_>,
    version: &str,
    fields: Fields,
    current: &ManagerId,
    force: bool,
    versions: &'a dyn Versions,
) -> Result<Merged<'a>, Failure> {
    let mut fields = reconciled(fields, versions);
    let merged = live.merge(config).map_err(|error| Failure::Invalid(format!("failed to merge config: {error}")))?;
    let last = fields.remove(current);
    let set = config.field_set().map_err(|error| Failure::Invalid(format!("failed to get field set: {error}")))?;
    let set = versions.filter_in(version).apply(set);
    fields.insert(current.clone(), VersionedSet { set, api_version: version.to_owned(), applied: true });
    let merged = Versioned { value: merged, version: version.to_owned() };
    let new = match last.filter(|last| !last.set.is_empty()) {
        Some(last) => prune(merged, &fields, &last, versions)
            .map_err(|error| Failure::Invalid(format!("failed to prune fields: {error}")))?,
        None => merged,
    };
    let live = Versioned { value: live.clone(), version: version.to_owned() };
    let mut compare = |other: &str| -> Result<Option<Comparison>, Failure> {
        let convert = |object: &Versioned<'a>| object.to(other, versions).map_err(Failure::Invalid);
        let (Some(old), Some(new)) = (convert(&live)?, convert(&new)?) else { return Ok(None) };
        let comparison = old.value.compare(&new.value);
        let comparison = comparison.map_err(|error| Failure::Invalid(format!("failed to compare objects: {error}")))?;
        Ok(Some(comparison.filtered(versions.filter_in(other))))
    };
    take_over(&mut fields, current, force, &mut compare)?;
    let same = live.value.equals(&new.value);
    Ok(Merged { object: (!same).then_some(new.value), fields })
}

/// An object in one of its versions.
#[derive(Clone)]
struct Versioned<'a> {
    value: TypedValue<'a>,
    version: String,
}

impl<'a> Versioned<'a> {
    /// None when there is no such version.
    fn to(&self, version: &str, versions: &'a dyn Versions) -> Result<Option<Self>, String> {
        if self.version == version {
            return Ok(Some(self.clone()));
        }
        let Some(kind) = versions.kind_in(version) else { return Ok(None) };
        let node = versions.convert(&self.value.node, &self.version, version)?;
        let value = TypedValue { kind, node, literal: versions.literal() };
        Ok(Some(Self { value, version: version.to_owned() }))
    }

    /// Its fields, those on the way to them included.
    fn named_fields(&self) -> Result<Set, String> {
        let set = self.value.field_set().map_err(|error| error.to_string())?;
        Ok(set.with_named_fields(Some(self.value.kind)))
    }
}

/// Removes what was applied last time and is not now, unless somebody else has it.
fn prune<'a>(
    merged: Versioned<'a>,
    fields: &Fields,
    last: &VersionedSet,
    versions: &'a dyn Versions,
) -> Result<Versioned<'a>, String> {
    let Some(at_last) = merged.to(&last.api_version, versions)? else { return Ok(merged) };
    let last_set = last.set.with_named_fields(Some(at_last.value.kind));
    let pruned = Versioned { value: at_last.value.without(&last_set), version: at_last.version.clone() };
    let pruned = add_back_owned(&at_last, pruned, fields, versions)?;
    let pruned = add_back_dangling(&at_last, &pruned, &last_set, versions)?;
    Ok(pruned.to(&merged.version, versions)?.unwrap_or(merged))
}

/// Gives back what was pruned although an applier or updater, or the new configuration, has it.
fn add_back_owned<'a>(
    merged: &Versioned<'a>,
    pruned: Versioned<'a>,
    fields: &Fields,
    versions: &'a dyn Versions,
) -> Result<Versioned<'a>, String> {
    let mut managed: BTreeMap<&str, Set> = BTreeMap::new();
    for versioned in fields.values() {
        let set = managed.entry(&versioned.api_version).or_default();
        *set = set.union(&versioned.set);
    }
    // First in the version that was pruned, so that what a conversion needs is there again.
    let first = managed.remove_entry(merged.version.as_str());
    let (mut merged, mut pruned) = (merged.clone(), pruned);
    for (version, managed) in first.into_iter().chain(managed) {
        let (Some(next_merged), Some(next_pruned)) = (merged.to(version, versions)?, pruned.to(version, versions)?)
        else {
            continue;
        };
        let kept = next_pruned.named_fields()?.union(&managed.with_named_fields(Some(next_merged.value.kind)));
        let removed = next_merged.named_fields()?.difference(&kept);
        pruned = Versioned { value: next_merged.value.without(&removed), version: version.to_owned() };
        merged = next_merged;
    }
    Ok(pruned)
}

/// Gives back what was pruned although the applier did not have it.
fn add_back_dangling<'a>(
    merged: &Versioned<'a>,
    pruned: &Versioned<'a>,
    last_set: &Set,
    versions: &'a dyn Versions,
) -> Result<Versioned<'a>, String> {
    let Some(pruned) = pruned.to(&merged.version, versions)? else { return Ok(merged.clone()) };
    let removed = merged.named_fields()?.difference(&pruned.named_fields()?).intersection(last_set);
    Ok(Versioned { value: merged.value.without(&removed), version: merged.version.clone() })
}

/// Without versions that are gone, and as today's types want it.
fn reconciled(mut fields: Fields, versions: &dyn Versions) -> Fields {
    fields.retain(|_, versioned| {
        let Some(kind) = versions.kind_in(&versioned.api_version) else { return false };
        if let Some(set) = versioned.set.reconciled(kind) {
            versioned.set = set;
        }
        true
    });
    fields
}

#[cfg(test)]
mod tests;
