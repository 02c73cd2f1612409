//! Validation of autoscalers. Upstream: `pkg/apis/autoscaling/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscaler, MetricIdentifier, MetricSpec, MetricTarget,
};

use crate::check::{self, Report};
use crate::core::pod::validation::resource_name;
use crate::meta::quantity;
use crate::optional::Items;

/// Seconds.
const MAX_PERIOD: i32 = 1800;
const MAX_STABILIZATION: i32 = 3600;
const SELECT_POLICIES: &[&str] = &["Disabled", "Max", "Min"];
const POLICIES: &[&str] = &["Percent", "Pods"];
const SOURCES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const RAW_OR_UTILIZATION: &str = "must set either a target raw value or a target utilization";

/// `least` is the smallest number of replicas that may be asked for.
pub(super) fn validate(scaler: &HorizontalPodAutoscaler, least: i32) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&scaler.spec, Path::new("spec"));
    if let Some(min) = spec.min_replicas.filter(|min| *min < least) {
        errors.invalid(&path.child("minReplicas"), min, format!("must be greater than or equal to {least}"));
    }
    let max_path = path.child("maxReplicas");
    if spec.max_replicas < 1 {
        errors.invalid(&max_path, spec.max_replicas, "must be greater than 0");
    }
    if spec.min_replicas.is_some_and(|min| spec.max_replicas < min) {
        errors.invalid(&max_path, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.scale_target_ref, &path.child("scaleTargetRef"), &mut errors);
    let metrics_path = path.child("metrics");
    for (index, spec) in spec.metrics.items().iter().enumerate() {
        metric(spec, &metrics_path.index(index), &mut errors);
    }
    let wakes = |metric: &MetricSpec| matches!(metric.type_.as_str(), "Object" | "External");
    if spec.min_replicas == Some(0) && !spec.metrics.items().iter().any(wakes) {
        let message = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&metrics_path, message);
    }
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        rules(behavior.scale_up.as_ref(), &path.child("scaleUp"), &mut errors);
        rules(behavior.scale_down.as_ref(), &path.child("scaleDown"), &mut errors);
    }
    errors
}

pub(super) fn validate_status(scaler: &HorizontalPodAutoscaler) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(status) = &scaler.status else { return errors };
    let path = Path::new("status");
    check::non_negative(status.current_replicas.unwrap_or(0), &path.child("currentReplicas"), &mut errors);
    check::non_negative(status.desired_replicas, &path.child("desiredReplicas"), &mut errors);
    errors
}

fn reference(reference: &CrossVersionObjectReference, path: &Path, errors: &mut ErrorList) {
    check::required_path_segment(&reference.kind, &path.child("kind"), errors);
    check::required_path_segment(&reference.name, &path.child("name"), errors);
    if let Some(version) = reference.api_version.as_deref()
        && version.matches('/').count() > 1
    {
        let message = format!("unexpected GroupVersion string: {version}");
        errors.invalid(&path.child("apiVersion"), version, message);
    }
}

fn rules(rules: Option<&HPAScalingRules>, path: &Path, errors: &mut ErrorList) {
    let Some(rules) = rules else { return };
    let window_path = path.child("stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(window) if window < 0 => errors.invalid(&window_path, window, "must be greater than or equal to zero"),
        Some(window) if window > MAX_STABILIZATION => {
            errors.invalid(&window_path, window, format!("must be less than or equal to {MAX_STABILIZATION}"));
        }
        _ => {}
    }
    if let Some(policy) = rules.select_policy.as_deref().filter(|policy| !SELECT_POLICIES.contains(policy)) {
        errors.not_supported(&path.child("selectPolicy"), policy, SELECT_POLICIES);
    }
    let policies_path = path.child("policies");
    if rules.policies.items().is_empty() {
        errors.required(&policies_path, "must specify at least one Policy");
    }
    for (index, policy) in rules.policies.items().iter().enumerate() {
        let path = policies_path.index(index);
        if !POLICIES.contains(&policy.type_.as_str()) {
            errors.not_supported(&path.child("type"), &policy.type_, POLICIES);
        }
        if policy.value <= 0 {
            errors.invalid(&path.child("value"), policy.value, check::NOT_POSITIVE);
        }
        let period_path = path.child("periodSeconds");
        if policy.period_seconds <= 0 {
            errors.invalid(&period_path, policy.period_seconds, check::NOT_POSITIVE);
        }
        if policy.period_seconds > MAX_PERIOD {
            let message = format!("must be less than or equal to {MAX_PERIOD}");
            errors.invalid(&period_path, policy.period_seconds, message);
        }
    }
    if let Some(tolerance) = &rules.tolerance {
        check::non_negative_quantity(tolerance, &path.child("tolerance"), errors);
    }
}

