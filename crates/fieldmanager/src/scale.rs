//! Ownership of `spec.replicas` as the scale subresource and its parent see it. Upstream: `managedfields/scalehandler.go`.

use std::collections::BTreeMap;

use crate::{
    element::PathElement,
    managed::{Managed, ManagerId, OperationType, VersionedSet},
    set::Set,
};

const SCALE_VERSION: &str = "autoscaling/v1";

/// Where the replicas are in each version of the parent; `None` for a version that has no scale.
pub type ReplicasPaths<'a> = &'a dyn Fn(&str) -> Option<Option<Vec<PathElement>>>;

fn in_scale() -> Vec<PathElement> {
    vec![PathElement::field("spec"), PathElement::field("replicas")]
}

/// The same updater in another version; appliers have none.
fn renamed(id: &ManagerId, version: &str) -> ManagerId {
    match id.operation {
        OperationType::Update => ManagerId { api_version: version.to_owned(), ..id.clone() },
        OperationType::Apply => id.clone(),
    }
}

fn set_of(path: &[PathElement]) -> Set {
    let mut set = Set::new();
    set.insert(path);
    set
}

/// The entries of the parent that are about its replicas, as entries of the scale.
pub fn to_scale(parent: &Managed, paths: ReplicasPaths<'_>) -> Managed {
    let mut scale = Managed::default();
    for (id, versioned) in &parent.fields {
        let Some(Some(path)) = paths(&versioned.api_version) else { continue };
        if versioned.set.has(&path) {
            let set = VersionedSet {
                set: set_of(&in_scale()),
                api_version: SCALE_VERSION.to_owned(),
                applied: versioned.applied,
            };
            let own = renamed(id, SCALE_VERSION);
            if let Some(time) = parent.times.get(id) {
                scale.times.insert(own.clone(), time.clone());
            }
            scale.fields.insert(own, set);
        }
    }
    scale
}

/// The parent's entries after a change of the scale. `version` is the parent's, through which it was made.
pub fn to_parent(parent: &Managed, scale: Managed, version: &str, paths: ReplicasPaths<'_>) -> Managed {
    // An updater is one of its version: without this, its entry would be there twice.
    let mut scale: BTreeMap<ManagerId, VersionedSet> =
        scale.fields.into_iter().map(|(id, versioned)| (renamed(&id, version), versioned)).collect();
    let mut merged = Managed::default();
    let mut put = |id: &ManagerId, versioned: VersionedSet| {
        if let Some(time) = parent.times.get(id) {
            merged.times.insert(id.clone(), time.clone());
        }
        merged.fields.insert(id.clone(), versioned);
    };
    for (id, versioned) in &parent.fields {
        // Versions that are not known any more go.
        let Some(path) = paths(&versioned.api_version) else { continue };
        let Some(path) = path.filter(|path| versioned.set.has(path)) else {
            put(id, versioned.clone());
            continue;
        };
        if scale.remove(id).is_some() {
            put(id, versioned.clone());
            continue;
        }
        // Somebody has taken the replicas.
        let set = versioned.set.difference(&set_of(&path));
        if !set.is_empty() {
            put(id, VersionedSet { set, ..versioned.clone() });
        }
    }
    let Some(Some(path)) = paths(version) else { return merged };
    for (id, versioned) in &scale {
        if versioned.set.has(&in_scale()) {
            let set = VersionedSet { set: set_of(&path), api_version: version.to_owned(), applied: versioned.applied };
            put(id, set);
        }
    }
    merged
}
