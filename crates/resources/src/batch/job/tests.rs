//! Jobs through the hooks.

use std::sync::Arc;

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use registry::{Nothing, Reader, RequestCx, Strategy, UserInfo, Verb};
use serde_json::{Value, json};

use super::{Jobs, status};

fn cx() -> RequestCx {
    RequestCx::new(Arc::new(UserInfo::loopback()), Verb::Create, Timestamp::UNIX_EPOCH, Reader::new(Arc::new(Nothing)))
}

fn created(spec: Value) -> Job {
    let mut value = json!({
        "metadata": {"name": "pi", "uid": "u-1"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "pi", "image": "perl:5"}]}}},
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut job: Job = serde_json::from_value(value).expect("a job");
    Jobs.set_defaults(&mut job);
    Jobs.prepare_for_create(&cx(), &mut job);
    job
}

fn errors(spec: Value) -> String {
    text(&Jobs.validate(&cx(), &created(spec)))
}

fn text(errors: &apimachinery::ErrorList) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn a_minimal_job_gets_upstreams_defaults() {
    let job = created(json!({}));
    let mut spec = json!(job.spec);
    spec["template"].as_object_mut().expect("a template").remove("spec");
    expect![[r#"
        {
          "backoffLimit": 6,
          "completionMode": "NonIndexed",
          "completions": 1,
          "manualSelector": false,
          "parallelism": 1,
          "podReplacementPolicy": "TerminatingOrFailed",
          "selector": {
            "matchLabels": {
              "batch.kubernetes.io/controller-uid": "u-1"
            }
          },
          "suspend": false,
          "template": {
            "metadata": {
              "labels": {
                "batch.kubernetes.io/controller-uid": "u-1",
                "batch.kubernetes.io/job-name": "pi",
                "controller-uid": "u-1",
                "job-name": "pi"
              }
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&spec).expect("json"));
    assert_eq!(text(&Jobs.validate(&cx(), &job)), "");
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    expect![[r#"
        spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
    "#]]
    .assert_eq(&errors(json!({"template": {"spec": {"restartPolicy": null}}})));
    expect![[r#"
        spec.parallelism: Invalid value: -1: must be greater than or equal to 0
        spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified
        spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode
        spec.podReplacementPolicy: Unsupported value: "Odd": supported values: "Failed", "TerminatingOrFailed"
    "#]]
    .assert_eq(&errors(json!({
        "parallelism": -1, "maxFailedIndexes": 1, "completionMode": "NonIndexed", "podReplacementPolicy": "Odd",
    })));
    expect![[r#"
        spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u-1","batch.kubernetes.io/job-name":"pi","controller-uid":"u-1","job-name":"other"}: must be 'pi'
        spec.selector: Invalid value: {"matchLabels":{"app":"x","batch.kubernetes.io/controller-uid":"u-1"}}: `selector` not auto-generated
        spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u-1","batch.kubernetes.io/job-name":"pi","controller-uid":"u-1","job-name":"other"}: `selector` does not match template `labels`
    "#]].assert_eq(&errors(json!({
        "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"job-name": "other"}}},
    })));
    expect![[r#"
        spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
        spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template
        spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator
        spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3
        spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered
        spec.podFailurePolicy.rules[1].action: Unsupported value: "Odd": supported values: "Count", "FailIndex", "FailJob", "Ignore"
        spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required
        spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified
    "#]].assert_eq(&errors(json!({
        "podFailurePolicy": {"rules": [
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [3, 0, 3], "containerName": "x"}},
            {"action": "Odd"},
        ]},
        "template": {"spec": {"restartPolicy": "OnFailure"}},
    })));
    expect![[r#"
        spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0,3": error parsing succeededIndexes: too large index: "3"
        spec.successPolicy.rules[1]: Required value: at least one of succeededCount or succeededIndexes must be specified
        spec.successPolicy.rules[2].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)
    "#]].assert_eq(&errors(json!({
        "completionMode": "Indexed", "completions": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "0,3"}, {}, {"succeededIndexes": "0-1", "succeededCount": 3}]},
    })));
}

#[test]
fn the_template_is_fixed_once_it_runs() {
    let old = created(json!({"suspend": true}));
    let moved = created(json!({"suspend": true, "template": {"spec": {"nodeSelector": {"zone": "a"}}}}));
    assert_eq!(text(&Jobs.validate_update(&cx(), &moved, &old)), "");
    let running = created(json!({}));
    let errors = Jobs.validate_update(&cx(), &moved, &running);
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["spec.template"]);
    let larger = created(json!({"completions": 2}));
    expect![[r#"
        spec.completions: Invalid value: 2: field is immutable
    "#]]
    .assert_eq(&text(&Jobs.validate_update(&cx(), &larger, &running)));
}

#[test]
fn the_status_ends_once() {
    let with = |status: Value| {
        let mut job = created(json!({}));
        job.status = serde_json::from_value(status).expect("a status");
        job
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let started = with(json!({"startTime": "2026-01-01T00:00:00Z", "active": 1}));
    let complete = with(json!({
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z", "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    }));
    assert_eq!(text(&status::validate_update(&complete, &started)), "");
    expect![[r#"
        status.conditions: Invalid value: cannot disable the terminal Complete=True condition
        status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition
        status.succeeded: Invalid value: 0: cannot decrease the succeeded counter
    "#]]
    .assert_eq(&text(&status::validate_update(&started, &complete)));
    let odd = with(json!({"active": 1, "completionTime": "2026-01-01T00:01:00Z", "conditions": [condition("Failed")]}));
    expect![[r#"
        status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition
        status.completionTime: Invalid value: "2026-01-01T00:01:00Z": cannot set completionTime when there is no Complete=True condition
        status.startTime: Required value: startTime cannot be removed for unsuspended job
        status.active: Invalid value: 1: active>0 is invalid for finished job
        status.startTime: Required value: startTime is required for finished job
    "#]].assert_eq(&text(&status::validate_update(&odd, &started)));
}
