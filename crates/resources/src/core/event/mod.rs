//! Events for the registry, as they are stored. Upstream: `pkg/registry/core/event`.

mod columns;
#[cfg(test)]
mod tests;
pub(crate) mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::Event;
use registry::{Column, Durability, Info, RequestCx, SelectableField, Strategy};

use validation::Rules;

pub struct Events;

impl Strategy for Events {
    type Object = Event;

    const INFO: Info = Info::namespaced("", "v1", "Event", "events").short(&["ev"]);
    const COLUMNS: &'static [Column<Event>] = columns::COLUMNS;
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("involvedObject.kind", &[&["involvedObject", "kind"]]),
        SelectableField::new("involvedObject.namespace", &[&["involvedObject", "namespace"]]),
        SelectableField::new("involvedObject.name", &[&["involvedObject", "name"]]),
        SelectableField::new("involvedObject.uid", &[&["involvedObject", "uid"]]),
        SelectableField::new("involvedObject.apiVersion", &[&["involvedObject", "apiVersion"]]),
        SelectableField::new("involvedObject.resourceVersion", &[&["involvedObject", "resourceVersion"]]),
        SelectableField::new("involvedObject.fieldPath", &[&["involvedObject", "fieldPath"]]),
        SelectableField::new("reason", &[&["reason"]]),
        SelectableField::new("reportingComponent", &[&["reportingComponent"]]),
        SelectableField::new("source", &[&["source", "component"], &["reportingComponent"]]),
        SelectableField::new("type", &[&["type"]]),
    ];
    const DURABILITY: Durability = Durability::Relaxed;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&self, event: &mut Event) {
        // Plain values upstream, so they are always written.
        event.source.get_or_insert_default();
        event.reporting_component.get_or_insert_default();
        event.reporting_instance.get_or_insert_default();
    }

    fn validate(&self, _cx: &RequestCx, event: &Event) -> ErrorList {
        validation::validate(event, Rules::Legacy)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Event, old: &Event) -> ErrorList {
        validation::validate_update(new, old, Rules::Legacy)
    }
}
