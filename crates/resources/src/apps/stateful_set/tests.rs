//! Stateful sets through defaults and validation.

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::{defaults, validation};

fn defaulted(spec: Value) -> StatefulSet {
    let mut value = json!({
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{
                "name": "db", "image": "postgres:18", "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }}],
        },
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut set: StatefulSet = serde_json::from_value(value).expect("a stateful set");
    defaults::set_defaults(&mut set);
    set
}

#[track_caller]
fn check(spec: Value, expected: Expect) {
    expected.assert_eq(&text(&validation::validate(&defaulted(spec))));
}

fn text(errors: &apimachinery::ErrorList) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn defaults_are_upstreams() {
    let spec = json!(defaulted(json!({})).spec);
    assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
    check(json!({}), expect![""]);
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    check(
        json!({
            "podManagementPolicy": "Odd", "replicas": -1, "selector": {"matchLabels": {"app": "web"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1, "maxUnavailable": "0%"}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Keep"},
            "template": {"spec": {"restartPolicy": "Never"}},
        }),
        expect![[r#"
            spec.podManagementPolicy: Invalid value: "Odd": must be 'OrderedReady' or 'Parallel'
            spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0
            spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "0%": cannot be 0
            spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Keep": supported values: "Retain", "Delete"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: {"app":"db"}: `selector` does not match template `labels`
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
        "#]],
    );
    check(
        json!({"volumeClaimTemplates": null}),
        expect![[r#"
        spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"
    "#]],
    );
    check(
        json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}),
        expect![[r#"
        spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy 'RollingUpdate'
    "#]],
    );
}

#[test]
fn few_fields_may_change() {
    let old = defaulted(json!({}));
    let update = |spec: Value| text(&validation::validate_update(&defaulted(spec), &old));
    assert_eq!(update(json!({"replicas": 3, "minReadySeconds": 1, "revisionHistoryLimit": 2})), "");
    expect![[r#"
        spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden
    "#]].assert_eq(&update(json!({"serviceName": "other"})));
}
