//! NamespaceLifecycle: nothing is created where there is no namespace or one that is being deleted, and the system's
//! own namespaces stay. Upstream: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use apimachinery::{ApiError, Gvr, scan, status::Cause};
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

pub(crate) struct NamespaceLifecycle;

impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, info: &Info, _subresource: &str, operation: Operation) -> bool {
        match operation {
            Operation::Create => info.is_namespaced() && !is_access_review(info),
            Operation::Delete => is_namespace(info),
            Operation::Update | Operation::Connect => false,
        }
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        ready(admit(request)).boxed()
    }
}

fn is_namespace(info: &Info) -> bool {
    info.group.is_empty() && info.plural == "namespaces"
}

/// Reviews are questions, which may be asked about namespaces that do not exist.
fn is_access_review(info: &Info) -> bool {
    info.group == "authorization.k8s.io"
}

fn admit(request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
    if request.operation == Operation::Delete {
        if IMMORTAL.contains(&request.name) {
            return Err(ApiError::forbidden(&gvr(request.info), request.name, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    let namespaces = Gvr::new("", "v1", "namespaces");
    let Some(namespace) = request.cx.reader.raw("", "namespaces", "", request.namespace) else {
        return Err(ApiError::not_found(&namespaces, request.namespace));
    };
    // Asked with every creation: two values are found without decoding the rest.
    let text = |path: &[&str]| scan::text(&namespace, path);
    if text(&["metadata", "deletionTimestamp"]).is_none()
        && text(&["status", "phase"]).as_deref() != Some("Terminating")
    {
        return Ok(());
    }
    let name = request.namespace;
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    Err(ApiError::forbidden(&gvr(request.info), request.name, why).with_cause(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_error};

    const LIVE: &str = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"ns"}}"#;
    const DYING: &str =
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"ns","deletionTimestamp":"2024-01-01T00:00:00Z"}}"#;
    const POD: &str = r#"{"metadata":{"name":"p","namespace":"ns"}}"#;

    #[test]
    fn a_namespace_has_to_be_there_and_alive() {
        check(&super::NamespaceLifecycle, &[LIVE], POD);
        assert_eq!(check_error(&super::NamespaceLifecycle, &[], POD), r#"namespaces "ns" not found"#);
        assert_eq!(
            check_error(&super::NamespaceLifecycle, &[DYING], POD),
            r#"pods "p" is forbidden: unable to create new content in namespace ns because it is being terminated"#
        );
    }
}
