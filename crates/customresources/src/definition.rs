//! A definition as it is served: names, versions and their schemas, read once.

use std::{
    hash::{DefaultHasher, Hasher as _},
    io,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use registry::{DynamicObject, Scope};
use resources::apiextensions::custom_resource_definition::{
    expressions::Validator,
    fields::{self, flag, list, text, there},
};
use schema::{
    Schema,
    structural::{Structural, typed},
};
use serde_json::Value;

use crate::{columns::Columns, convert::Conversion};

/// One accepted definition.
#[derive(Debug)]
pub struct Definition {
    pub(crate) uid: String,
    pub(crate) group: String,
    /// As they were accepted.
    pub(crate) names: Value,
    pub(crate) scope: Scope,
    /// All, the unserved ones too: objects may be stored in them.
    pub(crate) versions: Vec<Version>,
    pub(crate) storage: String,
    pub(crate) conversion: Conversion,
    /// Nothing is pruned: only in definitions of the oldest kind.
    pub(crate) preserve_unknown: bool,
    terminating: AtomicBool,
    /// Of the specification that this was made from, which is too large to be kept for comparing.
    fingerprint: Fingerprint,
}

/// One version of it.
#[derive(Debug)]
pub struct Version {
    pub(crate) name: String,
    pub(crate) served: bool,
    pub(crate) tree: Structural,
    /// JSON of `openAPIV3Schema` as it was written, for documents. As a tree it would be several times as large.
    pub(crate) schema: Option<Box<[u8]>>,
    pub(crate) has_status: bool,
    pub(crate) scale: Option<Scale>,
    pub(crate) columns: Columns,
    /// Dotted, without the leading dot.
    pub(crate) selectable: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// Its validation rules, if it has any.
    pub(crate) rules: Option<Validator>,
    pub(crate) typed: OnceLock<Schema>,
}

/// Length and hash of a value's JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: u64,
}

impl Fingerprint {
    fn of(value: &Value) -> Self {
        let mut counted = Counted::default();
        // Writing to a hasher does not fail.
        if let Err(error) = serde_json::to_writer(&mut counted, value) {
            tracing::error!(%error, "a definition has no fingerprint");
        }
        Self { length: counted.length, hash: counted.hasher.finish() }
    }
}

#[derive(Default)]
struct Counted {
    length: usize,
    hasher: DefaultHasher,
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len();
        self.hasher.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Dotted paths of the scale subresource.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) spec: String,
    pub(crate) status: String,
    pub(crate) selector: String,
}

impl Definition {
    /// Of a definition whose names are accepted.
    pub fn of(definition: &DynamicObject) -> Result<Self, String> {
        let spec = fields::spec(definition);
        let names = fields::status(definition)["acceptedNames"].clone();
        for name in ["plural", "singular", "kind", "listKind"] {
            if text(&names, name).is_empty() {
                return Err(format!("status.acceptedNames.{name} is empty"));
            }
        }
        let group = text(spec, "group");
        let preserve_unknown = flag(spec, "preserveUnknownFields");
        let mut versions = Vec::new();
        for version in fields::versions(definition) {
            versions.push(Version::of(version, spec, text(&names, "kind"))?);
        }
        let metadata = &definition.metadata;
        Ok(Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            group: group.to_owned(),
            scope: if text(spec, "scope") == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
            versions,
            storage: fields::storage_version(definition).unwrap_or_default().to_owned(),
            conversion: Conversion::of(&spec["conversion"]),
            preserve_unknown,
            terminating: AtomicBool::new(metadata.deletion_timestamp.is_some()),
            fingerprint: Fingerprint::of(spec),
            names,
        })
    }

    /// Whether the definition still says what this was made from.
    pub(crate) fn is_made_from(&self, definition: &DynamicObject) -> bool {
        definition.metadata.uid.as_deref().unwrap_or_default() == self.uid
            && fields::status(definition)["acceptedNames"] == self.names
            && Fingerprint::of(fields::spec(definition)) == self.fingerprint
    }

    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    pub(crate) fn api_version(&self, version: &str) -> String {
        format!("{}/{version}", self.group)
    }

    pub(crate) fn kind(&self) -> &str {
        text(&self.names, "kind")
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Acquire)
    }

    pub(crate) fn set_terminating(&self) {
        self.terminating.store(true, Ordering::Release);
    }
}

