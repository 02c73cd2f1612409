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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json;

    fn paths(version: &str) -> Option<Option<Vec<PathElement>>> {
        let replicas = |name: &'static str| Some(vec![PathElement::field("spec"), PathElement::field(name)]);
        match version {
            "apps/v1" => Some(replicas("the-replicas")),
            "apps/v2" => Some(replicas("not-the-replicas")),
            "apps/v3" => Some(None),
            _ => None,
        }
    }

    /// `manager operation version subresource fields`, one a line.
    fn managed(entries: &[&str]) -> Managed {
        let entry = |line: &&str| {
            let mut words = line.splitn(5, ' ');
            let mut word = || words.next().unwrap().trim_start_matches('-');
            format!(
                r#"{{"manager":"{}","operation":"{}","apiVersion":"{}","fieldsType":"FieldsV1","subresource":"{}","fieldsV1":{}}}"#,
                word(),
                word(),
                word(),
                word(),
                word()
            )
        };
        Managed::parse(&json(&format!("[{}]", entries.iter().map(entry).collect::<Vec<_>>().join(",")))).unwrap()
    }

    fn shown(managed: &Managed) -> String {
        String::from_utf8(managed.to_json()).unwrap()
    }

    #[test]
    fn the_parent_s_replicas_are_the_scale_s() {
        let parent = managed(&[
            r#"one Apply apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#,
            r#"two Update apps/v2 - {"f:spec":{"f:not-the-replicas":{}}}"#,
            r#"three Apply apps/v1 - {"f:spec":{"f:selector":{}}}"#,
            r#"four Apply apps/v3 - {"f:spec":{"f:x":{}}}"#,
            r#"five Apply apps/v10 - {"f:spec":{"f:the-replicas":{}}}"#,
        ]);
        let expected = managed(&[
            r#"one Apply autoscaling/v1 - {"f:spec":{"f:replicas":{}}}"#,
            r#"two Update autoscaling/v1 - {"f:spec":{"f:replicas":{}}}"#,
        ]);
        assert_eq!(shown(&to_scale(&parent, &paths)), shown(&expected));
    }

    #[test]
    fn who_scales_takes_the_replicas() {
        for (parent, scale, expected) in [
            // Another takes them, and what was left of the entry.
            (
                vec![r#"test Apply apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#],
                vec![r#"scale Update autoscaling/v1 scale {"f:spec":{"f:replicas":{}}}"#],
                vec![
                    r#"test Apply apps/v1 - {"f:spec":{"f:selector":{}}}"#,
                    r#"scale Update apps/v1 scale {"f:spec":{"f:the-replicas":{}}}"#,
                ],
            ),
            (
                vec![r#"test Apply apps/v2 - {"f:spec":{"f:not-the-replicas":{}}}"#],
                vec![r#"scale Apply autoscaling/v1 scale {"f:spec":{"f:replicas":{}}}"#],
                vec![r#"scale Apply apps/v1 scale {"f:spec":{"f:the-replicas":{}}}"#],
            ),
            // The same name through both endpoints is two.
            (
                vec![r#"test Update apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#],
                vec![r#"test Update autoscaling/v1 scale {"f:spec":{"f:replicas":{}}}"#],
                vec![
                    r#"test Update apps/v1 - {"f:spec":{"f:selector":{}}}"#,
                    r#"test Update apps/v1 scale {"f:spec":{"f:the-replicas":{}}}"#,
                ],
            ),
            // Shared.
            (
                vec![r#"test Apply apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#],
                vec![
                    r#"test Apply autoscaling/v1 - {"f:spec":{"f:replicas":{}}}"#,
                    r#"test Apply autoscaling/v1 scale {"f:spec":{"f:replicas":{}}}"#,
                ],
                vec![
                    r#"test Apply apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#,
                    r#"test Apply apps/v1 scale {"f:spec":{"f:the-replicas":{}}}"#,
                ],
            ),
            // An updater that nobody took anything from stays as it was.
            (
                vec![r#"test Update apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#],
                vec![r#"test Update autoscaling/v1 - {"f:spec":{"f:replicas":{}}}"#],
                vec![r#"test Update apps/v1 - {"f:spec":{"f:the-replicas":{},"f:selector":{}}}"#],
            ),
            // Unknown versions go, versions without a scale stay.
            (
                vec![
                    r#"old Apply apps/v10 - {"f:spec":{"f:selector":{}}}"#,
                    r#"other Apply apps/v3 - {"f:spec":{"f:x":{}}}"#,
                ],
                vec![r#"scale Update autoscaling/v1 - {"f:status":{"f:replicas":{}}}"#],
                vec![r#"other Apply apps/v3 - {"f:spec":{"f:x":{}}}"#],
            ),
        ] {
            let now = to_parent(&managed(&parent), managed(&scale), "apps/v1", &paths);
            assert_eq!(shown(&now), shown(&managed(&expected)));
        }
    }
}
