//! What a claim's volume is filled from: an old field of a few kinds, and a newer one for every kind.
//! Upstream: `pkg/api/persistentvolumeclaim/util.go`, `validateDataSource`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, TypedLocalObjectReference, TypedObjectReference};

use crate::check::{self, Report};
use crate::optional::Text;

/// Both fields say the same, as far as the old one can; another namespace cannot be named.
pub(super) fn prepare(spec: &mut PersistentVolumeClaimSpec, old: Option<&PersistentVolumeClaimSpec>) {
    let has_source = |spec: &PersistentVolumeClaimSpec| spec.data_source.is_some() || spec.data_source_ref.is_some();
    let names_namespace = |spec: &PersistentVolumeClaimSpec| {
        spec.data_source_ref.as_ref().is_some_and(|source| source.namespace.is_some())
    };
    // `CrossNamespaceVolumeDataSource` is off.
    if names_namespace(spec) && !old.is_some_and(names_namespace) {
        spec.data_source_ref = None;
    }
    if !old.is_some_and(has_source) && spec.data_source.as_ref().is_some_and(|source| !is_claim_or_snapshot(source)) {
        spec.data_source = None;
    }
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if source.namespace.text().is_empty() => {
            let source = TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            };
            if is_claim_or_snapshot(&source) {
                spec.data_source = Some(source);
            }
        }
        _ => {}
    }
}

fn is_claim_or_snapshot(source: &TypedLocalObjectReference) -> bool {
    matches!(
        (source.api_group.text(), source.kind.as_str()),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

pub(super) fn validate(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut ErrorList) {
    if let Some(source) = &spec.data_source {
        reference(source.api_group.text(), &source.kind, &source.name, &path.child("dataSource"), errors);
    }
    let Some(source) = &spec.data_source_ref else { return };
    let own = path.child("dataSourceRef");
    reference(source.api_group.text(), &source.kind, &source.name, &own, errors);
    let namespace = source.namespace.text();
    if !namespace.is_empty() {
        check::dns_label(namespace, &own.child("namespace"), errors);
        if spec.data_source.is_some() {
            let message = "may not be specified when dataSourceRef.namespace is specified";
            errors.invalid(path, path.child("dataSource").to_string(), message);
        }
        return;
    }
    let same = |local: &TypedLocalObjectReference| {
        (local.api_group.text(), &local.kind, &local.name) == (source.api_group.text(), &source.kind, &source.name)
    };
    if spec.data_source.as_ref().is_some_and(|local| !same(local)) {
        errors.invalid(path, path.child("dataSource").to_string(), "must match dataSourceRef");
    }
}

fn reference(group: &str, kind: &str, name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    if kind.is_empty() {
        errors.required(&path.child("kind"), "");
    }
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        check::dns_subdomain(group, &path.child("apiGroup"), errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::prepare;

    fn check(given: Value, expected: Value) {
        let mut spec = serde_json::from_value(given).expect("a spec");
        prepare(&mut spec, None);
        assert_eq!(serde_json::to_value(&spec).expect("json"), expected);
    }

    #[test]
    fn both_fields_say_the_same() {
        let claim = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        let both = json!({"dataSource": claim, "dataSourceRef": claim});
        check(json!({"dataSource": claim}), both.clone());
        check(json!({"dataSourceRef": claim}), both);
        let other = json!({"apiGroup": "example.com", "kind": "Backup", "name": "a"});
        check(json!({"dataSource": other}), json!({}));
        check(json!({"dataSourceRef": other}), json!({"dataSourceRef": other}));
        check(json!({"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "a", "namespace": "b"}}), json!({}));
    }
}