fn metric(spec: &MetricSpec, path: &Path, errors: &mut ErrorList) {
    if spec.type_.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    if !SOURCES.contains(&spec.type_.as_str()) {
        errors.not_supported(&path.child("type"), &spec.type_, SOURCES);
    }
    let mut present = Vec::new();
    // Only the first source is looked into; further ones are refused below.
    let mut first = |name: &'static str, set: bool| {
        if set {
            present.push(name);
        }
        set && present.len() == 1
    };
    if let Some(source) = spec.object.as_ref().filter(|_| first("object", spec.object.is_some())) {
        let path = path.child("object");
        reference(&source.described_object, &path.child("describedObject"), errors);
        identifier(&source.metric, &path.child("metric"), errors);
        let target_path = path.child("target");
        target(&source.target, &target_path, errors);
        if source.target.value.is_none() && source.target.average_value.is_none() {
            errors.required(&target_path.child("averageValue"), "must set either a target value or averageValue");
        }
    }
    if let Some(source) = spec.external.as_ref().filter(|_| first("external", spec.external.is_some())) {
        let path = path.child("external");
        identifier(&source.metric, &path.child("metric"), errors);
        let target_path = path.child("target");
        target(&source.target, &target_path, errors);
        match (&source.target.value, &source.target.average_value) {
            (None, None) => {
                let message = "must set either a target value for metric or a per-pod target";
                errors.required(&target_path.child("averageValue"), message);
            }
            (Some(_), Some(_)) => {
                let message = "may not set both a target value for metric and a per-pod target";
                errors.forbidden(&target_path.child("value"), message);
            }
            _ => {}
        }
    }
    if let Some(source) = spec.pods.as_ref().filter(|_| first("pods", spec.pods.is_some())) {
        let path = path.child("pods");
        identifier(&source.metric, &path.child("metric"), errors);
        target(&source.target, &path.child("target"), errors);
        if source.target.average_value.is_none() {
            let message = "must specify a positive target averageValue";
            errors.required(&path.child("target").child("averageValue"), message);
        }
    }
    if let Some(source) = spec.resource.as_ref().filter(|_| first("resource", spec.resource.is_some())) {
        let path = path.child("resource");
        if source.name.is_empty() {
            errors.required(&path.child("name"), "must specify a resource name");
        }
        resource_target(&source.target, &path.child("target"), errors);
    }
    let container = spec.container_resource.as_ref();
    if let Some(source) = container.filter(|_| first("containerResource", container.is_some())) {
        let path = path.child("containerResource");
        if source.name.is_empty() {
            errors.required(&path.child("name"), "must specify a resource name");
        } else {
            resource_name(&source.name, &path.child("name"), errors);
        }
        if source.container.is_empty() {
            errors.required(&path.child("container"), "must specify a container");
        } else {
            check::dns_label(&source.container, &path.child("container"), errors);
        }
        resource_target(&source.target, &path.child("target"), errors);
    }
    let expected = match spec.type_.as_str() {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        other => {
            errors.not_supported(&path.child("type"), other, SOURCES);
            ""
        }
    };
    if !expected.is_empty() && !present.contains(&expected) {
        errors.required(&path.child(expected), "must populate information for the given metric source");
    }
    if present.len() != 1 {
        for name in present.into_iter().filter(|name| *name != expected) {
            errors.forbidden(&path.child(name), "must populate the given metric source only");
        }
    }
}

