//! Limits against each other.

use expect_test::expect;
use k8s_openapi::api::core::v1::LimitRange;
use registry::Strategy;
use serde_json::json;

use super::{LimitRanges, validation};

#[test]
fn limits_fit_together() {
    let limits = json!([
        {"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "500m"}},
        {"type": "Container", "default": {"cpu": "100m"}},
        {"type": "Pod", "default": {"cpu": "1"}},
        {"type": "PersistentVolumeClaim"},
        {"type": "Odd"},
    ]);
    let mut range: LimitRange =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"limits": limits}})).expect("a range");
    LimitRanges.set_defaults(&mut range);
    let errors = validation::validate(&range);
    expect![[r#"
        spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1
        spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1
        spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1
        spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1
        spec.limits[1].type: Duplicate value: "Container"
        spec.limits[2].default: Forbidden: may not be specified when `type` is 'Pod'
        spec.limits[3].limits: Required value: either minimum or maximum storage value is required, but neither was provided
        spec.limits[4].type: Invalid value: "Odd": must be a standard limit type or fully qualified
    "#]].assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
}