impl Version {
    fn of(version: &Value, spec: &Value, kind: &str) -> Result<Self, String> {
        let schema = fields::schema(version);
        let mut tree = schema.map(Structural::new).transpose()?.unwrap_or_default();
        prune_defaults(&mut tree);
        let scale = fields::subresource(version, "scale").map(|scale| Scale {
            spec: text(scale, "specReplicasPath").to_owned(),
            status: text(scale, "statusReplicasPath").to_owned(),
            selector: text(scale, "labelSelectorPath").to_owned(),
        });
        let selectable = list(version, "selectableFields")
            .iter()
            .map(|field| text(field, "jsonPath").trim_start_matches('.').to_owned())
            .collect();
        Ok(Self {
            name: text(version, "name").to_owned(),
            served: flag(version, "served"),
            schema: schema.map(|schema| schema.to_string().into_bytes().into_boxed_slice()),
            has_status: fields::subresource(version, "status").is_some(),
            scale,
            columns: Columns::of(version),
            selectable,
            warnings: warnings(version, spec, kind),
            rules: schema.filter(|_| tree.has_rules).and_then(|schema| Validator::new(schema, true)),
            tree,
            typed: OnceLock::new(),
        })
    }

    /// The version's fields for walkers that know built-in kinds too.
    pub(crate) fn typed(&self, group: &str, kind: &str) -> &Schema {
        self.typed.get_or_init(|| {
            let tree = self.schema.is_some().then_some(&self.tree);
            typed::schema(tree, typed::Named { group, version: &self.name, kind })
        })
    }
}

/// Defaults hold nothing that pruning would take away again.
fn prune_defaults(tree: &mut Structural) {
    if !tree.has_defaults {
        return;
    }
    if let Some(mut default) = tree.default.take() {
        schema::structural::prune(&mut default, tree, tree.embedded);
        tree.default = Some(default);
    }
    tree.properties.values_mut().for_each(prune_defaults);
    if let Some(items) = &mut tree.items {
        prune_defaults(items);
    }
}

/// Upstream: `defaultDeprecationWarning`.
fn warnings(version: &Value, spec: &Value, kind: &str) -> Vec<String> {
    if !flag(version, "deprecated") {
        return Vec::new();
    }
    if let Some(own) = there(version, "deprecationWarning").and_then(Value::as_str) {
        return vec![own.to_owned()];
    }
    let (group, name) = (text(spec, "group"), text(version, "name"));
    let mut message = format!("{group}/{name} {kind} is deprecated");
    let better = list(spec, "versions")
        .iter()
        .filter(|other| flag(other, "served") && !flag(other, "deprecated"))
        .map(|other| text(other, "name"))
        .filter(|other| priority(other) > priority(name))
        .max_by_key(|other| priority(other));
    if let Some(better) = better {
        message.push_str(&format!("; use {group}/{better} {kind}"));
    }
    vec![message]
}

/// GA before beta before alpha, higher before lower; names of another form come last. Upstream:
/// `version.CompareKubeAwareVersionStrings`.
pub(crate) fn priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let other = || (0, 0, 0, std::cmp::Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other() };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else { return other() };
    let (stage, minor) = match &rest[digits..] {
        "" => (3, "0"),
        text => match (text.strip_prefix("beta"), text.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return other(),
        },
    };
    match minor.parse() {
        Ok(minor) => (stage, major, minor, std::cmp::Reverse(String::new())),
        Err(_) => other(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deprecated_version_names_the_best_other_one() {
        let spec = json!({"group": "g.io", "versions": [
            {"name": "v1beta1", "served": true, "deprecated": true}, {"name": "v1", "served": true},
            {"name": "v2", "served": false}, {"name": "v1alpha1", "served": true, "deprecated": true, "deprecationWarning": "go away"},
        ]});
        assert_eq!(warnings(&spec["versions"][0], &spec, "Foo"), ["g.io/v1beta1 Foo is deprecated; use g.io/v1 Foo"]);
        assert_eq!(warnings(&spec["versions"][1], &spec, "Foo"), [""; 0]);
        assert_eq!(warnings(&spec["versions"][3], &spec, "Foo"), ["go away"]);
    }

    #[test]
    fn versions_are_ranked() {
        let mut versions = ["foo10", "v11alpha2", "v10", "v2", "v3beta1", "foo1", "v12alpha1", "v10beta3", "v11beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(
            versions,
            ["v10", "v2", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
        );
    }
}
