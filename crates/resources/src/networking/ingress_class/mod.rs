//! Ingress classes for the registry. Upstream: `pkg/registry/networking/ingressclass`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::networking::v1::IngressClass;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::Text;
use crate::optional::default_text;

type C = Column<IngressClass>;

pub struct IngressClasses;

impl Strategy for IngressClasses {
    type Object = IngressClass;

    const INFO: Info = Info::cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses");
    const COLUMNS: &'static [Column<IngressClass>] = COLUMNS;

    fn set_defaults(&self, object: &mut IngressClass) {
        if let Some(parameters) = object.spec.as_mut().and_then(|spec| spec.parameters.as_mut()) {
            default_text(&mut parameters.scope, "Cluster");
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut IngressClass) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut IngressClass, old: &IngressClass) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &IngressClass) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &IngressClass, old: &IngressClass) -> ErrorList {
        validation::validate_update(new, old)
    }
}

fn parameters(class: &IngressClass) -> String {
    let Some(parameters) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) else {
        return "<none>".to_owned();
    };
    let group = parameters.api_group.as_ref().map_or_else(String::new, |group| format!(".{group}"));
    format!("{}{group}/{}", parameters.kind, parameters.name)
}

static COLUMNS: &[Column<IngressClass>] = &[
    Column::NAME,
    C::string("Controller", |o, _| json!(o.spec.as_ref().map_or("", |spec| spec.controller.text())))
        .describe("Controller that is responsible for handling this class"),
    C::string("Parameters", |o, _| json!(parameters(o)))
        .describe("A reference to a resource with additional parameters"),
    Column::AGE,
];
