//! Daemon sets through the hooks.

use std::sync::Arc;

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use registry::{Nothing, Reader, RequestCx, Strategy, UserInfo, Verb};
use serde_json::{Value, json};

use super::{DaemonSets, TEMPLATE_GENERATION, validation};

fn cx() -> RequestCx {
    RequestCx::new(Arc::new(UserInfo::loopback()), Verb::Create, Timestamp::UNIX_EPOCH, Reader::new(Arc::new(Nothing)))
}

fn created(spec: Value) -> DaemonSet {
    let mut value = json!({
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}},
        },
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut set: DaemonSet = serde_json::from_value(value).expect("a daemon set");
    DaemonSets.set_defaults(&mut set);
    DaemonSets.prepare_for_create(&cx(), &mut set);
    set
}

fn template_generation(set: &DaemonSet) -> &str {
    &set.metadata.annotations.as_ref().expect("annotations")[TEMPLATE_GENERATION]
}

#[test]
fn the_template_has_a_generation() {
    let old = created(json!({}));
    assert_eq!(template_generation(&old), "1");
    let mut same = created(json!({"minReadySeconds": 5}));
    DaemonSets.prepare_for_update(&cx(), &mut same, &old);
    assert_eq!((template_generation(&same), same.metadata.generation), ("1", Some(2)));
    let mut other = created(json!({"template": {"spec": {"hostNetwork": true}}}));
    DaemonSets.prepare_for_update(&cx(), &mut other, &old);
    assert_eq!(template_generation(&other), "2");
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    let errors = |spec: Value| validation::validate(&created(spec)).aggregate();
    assert_eq!(errors(json!({})), "[]");
    expect![
        "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
    ]
    .assert_eq(&errors(json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}})));
    expect!["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]
        .assert_eq(&errors(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}})));
    expect![[r#"[spec.selector: Invalid value: {}: empty selector is invalid for daemonset, spec.updateStrategy: Unsupported value: {"type":"Odd"}: supported values: "RollingUpdate", "OnDelete"]"#]].assert_eq(&errors(json!({"selector": {"matchLabels": null}, "updateStrategy": {"type": "Odd"}})));
}
