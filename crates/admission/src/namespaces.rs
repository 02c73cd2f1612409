//! NamespaceExists and NamespaceAutoProvision: older ways to treat objects of namespaces that are not there.
//! Upstream: `plugin/pkg/admission/namespace`.

use std::sync::Arc;

use apimachinery::ApiError;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info, Verb,
    admission::{Admission, AdmissionRequest, Operation},
    options::WriteOptions,
};

pub(crate) struct NamespaceExists;

/// Makes the namespace.
pub(crate) struct NamespaceAutoProvision;

fn is_there(request: &AdmissionRequest<'_>) -> bool {
    request.namespace.is_empty() || request.cx.reader.exists("", "namespaces", "", request.namespace)
}

fn in_namespace(info: &Info) -> bool {
    info.is_namespaced()
}

impl Admission for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn handles(&self, info: &Info, _subresource: &str, operation: Operation) -> bool {
        in_namespace(info) && operation != Operation::Connect
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let namespaces = apimachinery::Gvr::new("", "v1", "namespaces");
        let missing = || Err(ApiError::not_found(&namespaces, request.namespace));
        ready(if is_there(request) { Ok(()) } else { missing() }).boxed()
    }
}

impl Admission for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn handles(&self, info: &Info, _subresource: &str, operation: Operation) -> bool {
        in_namespace(info) && operation == Operation::Create
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        async move {
            let Some(place) = request.place.filter(|_| !is_there(request) && !request.cx.dry_run) else {
                return Ok(());
            };
            let Some(kind) = place.registry.preferred_kind("", "namespaces") else { return Ok(()) };
            let cx = place.registry.context(Arc::clone(&request.cx.user), Verb::Create);
            let namespace =
                format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}}"#, request.namespace);
            match place.registry.create(&kind, &cx, &Bytes::from(namespace), &WriteOptions::default()).await {
                Err(error) if error.is("AlreadyExists") => Ok(()),
                other => other.map(|_| ()),
            }
        }
        .boxed()
    }
}
