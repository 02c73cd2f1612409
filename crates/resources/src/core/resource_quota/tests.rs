//! Names and scopes of quotas.

use expect_test::expect;
use k8s_openapi::api::core::v1::ResourceQuota;
use serde_json::{Value, json};

use super::validation;

fn quota(spec: Value) -> ResourceQuota {
    serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).expect("a quota")
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    let good = quota(json!({"hard": {"pods": "10", "count/jobs.batch": "5", "requests.cpu": "1"}}));
    assert!(validation::validate(&good).is_empty());
    let bad = quota(json!({
        "hard": {"pods": "-1", "odd": "1", "memory": "1Gi", "secrets": "500m"},
        "scopes": ["BestEffort", "NotBestEffort", "Odd"],
    }));
    let errors = validation::validate(&bad);
    expect![[r#"
        spec.hard[odd]: Invalid value: "odd": must be a standard resource for quota
        spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0
        spec.hard[secrets]: Invalid value: "500m": must be an integer
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Odd"]: unsupported scope applied to resource
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Odd"]: unsupported scope applied to resource
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Odd"]: unsupported scope applied to resource
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Odd"]: unsupported scope
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort","Odd"]: conflicting scopes
    "#]]
    .assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
    let scoped = quota(json!({"hard": {"pods": "10"}, "scopes": ["BestEffort"]}));
    expect![[r#"spec.scopes: Invalid value: ["BestEffort"]: field is immutable"#]]
        .assert_eq(&validation::validate_update(&scoped, &good).aggregate());
}
