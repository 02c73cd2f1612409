//! Runtime classes for the registry. Upstream: `pkg/registry/node/runtimeclass`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::node::v1::RuntimeClass;
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::core::pod::warnings::node_label;

type C = Column<RuntimeClass>;

pub struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    type Object = RuntimeClass;

    const INFO: Info = Info::cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses");
    const COLUMNS: &'static [Column<RuntimeClass>] = COLUMNS;
    const ALLOW_CREATE_ON_UPDATE: bool = true;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn validate(&self, _cx: &RequestCx, object: &RuntimeClass) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn warnings(&self, _cx: &RequestCx, class: &RuntimeClass, _old: Option<&RuntimeClass>) -> Vec<String> {
        let scheduling = class.scheduling.as_ref();
        let labels = scheduling.and_then(|scheduling| scheduling.node_selector.as_ref()).into_iter().flatten();
        let messages = labels.filter_map(|(label, _)| node_label(label));
        messages.map(|message| format!("scheduling.nodeSelector: {message}")).collect()
    }
}

static COLUMNS: &[Column<RuntimeClass>] = &[Column::NAME, C::string("Handler", |o, _| json!(o.handler)), Column::AGE];
