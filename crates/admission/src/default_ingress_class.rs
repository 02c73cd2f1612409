//! DefaultIngressClass: an Ingress that names no class gets the default one.
//! Upstream: `plugin/pkg/admission/network/defaultingressclass`.

use api::networking::v1::{Ingress, IngressClass};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

const GROUP: &str = "networking.k8s.io";
const LEGACY_ANNOTATION: &str = "kubernetes.io/ingress.class";

pub(crate) struct DefaultIngressClass;

impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group == GROUP && info.plural == "ingresses" && subresource.is_empty() && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let reader = request.cx.reader.clone();
        if let Some(ingress) = request.object_mut::<Ingress>() {
            let legacy = ingress.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEGACY_ANNOTATION));
            let spec = ingress.spec.get_or_insert_default();
            if spec.ingress_class_name.is_none() && !legacy {
                let classes = reader.list::<IngressClass>(GROUP, "ingressclasses", None);
                spec.ingress_class_name = newest_default(
                    classes.into_iter().map(|class| class.metadata),
                    "ingressclass.kubernetes.io/is-default-class",
                );
            }
        }
        ready(Ok(())).boxed()
    }
}

/// Of all that are marked as default, the one created last; among those of one second, the first by name.
pub(crate) fn newest_default(all: impl Iterator<Item = api::ObjectMeta>, annotation: &str) -> Option<String> {
    let marked = |meta: &api::ObjectMeta| {
        meta.annotations
            .as_ref()
            .and_then(|annotations| annotations.get(annotation))
            .is_some_and(|value| value == "true")
    };
    let created = |meta: &api::ObjectMeta| std::cmp::Reverse(meta.creation_timestamp.as_ref().map(|time| time.0));
    all.filter(marked).min_by_key(|meta| (created(meta), meta.name.clone())).and_then(|meta| meta.name)
}
