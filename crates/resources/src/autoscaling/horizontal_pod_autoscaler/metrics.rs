//! The TARGETS column of autoscalers. Upstream: `formatHPAMetrics`.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::optional::Items;

const MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";

/// `cpu: 5%/80%`, for the first two metrics.
pub(super) fn targets(scaler: &HorizontalPodAutoscaler) -> String {
    let specs = scaler.spec.metrics.items();
    let statuses = scaler.status.as_ref().map_or(&[][..], |status| status.current_metrics.items());
    let parts: Vec<String> =
        specs.iter().take(MAX).enumerate().map(|(index, spec)| target(spec, statuses.get(index))).collect();
    match specs.len() {
        0 => "<none>".to_owned(),
        1..=MAX => parts.join(", "),
        count => format!("{} + {} more...", parts.join(", "), count - MAX),
    }
}

fn target(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    match spec.type_.as_str() {
        "External" => spec.external.as_ref().map_or_else(String::new, |source| {
            valued(&source.target, status.and_then(|s| s.external.as_ref()).map(|external| &external.current))
        }),
        "Object" => spec.object.as_ref().map_or_else(String::new, |source| {
            valued(&source.target, status.and_then(|s| s.object.as_ref()).map(|object| &object.current))
        }),
        "Pods" => spec.pods.as_ref().map_or_else(String::new, |source| {
            let current = status.and_then(|s| s.pods.as_ref()).and_then(|pods| pods.current.average_value.as_ref());
            format!("{}/{}", text(current), text(source.target.average_value.as_ref()))
        }),
        "Resource" => spec.resource.as_ref().map_or_else(String::new, |source| {
            let current = status.and_then(|s| s.resource.as_ref()).map(|resource| &resource.current);
            resource(&source.name, &source.target, current)
        }),
        "ContainerResource" => spec.container_resource.as_ref().map_or_else(String::new, |source| {
            let current = status.and_then(|s| s.container_resource.as_ref()).map(|resource| &resource.current);
            resource(&source.name, &source.target, current)
        }),
        _ => "<unknown type>".to_owned(),
    }
}

fn valued(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    match &target.average_value {
        Some(wanted) => {
            let current = current.and_then(|current| current.average_value.as_ref());
            format!("{}/{} (avg)", text(current), wanted.0)
        }
        None => {
            let current = current.and_then(|current| current.value.as_ref());
            format!("{}/{}", text(current), text(target.value.as_ref()))
        }
    }
}

fn resource(name: &str, target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(wanted) = &target.average_value {
        let current = current.and_then(|current| current.average_value.as_ref());
        return format!("{name}: {}/{}", text(current), wanted.0);
    }
    let percent =
        |share: Option<i32>, absent: &str| share.map_or_else(|| absent.to_owned(), |share| format!("{share}%"));
    let current = percent(current.and_then(|current| current.average_utilization), UNKNOWN);
    format!("{name}: {current}/{}", percent(target.average_utilization, "<auto>"))
}

fn text(amount: Option<&Quantity>) -> &str {
    amount.map_or(UNKNOWN, |amount| &amount.0)
}
