//! Controller revisions for the registry. Upstream: `pkg/registry/apps/controllerrevision`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::apps::v1::ControllerRevision;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Flag, Items};

type C = Column<ControllerRevision>;

pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    type Object = ControllerRevision;

    const INFO: Info = Info::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions");
    const COLUMNS: &'static [Column<ControllerRevision>] = COLUMNS;

    fn validate(&self, _cx: &RequestCx, object: &ControllerRevision) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &ControllerRevision, old: &ControllerRevision) -> ErrorList {
        validation::validate_update(new, old)
    }
}

/// `deployment.apps/web`, of the owner that manages the object.
fn controller(revision: &ControllerRevision) -> String {
    let owners = revision.metadata.owner_references.items();
    let Some(owner) = owners.iter().find(|owner| owner.controller.is_set()) else { return "<none>".to_owned() };
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}/{}", format!("{}{dot}{group}", owner.kind).to_lowercase(), owner.name)
}

static COLUMNS: &[Column<ControllerRevision>] = &[
    Column::NAME,
    C::string("Controller", |o, _| json!(controller(o))).describe("Controller of the object"),
    C::string("Revision", |o, _| json!(o.revision))
        .describe("revision indicates the revision of the state represented by Data."),
    Column::AGE,
];
