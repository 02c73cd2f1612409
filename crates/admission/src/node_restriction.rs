//! NodeRestriction: a node writes about itself and its own pods, and nothing else.
//! Upstream: `plugin/pkg/admission/noderestriction`.

use api::{
    authentication::v1::TokenRequest,
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info, UserInfo,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Labels under `kubernetes.io` that a node may give itself.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
];
const OWN_LABEL_PREFIXES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(crate) struct NodeRestriction;

impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, info: &Info, _subresource: &str, _operation: Operation) -> bool {
        matches!(
            (info.group, info.plural),
            ("", "nodes" | "pods" | "serviceaccounts")
                | ("coordination.k8s.io", "leases")
                | ("storage.k8s.io", "csinodes")
        )
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let outcome = match node_of(&request.cx.user) {
            None => Ok(()),
            Some(node) => {
                admit(request, node).map_err(|why| ApiError::forbidden(&gvr(request.info), request.name, why))
            }
        };
        ready(outcome).boxed()
    }
}

fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|_| user.in_group("system:nodes"))
}

fn admit(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    match (request.info.plural, request.subresource) {
        ("pods", "") => pod(request, node),
        ("pods", "status") => owned_pod(request, node, "update pod status"),
        ("pods", "eviction") => owned_pod(request, node, "evict pod"),
        ("pods", subresource) => {
            Err(format!("unexpected pod subresource {subresource:?}, only 'status' and 'eviction' are allowed"))
        }
        ("nodes", _) => own_node(request, node),
        ("serviceaccounts", "token") => token(request, node),
        ("leases", _) => lease(request, node),
        ("csinodes", _) if request.operation != Operation::Connect && object_name(request) != node => {
            Err(format!("can only access CSINode with the same name as the requesting node {node:?}"))
        }
        _ => Ok(()),
    }
}

fn object_name<'a>(request: &'a AdmissionRequest<'_>) -> &'a str {
    request.name
}

fn pod(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    match request.operation {
        Operation::Create => {
            let Some(pod) = request.object::<Pod>() else { return Ok(()) };
            let annotated = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR_ANNOTATION));
            if !annotated {
                return Err(format!(
                    "pod does not have {MIRROR_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            if api::pod::node_name(pod) != Some(node) {
                return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
            }
            Ok(())
        }
        Operation::Delete => owned_pod(request, node, "delete pod"),
        Operation::Update => Err(format!("node {node:?} may not update pods")),
        Operation::Connect => Ok(()),
    }
}

/// The pod, as it is stored, is bound to the node.
fn owned_pod(request: &AdmissionRequest<'_>, node: &str, what: &str) -> Result<(), String> {
    let stored = request.cx.reader.get::<Pod>("", "pods", request.namespace, request.name);
    match stored {
        // It is gone already; whoever answers the request says so.
        None => Ok(()),
        Some(pod) if api::pod::node_name(&pod) == Some(node) => {
            let labels = |pod: &Pod| pod.metadata.labels.clone();
            let relabelled = request
                .object::<Pod>()
                .is_some_and(|new| request.subresource == "status" && labels(new) != labels(&pod));
            if relabelled { Err(format!("node {node:?} cannot update labels through pod status")) } else { Ok(()) }
        }
        Some(_) => Err(format!("node {node:?} can only {what} for pods with spec.nodeName set to itself")),
    }
}

fn own_node(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    let name = if request.name.is_empty() {
        request.object::<Node>().and_then(|object| object.metadata.name.as_deref()).unwrap_or_default()
    } else {
        request.name
    };
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    match request.operation {
        Operation::Delete => return Err(format!("node {node:?} is not allowed to delete itself")),
        Operation::Connect => return Ok(()),
        Operation::Create | Operation::Update => {}
    }
    let (new, old) = (request.object::<Node>(), request.old_object::<Node>());
    let Some(new) = new else { return Ok(()) };
    let label = |object: Option<&Node>, key: &str| object.and_then(|o| o.metadata.labels.as_ref()?.get(key).cloned());
    for key in new.metadata.labels.iter().flatten().map(|(key, _)| key) {
        if !may_set_label(key) && label(Some(new), key) != label(old, key) {
            return Err(format!("is not allowed to set the following labels: {key}"));
        }
    }
    if let Some(old) = old
        && request.subresource.is_empty()
    {
        let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if taints(new) != taints(old) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
    }
    if new.metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty())
        && new.metadata.owner_references != old.and_then(|old| old.metadata.owner_references.clone())
    {
        return Err(format!("node {node:?} is not allowed to modify owner references"));
    }
    Ok(())
}

fn may_set_label(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return true };
    let within = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || OWN_LABEL_PREFIXES.iter().any(|domain| within(domain))
}

/// Tokens only for pods that the node runs.
fn token(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    if request.operation != Operation::Create {
        return Ok(());
    }
    let Some(bound) =
        request.object::<TokenRequest>().and_then(|wanted| wanted.spec.as_ref()?.bound_object_ref.as_ref())
    else {
        return Err(format!("node requested token not bound to a pod (node {node:?})"));
    };
    let name = bound.name.as_deref().unwrap_or_default();
    if bound.kind.as_deref() != Some("Pod") {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let Some(pod) = request.cx.reader.get::<Pod>("", "pods", request.namespace, name) else {
        return Err(format!("pod {name:?} of the requested token does not exist"));
    };
    if api::pod::node_name(&pod) != Some(node) {
        return Err(format!("node requested token bound to a pod scheduled on a different node than {node:?}"));
    }
    if bound.uid.is_some() && bound.uid != pod.metadata.uid {
        return Err(format!("the UID in the bound object reference does not match the UID of pod {name:?}"));
    }
    Ok(())
}

fn lease(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    if request.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
    }
    let name = match request.object::<Lease>() {
        Some(lease) if request.operation == Operation::Create => lease.metadata.name.as_deref().unwrap_or_default(),
        _ => request.name,
    };
    if name == node {
        Ok(())
    } else {
        Err("can only access node lease with the same name as the requesting node".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_a_node_may_give_itself() {
        for (key, allowed) in [
            ("a", true),
            ("example.com/a", true),
            ("kubernetes.io/hostname", true),
            ("kubernetes.io/other", false),
            ("node-restriction.kubernetes.io/a", false),
            ("sub.node-restriction.kubernetes.io/a", false),
            ("node.kubernetes.io/x", true),
            ("node-role.kubernetes.io/master", false),
        ] {
            assert_eq!(may_set_label(key), allowed, "{key}");
        }
    }
}
