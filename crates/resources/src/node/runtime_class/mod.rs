//! Runtime classes for the registry. Upstream: `pkg/registry/node/runtimeclass`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::node::v1::RuntimeClass;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

type C = Column<RuntimeClass>;

pub struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    type Object = RuntimeClass;

    const INFO: Info = Info::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses");
    const COLUMNS: &'static [Column<RuntimeClass>] = COLUMNS;

    fn validate(&self, _cx: &RequestCx, object: &RuntimeClass) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
        validation::validate_update(new, old)
    }
}

static COLUMNS: &[Column<RuntimeClass>] = &[Column::NAME, C::string("Handler", |o, _| json!(o.handler)), Column::AGE];
