//! API services for the registry: who serves a group in a version. Upstream:
//! `k8s.io/kube-aggregator/pkg/registry/apiservice`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition, APIServiceStatus},
};
use registry::{Column, Filter, Info, NameRule, RequestCx, Strategy, Subresource, keep_metadata, reset_metadata};
use serde_json::json;

use crate::optional::{Items, Text};

type C = Column<APIService>;

/// The one condition there is.
pub const AVAILABLE: &str = "Available";
const HTTPS: i32 = 443;

pub struct APIServices;

impl Strategy for APIServices {
    type Object = APIService;

    const INFO: Info =
        Info::cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices").categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<APIService>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn set_defaults(&self, object: &mut APIService) {
        if let Some(service) = object.spec.as_mut().and_then(|spec| spec.service.as_mut()) {
            service.port.get_or_insert(HTTPS);
        }
    }

    fn prepare_for_create(&self, cx: &RequestCx, object: &mut APIService) {
        object.status = None;
        // What this server serves itself is there at once.
        if object.spec.as_ref().is_some_and(|spec| spec.service.is_none()) {
            set_condition(object, local_condition(cx.time()));
        }
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut APIService, old: &APIService) {
        new.status.clone_from(&old.status);
    }

    fn validate(&self, _cx: &RequestCx, object: &APIService) -> ErrorList {
        validation::validate(object)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut APIService, old: &APIService) {
        new.spec.clone_from(&old.spec);
        keep_metadata(new, old);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &APIService, _old: &APIService) -> ErrorList {
        validation::validate_status(new)
    }
}

/// Of a group that this server serves itself.
pub fn local_condition(now: Time) -> APIServiceCondition {
    APIServiceCondition {
        type_: AVAILABLE.to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(now),
        reason: Some("Local".to_owned()),
        message: Some("Local APIServices are always available".to_owned()),
    }
}

/// Sets a condition; its time is that of the last change of its status. Upstream: `SetAPIServiceCondition`.
pub fn set_condition(object: &mut APIService, condition: APIServiceCondition) {
    let status: &mut APIServiceStatus = object.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status != condition.status {
                known.status = condition.status;
                known.last_transition_time = condition.last_transition_time;
            }
            known.reason = condition.reason;
            known.message = condition.message;
        }
        None => conditions.push(condition),
    }
}

fn service(object: &APIService) -> String {
    match object.spec.as_ref().and_then(|spec| spec.service.as_ref()) {
        Some(service) => format!("{}/{}", service.namespace.text(), service.name.text()),
        None => "Local".to_owned(),
    }
}

fn available(object: &APIService) -> String {
    let conditions = object.status.as_ref().map(|status| status.conditions.items()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == AVAILABLE) {
        None => "Unknown".to_owned(),
        Some(condition) if condition.status == "True" || condition.reason.text().is_empty() => condition.status.clone(),
        Some(condition) => format!("{} ({})", condition.status, condition.reason.text()),
    }
}

static COLUMNS: &[Column<APIService>] = &[
    Column::NAME,
    C::string("Service", |o, _| json!(service(o)))
        .describe("The reference to the service that hosts this API endpoint."),
    C::string("Available", |o, _| json!(available(o))).describe("Whether this service is available."),
    Column::AGE,
];
