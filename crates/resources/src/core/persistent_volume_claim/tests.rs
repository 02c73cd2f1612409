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
