//! The same event in both groups: stored once, as the core group spells it.
//!
//! Upstream: `pkg/apis/events/v1/conversion.go`.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1 as events;
use serde_json::{Map, Value};

/// Fields of `events.k8s.io/v1` and what they are called in the core group.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

pub fn to_core(event: events::Event) -> core::Event {
    core::Event {
        metadata: event.metadata,
        involved_object: event.regarding.unwrap_or_default(),
        reason: event.reason,
        message: event.note,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
        type_: event.type_,
        event_time: event.event_time,
        series: event.series.map(|series| core::EventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time),
        }),
        action: event.action,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
    }
}

/// JSON of a stored event as `events.k8s.io/v1` shows it.
pub fn json_to_events(event: Map<String, Value>) -> Map<String, Value> {
    rename(event, |name| RENAMED.iter().find(|(_, core)| *core == name).map(|(events, _)| *events), "events.k8s.io/v1")
}

/// JSON of an `events.k8s.io/v1` event as it is stored.
pub fn json_to_core(event: Map<String, Value>) -> Map<String, Value> {
    rename(event, |name| RENAMED.iter().find(|(events, _)| *events == name).map(|(_, core)| *core), "v1")
}

fn rename(
    event: Map<String, Value>,
    other: impl Fn(&str) -> Option<&'static str>,
    api_version: &str,
) -> Map<String, Value> {
    let renamed = event.into_iter().map(|(name, value)| {
        let value = if name == "apiVersion" { Value::from(api_version) } else { value };
        (other(&name).map_or(name, str::to_owned), value)
    });
    renamed.collect()
}
