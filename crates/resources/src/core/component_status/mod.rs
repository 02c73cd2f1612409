//! Component statuses for the registry: read only, deprecated. Upstream: `pkg/registry/core/componentstatus`.
//!
//! Upstream asks each component when it is asked itself. Here they are parts of one process that ends when one of them
//! fails, so whoever gets an answer knows that all are well: the objects are written at start and stay.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{ComponentCondition, ComponentStatus};
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::Report;
use crate::optional::{Items, Text};

type C = Column<ComponentStatus>;

pub struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    type Object = ComponentStatus;

    const INFO: Info = Info::cluster("", "v1", "ComponentStatus", "componentstatuses").short(&["cs"]);
    const COLUMNS: &'static [Column<ComponentStatus>] = COLUMNS;
    const VERBS: &'static [&'static str] = &["get", "list"];

    fn validate(&self, _cx: &RequestCx, object: &ComponentStatus) -> ErrorList {
        let mut errors = ErrorList::default();
        for (index, condition) in object.conditions.items().iter().enumerate() {
            if condition.type_ != "Healthy" {
                let path = Path::new("conditions").index(index).child("type");
                errors.not_supported(&path, &condition.type_, &["Healthy"]);
            }
        }
        errors
    }
}

fn healthy(status: &ComponentStatus) -> Option<&ComponentCondition> {
    status.conditions.items().iter().find(|condition| condition.type_ == "Healthy")
}

static COLUMNS: &[Column<ComponentStatus>] = &[
    Column::NAME,
    C::string("Status", |o, _| {
        json!(match healthy(o).map(|condition| condition.status.as_str()) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        })
    })
    .describe("Status of the component conditions"),
    C::string("Message", |o, _| json!(healthy(o).map_or("", |condition| condition.message.text())))
        .describe("Message of the component conditions"),
    C::string("Error", |o, _| json!(healthy(o).map_or("", |condition| condition.error.text())))
        .describe("Error of the component conditions"),
];
