//! Table columns of events. Upstream: `printEvent`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use registry::{Column, PrintCx, since};
use serde_json::json;

use crate::optional::Text;

type C = Column<Event>;

pub(crate) static COLUMNS: &[Column<Event>] = &[
    C::string("Last Seen", |event, cx| json!(age(last_seen(event), cx)))
        .describe("The time at which the most recent occurrence of this event was recorded."),
    C::string("Type", |event, _| json!(event.type_.text()))
        .describe("Type of this event (Normal, Warning), new types could be added in the future"),
    C::string("Reason", |event, _| json!(event.reason.text())).describe("This should be a short, machine understandable string that gives the reason for the transition into the object's current status."),
    C::string("Object", |event, _| json!(object(event))).describe("The object that this event is about."),
    C::string("Subobject", |event, _| json!(event.involved_object.field_path.text())).wide().describe("If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object."),
    C::string("Source", |event, _| json!(source(event)))
        .wide()
        .describe("The component reporting this event. Should be a short machine understandable string."),
    C::string("Message", |event, _| json!(event.message.text().trim()))
        .describe("A human-readable description of the status of this operation."),
    C::string("First Seen", |event, cx| json!(age(first_seen(event), cx))).wide().describe("The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)"),
    C::string("Count", |event, _| json!(count(event)))
        .wide()
        .describe("The number of times this event has occurred."),
    C { name: "Name", kind: "string", format: "name", description: C::NAME.description, priority: 1, cell: C::NAME.cell },
];

fn age(then: Option<Timestamp>, cx: &PrintCx) -> String {
    since(then.map(Time).as_ref(), cx)
}

fn first_seen(event: &Event) -> Option<Timestamp> {
    let first = event.first_timestamp.as_ref().map(|Time(time)| *time);
    first.or_else(|| event.event_time.as_ref().map(|MicroTime(time)| *time))
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    match &event.series {
        Some(series) => series.last_observed_time.as_ref().map(|MicroTime(time)| *time),
        None => event.last_timestamp.as_ref().map(|Time(time)| *time).or_else(|| first_seen(event)),
    }
}

/// Events of the new API count only in a series.
fn count(event: &Event) -> i32 {
    match &event.series {
        Some(series) => series.count.unwrap_or(0),
        None => event.count.filter(|count| *count != 0).unwrap_or(1),
    }
}

fn object(event: &Event) -> String {
    let kind = event.involved_object.kind.text().to_lowercase();
    match event.involved_object.name.text() {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Event) -> String {
    let source = event.source.as_ref();
    let first = |one: &str, other: &str| if one.is_empty() { other.to_owned() } else { one.to_owned() };
    let component = first(source.map_or("", |source| source.component.text()), event.reporting_component.text());
    let instance = first(source.map_or("", |source| source.host.text()), event.reporting_instance.text());
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}