fn resource_target(spec: &MetricTarget, path: &Path, errors: &mut ErrorList) {
    target(spec, path, errors);
    match (spec.average_utilization, &spec.average_value) {
        (None, None) => errors.required(&path.child("averageUtilization"), RAW_OR_UTILIZATION),
        (Some(_), Some(_)) => {
            let message = "may not set both a target raw value and a target utilization";
            errors.forbidden(&path.child("averageValue"), message);
        }
        _ => {}
    }
}

fn target(target: &MetricTarget, path: &Path, errors: &mut ErrorList) {
    if target.type_.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(target.type_.as_str(), "Utilization" | "Value" | "AverageValue") {
        let message = "must be either Utilization, Value, or AverageValue";
        errors.invalid(&path.child("type"), &target.type_, message);
    }
    for (amount, field) in [(&target.value, "value"), (&target.average_value, "averageValue")] {
        if let Some(text) = amount
            && quantity::amount(Some(text)).sign() != 1
        {
            errors.invalid(&path.child(field), &text.0, "must be positive");
        }
    }
    if let Some(share) = target.average_utilization.filter(|share| *share < 1) {
        errors.invalid(&path.child("averageUtilization"), share, "must be greater than 0");
    }
}

fn identifier(identifier: &MetricIdentifier, path: &Path, errors: &mut ErrorList) {
    if identifier.name.is_empty() {
        errors.required(&path.child("name"), "must specify a metric name");
    } else {
        check::path_segment(&identifier.name, &path.child("name"), errors);
    }
    if let Some(selector) = &identifier.selector {
        check::label_selector(selector, &path.child("selector"), errors);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::super::HorizontalPodAutoscalers;
    use registry::Strategy as _;

    fn check(spec: Value, expected: &Expect) {
        let mut value = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
        apimachinery::patch::merge_patch(&mut value["spec"], spec);
        let mut scaler = serde_json::from_value(value).expect("a scaler");
        HorizontalPodAutoscalers.set_defaults(&mut scaler);
        let errors: String = super::validate(&scaler, 1).iter().map(|error| format!("{error}\n")).collect();
        expected.assert_eq(&errors);
    }

    #[test]
    fn replicas_and_target() {
        check(json!({}), &expect![""]);
        check(
            json!({"minReplicas": 0, "maxReplicas": -1, "scaleTargetRef": {"kind": "", "name": "a/b"}}),
            &expect![[r#"
                spec.minReplicas: Invalid value: 0: must be greater than or equal to 1
                spec.maxReplicas: Invalid value: -1: must be greater than 0
                spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`
                spec.scaleTargetRef.kind: Required value
                spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'
                spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas
            "#]],
        );
    }

    #[test]
    fn metrics_have_one_source() {
        check(
            json!({"metrics": [
                {"type": "Pods"},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}, "pods": {"metric": {"name": "x"}, "target": {"type": "Value"}}},
                {"type": "Nothing"},
            ]}),
            &expect![[r#"
                spec.metrics[0].pods: Required value: must populate information for the given metric source
                spec.metrics[1].pods.target.averageValue: Required value: must specify a positive target averageValue
                spec.metrics[1].pods: Forbidden: must populate the given metric source only
                spec.metrics[2].type: Unsupported value: "Nothing": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"
                spec.metrics[2].type: Unsupported value: "Nothing": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"
            "#]],
        );
    }

    #[test]
    fn behavior_is_bounded() {
        check(
            json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "x", "policies": [{"type": "y", "value": 0, "periodSeconds": 1801}]}, "scaleDown": {"policies": []}}}),
            &expect![[r#"
                spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600
                spec.behavior.scaleUp.selectPolicy: Unsupported value: "x": supported values: "Disabled", "Max", "Min"
                spec.behavior.scaleUp.policies[0].type: Unsupported value: "y": supported values: "Percent", "Pods"
                spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero
                spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800
                spec.behavior.scaleDown.policies: Required value: must specify at least one Policy
            "#]],
        );
    }
}
