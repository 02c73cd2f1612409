//! Kinds with two spellings: events, and autoscalers of version 1. Upstream: `pkg/apis/{events,autoscaling}/v1/conversion.go`.

use std::sync::Arc;

use registry::{Conversion, Converted, Info, Resource, ResourceHandle};
use serde_json::{Map, Value, json};

/// The second spellings of kinds that are in the list.
pub(super) fn all(resources: &[ResourceHandle]) -> Vec<ResourceHandle> {
    let hub = |group: &str, plural: &str| {
        resources.iter().find(|resource| (resource.info().group, resource.info().plural) == (group, plural)).cloned()
    };
    let mut all = Vec::new();
    let info = Info::namespaced("events.k8s.io", "v1", "Event", "events").short(&["ev"]);
    let hub_of_events = ResourceHandle::from(Arc::new(resources::events::Events) as Arc<dyn Resource>);
    let conversion = Conversion { to_hub: events_to_core, from_hub: core_to_events };
    all.push(handle(Converted { info, hub: hub_of_events, conversion }));
    if let Some(hub) = hub("autoscaling", "horizontalpodautoscalers") {
        let info = Info::namespaced("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
            .short(&["hpa"])
            .categories(&["all"]);
        let conversion = Conversion { to_hub: autoscaler_to_v2, from_hub: autoscaler_to_v1 };
        all.push(handle(Converted { info, hub, conversion }));
    }
    all
}

fn handle(converted: Converted) -> ResourceHandle {
    ResourceHandle::from(Arc::new(converted) as Arc<dyn Resource>)
}

// === events ===

/// Names in `events.k8s.io/v1` and in `v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn events_to_core(value: &mut Value) {
    for (new, core) in EVENT_FIELDS {
        rename(value, new, core);
    }
}

fn core_to_events(value: &mut Value) {
    for (new, core) in EVENT_FIELDS {
        rename(value, core, new);
    }
}

fn rename(value: &mut Value, from: &str, to: &str) {
    if let Some(fields) = value.as_object_mut()
        && let Some(field) = fields.remove(from)
    {
        fields.insert(to.to_owned(), field);
    }
}

// === autoscalers ===

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}

fn annotation(value: &mut Value, name: &str) -> Option<Value> {
    let annotations = value["metadata"].get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(name)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn annotate(value: &mut Value, name: &str, content: &Value) {
    value["metadata"]["annotations"][name] = content.to_string().into();
}

fn autoscaler_to_v2(value: &mut Value) {
    let mut metrics = annotation(value, METRICS).and_then(|metrics| metrics.as_array().cloned()).unwrap_or_default();
    let behavior = annotation(value, BEHAVIOR);
    let conditions = annotation(value, CONDITIONS);
    let mut current =
        annotation(value, CURRENT_METRICS).and_then(|metrics| metrics.as_array().cloned()).unwrap_or_default();
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(percent) = take(spec, "targetCPUUtilizationPercentage") {
            metrics.insert(
                0,
                json!({"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
                }}),
            );
        }
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), metrics.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        // Here a zero is left out.
        if status.get("currentReplicas").is_some_and(|replicas| replicas == 0) {
            status.remove("currentReplicas");
        }
        if let Some(percent) = take(status, "currentCPUUtilizationPercentage") {
            current.insert(
                0,
                json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}),
            );
        }
        if !current.is_empty() {
            status.insert("currentMetrics".to_owned(), current.into());
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

/// Takes the CPU utilization out of a list of metrics.
fn take_cpu(metrics: &mut Vec<Value>, place: &str) -> Option<Value> {
    let is_cpu = |metric: &Value| {
        metric["type"] == "Resource"
            && metric["resource"]["name"] == "cpu"
            && !metric["resource"][place]["averageUtilization"].is_null()
    };
    let index = metrics.iter().position(is_cpu)?;
    Some(metrics.remove(index)["resource"][place]["averageUtilization"].take())
}

fn autoscaler_to_v1(value: &mut Value) {
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(Value::Array(mut metrics)) = take(spec, "metrics") {
            if let Some(percent) = take_cpu(&mut metrics, "target") {
                spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
            }
            if !metrics.is_empty() {
                notes.push((METRICS, metrics.into()));
            }
        }
        if let Some(behavior) = take(spec, "behavior") {
            notes.push((BEHAVIOR, behavior));
        }
    }
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        // Version 2 leaves a zero out, version 1 does not.
        status.entry("currentReplicas").or_insert_with(|| 0.into());
        if let Some(Value::Array(mut metrics)) = take(status, "currentMetrics") {
            if let Some(percent) = take_cpu(&mut metrics, "current") {
                status.insert("currentCPUUtilizationPercentage".to_owned(), percent);
            }
            if !metrics.is_empty() {
                notes.push((CURRENT_METRICS, metrics.into()));
            }
        }
        if let Some(conditions) = take(status, "conditions") {
            notes.push((CONDITIONS, conditions));
        }
    }
    for (name, content) in notes {
        annotate(value, name, &content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_names_both_ways() {
        let core = json!({"involvedObject": {"name": "a"}, "message": "m", "count": 2, "reason": "R", "reportingComponent": "x"});
        let mut value = core.clone();
        core_to_events(&mut value);
        assert_eq!(
            value,
            json!({"regarding": {"name": "a"}, "note": "m", "deprecatedCount": 2, "reason": "R", "reportingController": "x"})
        );
        events_to_core(&mut value);
        assert_eq!(value, core);
    }

    #[test]
    fn autoscalers_keep_what_version_1_has_no_field_for() {
        let v2 = json!({
            "metadata": {"name": "a"},
            "status": {"desiredReplicas": 0},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}},
            ]},
        });
        let mut value = v2.clone();
        autoscaler_to_v1(&mut value);
        assert_eq!(value["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
        assert_eq!(value["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
        autoscaler_to_v2(&mut value);
        value["metadata"].as_object_mut().unwrap().remove("annotations");
        assert_eq!(value, v2);
    }
}
