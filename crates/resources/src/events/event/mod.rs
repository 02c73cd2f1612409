//! Events for the registry, in their own group. Upstream: `pkg/registry/core/event`, `pkg/apis/events/v1`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::events::v1::Event;
use registry::{Durability, Info, RequestCx, SelectableField, Strategy};

use crate::core::event::conversion::to_core;
use crate::core::event::validation::{self, Rules};

pub struct Events;

impl Strategy for Events {
    type Object = Event;

    const INFO: Info = Info::namespaced("events.k8s.io", "v1", "Event", "events").short(&["ev"]);
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField::new("regarding.kind", &[&["regarding", "kind"]]),
        SelectableField::new("regarding.namespace", &[&["regarding", "namespace"]]),
        SelectableField::new("regarding.name", &[&["regarding", "name"]]),
        SelectableField::new("regarding.uid", &[&["regarding", "uid"]]),
        SelectableField::new("regarding.apiVersion", &[&["regarding", "apiVersion"]]),
        SelectableField::new("regarding.resourceVersion", &[&["regarding", "resourceVersion"]]),
        SelectableField::new("regarding.fieldPath", &[&["regarding", "fieldPath"]]),
        SelectableField::new("reason", &[&["reason"]]),
        SelectableField::new("reportingController", &[&["reportingController"]]),
        SelectableField::new("type", &[&["type"]]),
    ];
    const DURABILITY: Durability = Durability::Relaxed;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _cx: &RequestCx, event: &Event) -> ErrorList {
        validation::validate(&to_core(event.clone()), Rules::Strict)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Event, old: &Event) -> ErrorList {
        validation::validate_update(&to_core(new.clone()), &to_core(old.clone()), Rules::Strict)
    }
}
