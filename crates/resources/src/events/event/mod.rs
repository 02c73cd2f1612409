//! Events as `events.k8s.io/v1` takes them: kept in the core group's spelling, with stricter rules and other names
//! for selectable fields. Upstream: `pkg/apis/events/v1/conversion.go`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::Event;
use registry::{Column, Durability, Info, RequestCx, SelectableField, Strategy};

use crate::core;
use crate::core::event::validation::{self, Rules};

/// The other end of a conversion: everything but the spelling.
pub struct Events;

impl Strategy for Events {
    type Object = Event;

    const INFO: Info = core::Events::INFO;
    const COLUMNS: &'static [Column<Event>] = core::Events::COLUMNS;
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("regarding.kind", &[&["involvedObject", "kind"]]),
        SelectableField::new("regarding.namespace", &[&["involvedObject", "namespace"]]),
        SelectableField::new("regarding.name", &[&["involvedObject", "name"]]),
        SelectableField::new("regarding.uid", &[&["involvedObject", "uid"]]),
        SelectableField::new("regarding.apiVersion", &[&["involvedObject", "apiVersion"]]),
        SelectableField::new("regarding.resourceVersion", &[&["involvedObject", "resourceVersion"]]),
        SelectableField::new("regarding.fieldPath", &[&["involvedObject", "fieldPath"]]),
        SelectableField::new("reason", &[&["reason"]]),
        SelectableField::new("reportingController", &[&["reportingComponent"]]),
        SelectableField::new("type", &[&["type"]]),
    ];
    const DURABILITY: Durability = Durability::Relaxed;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&self, event: &mut Event) {
        core::Events.set_defaults(event);
    }

    fn validate(&self, _cx: &RequestCx, event: &Event) -> ErrorList {
        validation::validate(event, Rules::Strict)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Event, old: &Event) -> ErrorList {
        validation::validate_update(new, old, Rules::Strict)
    }
}
