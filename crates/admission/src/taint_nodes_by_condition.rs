//! TaintNodesByCondition: a new node takes no pods before it has said that it is ready.
//! Upstream: `plugin/pkg/admission/nodetaint`.

use api::core::v1::{Node, Taint};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(crate) struct TaintNodesByCondition;

impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty() && info.plural == "nodes" && subresource.is_empty() && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if let Some(node) = request.object_mut::<Node>() {
            let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
            if !taints.iter().any(|taint| taint.key == NOT_READY && taint.effect == "NoSchedule") {
                taints.push(Taint { key: NOT_READY.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
            }
        }
        ready(Ok(())).boxed()
    }
}
