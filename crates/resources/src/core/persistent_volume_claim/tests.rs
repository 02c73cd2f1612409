//! What may change in a claim.

use expect_test::expect;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::update;

fn claim(spec: Value, status: Value) -> PersistentVolumeClaim {
    let mut value = json!({
        "metadata": {"name": "a"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, "volumeMode": "Filesystem"},
        "status": status,
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    serde_json::from_value(value).expect("a claim")
}

fn errors(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> String {
    let mut errors = apimachinery::ErrorList::default();
    update::validate(new, old, &mut errors);
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn a_claim_is_bound_once_and_then_may_grow() {
    let pending = claim(json!({}), json!({"phase": "Pending"}));
    let named = claim(json!({"volumeName": "pv", "storageClassName": "fast"}), json!({"phase": "Pending"}));
    assert_eq!(errors(&named, &pending), "");
    let other = claim(json!({"volumeName": "pv2", "storageClassName": "fast"}), json!({"phase": "Pending"}));
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        - 	volumeName: "pv"
        + 	volumeName: "pv2"

    "#]].assert_eq(&errors(&other, &named));

    let bound = |size: &str| {
        claim(
            json!({"volumeName": "pv", "resources": {"requests": {"storage": size}}}),
            json!({"phase": "Bound", "capacity": {"storage": "2Gi"}}),
        )
    };
    assert_eq!(errors(&bound("4Gi"), &bound("2Gi")), "");
    assert_eq!(errors(&bound("3Gi"), &bound("4Gi")), "", "a failed growth is taken back");
    expect![[r#"
        spec.resources.requests.storage: Forbidden: field can not be less than status.capacity
    "#]]
    .assert_eq(&errors(&bound("1Gi"), &bound("2Gi")));
    let larger = claim(json!({"resources": {"requests": {"storage": "4Gi"}}}), json!({"phase": "Pending"}));
    expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        - 	resources.requests.storage: "2Gi"
        + 	resources.requests.storage: "4Gi"

    "#]].assert_eq(&errors(&larger, &pending));
}

#[test]
fn the_class_moves_from_the_annotation_to_the_field() {
    let with = |annotation: Option<&str>, class: Option<&str>| {
        let mut claim = claim(json!({"storageClassName": class}), json!({"phase": "Pending"}));
        let key = "volume.beta.kubernetes.io/storage-class".to_owned();
        claim.metadata.annotations = annotation.map(|class| [(key, class.to_owned())].into());
        claim
    };
    let old = with(Some("fast"), None);
    assert_eq!(errors(&with(None, Some("fast")), &old), "");
    assert_eq!(errors(&with(Some("fast"), Some("fast")), &old), "");
    assert_eq!(errors(&with(None, Some("slow")), &with(None, None)), "");
    expect![[r#"
        metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "slow": field is immutable
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
        + 	storageClassName: "slow"

    "#]].assert_eq(&errors(&with(Some("slow"), Some("slow")), &old));
    expect![[r#"
        metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "": field is immutable
    "#]]
    .assert_eq(&errors(&with(None, None), &old));
}

#[test]
fn the_attributes_class_changes_but_stays() {
    let with = |class: Value| claim(json!({"volumeAttributesClassName": class}), json!({"phase": "Pending"}));
    assert_eq!(errors(&with(json!("b")), &with(json!("a"))), "");
    assert_eq!(errors(&with(json!("a")), &with(json!(null))), "");
    expect![[r#"
        spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden
    "#]]
    .assert_eq(&errors(&with(json!(null)), &with(json!("a"))));
    expect![[r#"
        spec.volumeAttributesClassName: Forbidden: update from non-nil value to an empty string is forbidden
    "#]]
    .assert_eq(&errors(&with(json!("")), &with(json!("a"))));
}

#[test]
fn a_status_names_what_a_claim_can_have() {
    let claim = claim(
        json!({}),
        json!({
            "capacity": {"storage": "-1"},
            "allocatedResources": {"storage": "1Gi", "cpu": "1", "example.com/x": "-1", "a b": "1"},
            "allocatedResourceStatuses": {"storage": "NodeResizePending", "example.com/x": "Odd", "x.kubernetes.io/y": "NodeResizePending"},
        }),
    );
    let errors = super::status::validate(&claim);
    let of_status = errors.iter().filter(|error| error.field.starts_with("status"));
    expect![[r#"
        status.capacity[storage]: Invalid value: -1: must be a valid resource quantity
        status.allocatedResourceStatus: Unsupported value: "example.com/x": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"
        status.allocatedResourceStatus: Unsupported value: "x.kubernetes.io/y": supported values: "storage"
        status.allocatedResources: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        status.allocatedResources: Unsupported value: "cpu": supported values: "storage"
        status.allocatedResources[example.com/x]: Invalid value: -1: must be a valid resource quantity
    "#]].assert_eq(&of_status.map(|error| format!("{error}\n")).collect::<String>());
}
