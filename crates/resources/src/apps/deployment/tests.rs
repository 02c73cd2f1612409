//! Deployments through defaults, validation and printing.

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::{defaults, validation};

fn defaulted(spec: Value) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}},
        },
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut deployment: Deployment = serde_json::from_value(value).expect("a deployment");
    defaults::set_defaults(&mut deployment);
    deployment
}

#[track_caller]
fn check(spec: Value, expected: Expect) {
    let errors = validation::validate(&defaulted(spec));
    expected.assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
}

#[test]
fn defaults_are_upstreams() {
    let spec = json!(defaulted(json!({})).spec);
    assert_eq!(spec["replicas"], 1);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    // Only pods get this.
    assert_eq!(spec["template"]["spec"]["enableServiceLinks"], Value::Null);
    check(json!({}), expect![""]);
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    check(
        json!({
            "replicas": -1,
            "selector": {"matchLabels": {"app": "other"}},
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
            "progressDeadlineSeconds": 5,
            "minReadySeconds": 10,
            "template": {"spec": {"restartPolicy": "Never"}},
        }),
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
            spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0
            spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds
        "#]],
    );
    check(
        json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": "x", "maxUnavailable": "101%"}}}),
        expect![[r#"
            spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
        "#]],
    );
    check(
        json!({"strategy": {"rollingUpdate": {"maxSurge": "x", "maxUnavailable": "101%"}}}),
        expect![[r#"
            spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')
            spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%
        "#]],
    );
}

#[test]
fn the_selector_is_fixed() {
    let new = defaulted(json!({
        "selector": {"matchLabels": {"tier": "front"}},
        "template": {"metadata": {"labels": {"tier": "front"}}},
    }));
    assert_eq!(
        validation::validate_update(&new, &defaulted(json!({}))).aggregate(),
        r#"spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"front"}}: field is immutable"#
            .replace(r#""app":null,"#, r#""app":"web","#)
    );
}
