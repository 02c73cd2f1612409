//! Flow schemas for the registry. Upstream: `pkg/registry/flowcontrol/flowschema`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use registry::{
    Column, Filter, Info, ObjectExt, RequestCx, Strategy, Subresource, keep_all_but_status, keep_metadata,
    reset_metadata,
};
use serde_json::json;

use crate::optional::{Items, Text};

type C = Column<FlowSchema>;

pub struct FlowSchemas;

impl Strategy for FlowSchemas {
    type Object = FlowSchema;

    const INFO: Info = Info::cluster("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas");
    const COLUMNS: &'static [Column<FlowSchema>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn set_defaults(&self, object: &mut FlowSchema) {
        object.spec.get_or_insert_default().matching_precedence.get_or_insert(1000);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut FlowSchema) {
        object.status = None;
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut FlowSchema, old: &FlowSchema) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &FlowSchema) -> ErrorList {
        validation::validate(object)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut FlowSchema, old: &FlowSchema) {
        keep_all_but_status(new, old);
        keep_metadata(new, old);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &FlowSchema, _old: &FlowSchema) -> ErrorList {
        validation::validate_status(new)
    }
}

fn dangling(schema: &FlowSchema) -> &str {
    let conditions = schema.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    let condition = conditions.iter().find(|condition| condition.type_.text() == "Dangling");
    condition.map_or("?", |condition| condition.status.text())
}

static COLUMNS: &[Column<FlowSchema>] = &[
    Column::NAME,
    C::string("PriorityLevel", |o, _| {
        json!(o.spec.as_ref().map_or("", |spec| &spec.priority_level_configuration.name))
    }).describe("`name` is the name of the priority level configuration being referenced Required."),
    C::string("MatchingPrecedence", |o, _| {
        json!(o.spec.as_ref().and_then(|spec| spec.matching_precedence).unwrap_or(0))
    }).describe("`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default."),
    C::string("DistinguisherMethod", |o, _| {
        json!(
            o.spec
                .as_ref()
                .and_then(|spec| spec.distinguisher_method.as_ref())
                .map_or("<none>", |method| &method.type_)
        )
    }).describe("`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string."),
    Column::AGE,
    C::string("MissingPL", |o, _| json!(dangling(o)))
        .describe("references a broken or non-existent PriorityLevelConfiguration"),
];
