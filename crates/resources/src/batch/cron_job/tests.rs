//! Schedules and zones.

use expect_test::expect;
use k8s_openapi::api::batch::v1::CronJob;
use registry::Strategy;
use serde_json::{Value, json};

use super::{CronJobs, schedule, validation};

fn errors(spec: Value) -> String {
    let template = json!({"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}],
    }}}});
    let mut value = json!({"metadata": {"name": "a"}, "spec": {"schedule": "* * * * *", "jobTemplate": template}});
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut cron: CronJob = serde_json::from_value(value).expect("a cron job");
    CronJobs.set_defaults(&mut cron);
    validation::validate(&cron).iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn schedules_are_read_as_upstream_reads_them() {
    for good in ["*/5 * * * *", "0 0 1,15 jan-mar mon", "@hourly", "@every 1h30m", "0-30/2 1-3 * * 0", "5/15 * ? * *"] {
        assert_eq!(schedule::check(good), Ok(()), "{good}");
    }
    let bad = [
        "* * * *",
        "60 * * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "a * * * *",
        "*/0 * * * *",
        "1-2-3 * * * *",
        "@often",
        "-1 * * * *",
    ];
    let said: Vec<String> = bad.iter().map(|text| schedule::check(text).expect_err(text)).collect();
    expect![[r#"
        expected exactly 5 fields, found 4: [* * * *]
        end of range (60) above maximum (59): 60
        beginning of range (0) below minimum (1): 0
        beginning of range (5) beyond end of range (1): 5-1
        failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax
        step of range should be a positive number: */0
        too many hyphens: 1-2-3
        unrecognized descriptor: @often
        failed to parse int from : strconv.Atoi: parsing "": invalid syntax"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    assert_eq!(errors(json!({"timeZone": "Europe/Berlin"})), "");
    expect![[r#"
        spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead
        spec.timeZone: Invalid value: "Nowhere Land": unknown time zone Nowhere Land
        spec.concurrencyPolicy: Unsupported value: "Odd": supported values: "Allow", "Forbid", "Replace"
        spec.jobTemplate.spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` will be auto-generated
        spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"
        spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0
    "#]].assert_eq(&errors(json!({
        "schedule": "TZ=UTC * * * * *", "timeZone": "Nowhere Land", "concurrencyPolicy": "Odd", "failedJobsHistoryLimit": -1,
        "jobTemplate": {"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}},
    })));
}
