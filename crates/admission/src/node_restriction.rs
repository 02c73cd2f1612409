//! NodeRestriction: a node writes about itself and its own pods, and nothing else.
//! Upstream: `plugin/pkg/admission/noderestriction`.

use std::collections::BTreeSet;

use api::{
    authentication::v1::TokenRequest,
    coordination::v1::Lease,
    core::v1::{Node, PersistentVolumeClaim, Pod},
    resource::v1::ResourceSlice,
    storage::v1::CSINode,
};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info, UserInfo,
    admission::{Admission, AdmissionRequest, Operation},
};
use serde_json::Value;

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
            ("", "nodes" | "pods" | "serviceaccounts" | "persistentvolumeclaims")
                | ("coordination.k8s.io", "leases")
                | ("storage.k8s.io", "csinodes")
                | ("resource.k8s.io", "resourceslices")
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
        ("pods", "status") => owned_pod(request, node, "update pod status for pods"),
        ("pods", "eviction") => owned_pod(request, node, "evict pods"),
        ("pods", subresource) => {
            Err(format!("unexpected pod subresource {subresource:?}, only 'status' and 'eviction' are allowed"))
        }
        ("nodes", _) => own_node(request, node),
        ("serviceaccounts", "token") => token(request, node),
        ("leases", _) => lease(request, node),
        ("csinodes", _) if request.operation != Operation::Connect && own_name::<CSINode>(request) != node => {
            Err("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("persistentvolumeclaims", "status") => claim_status(request, node),
        ("persistentvolumeclaims", _) => Err("may only update PVC status".to_owned()),
        ("resourceslices", _) => slice(request, node),
        _ => Ok(()),
    }
}

/// Of the request, or of the object where the request names none.
fn own_name<'a, T: registry::Object>(request: &'a AdmissionRequest<'_>) -> &'a str {
    match request.name {
        "" => request.object::<T>().and_then(|object| object.metadata().name.as_deref()).unwrap_or_default(),
        name => name,
    }
}

fn pod(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    match request.operation {
        Operation::Create => match request.object::<Pod>() {
            Some(pod) => mirror_pod(request, pod, node),
            None => Ok(()),
        },
        Operation::Delete => owned_pod(request, node, "delete pods"),
        Operation::Update => Err(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            request.operation.as_str()
        )),
        Operation::Connect => Ok(()),
    }
}

/// A node only shows what it runs anyway, and reaches nothing by it.
fn mirror_pod(request: &AdmissionRequest<'_>, pod: &Pod, node: &str) -> Result<(), String> {
    let annotated = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR_ANNOTATION));
    if !annotated {
        return Err(format!(
            "pod does not have {MIRROR_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if api::pod::node_name(pod) != Some(node) {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match pod.metadata.owner_references.as_deref().unwrap_or_default() {
        [owner] => owner,
        [] => return Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
        _ => return Err(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    if (owner.api_version.as_str(), owner.kind.as_str(), owner.name.as_str()) != ("v1", "Node", node) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner.controller != Some(true) {
        return Err(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner.block_owner_deletion == Some(true) {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let stored = request.cx.reader.get::<Node>("", "nodes", "", node);
    let Some(uid) = stored.and_then(|stored| stored.metadata.uid) else {
        return Err(format!("nodes {node:?} not found"));
    };
    if owner.uid != uid {
        return Err(format!("node {node} UID mismatch: expected {} got {uid}", owner.uid));
    }
    let Some(spec) = &pod.spec else { return Ok(()) };
    let refuse = |what: &str| Err(format!("node {node:?} can not create pods that reference {what}"));
    if spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty()) {
        return refuse("a service account");
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return refuse("resourceclaims");
    }
    let text = apimachinery::json::to_value(spec).unwrap_or_default();
    for (fields, what) in [
        (&["secret", "secretRef", "secretKeyRef", "imagePullSecrets", "nodePublishSecretRef"][..], "secrets"),
        (&["configMap", "configMapRef", "configMapKeyRef"][..], "configmaps"),
        (&["persistentVolumeClaim"][..], "persistentvolumeclaims"),
        (&["clusterTrustBundle"][..], "clustertrustbundles"),
        (&["podCertificate"][..], "podcertificates"),
    ] {
        if mentions(&text, fields) {
            return refuse(what);
        }
    }
    Ok(())
}

/// Whether one of the fields is set anywhere in the object.
fn mentions(value: &Value, fields: &[&str]) -> bool {
    match value {
        Value::Object(own) => own.iter().any(|(name, value)| {
            let empty = value.as_array().is_some_and(Vec::is_empty) || value.is_null();
            (fields.contains(&name.as_str()) && !empty) || mentions(value, fields)
        }),
        Value::Array(items) => items.iter().any(|item| mentions(item, fields)),
        _ => false,
    }
}

/// Of a claim, a node says only how large its volume is and how its growth goes.
fn claim_status(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    let claims = (request.object::<PersistentVolumeClaim>(), request.old_object::<PersistentVolumeClaim>());
    let (Operation::Update, (Some(new), Some(old))) = (request.operation, claims) else {
        return Err(format!("unexpected operation {:?}", request.operation.as_str()));
    };
    let others = |claim: &PersistentVolumeClaim| {
        let mut claim = claim.clone();
        claim.metadata.managed_fields = None;
        claim.metadata.resource_version = None;
        if let Some(status) = &mut claim.status {
            status.capacity = None;
            status.conditions = None;
            status.allocated_resources = None;
            status.allocated_resource_statuses = None;
        }
        claim
    };
    if others(new) == others(old) {
        Ok(())
    } else {
        Err(format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"))
    }
}

/// Devices are announced by the node that has them.
fn slice(request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
    let of = |slice: Option<&ResourceSlice>| slice.and_then(|slice| slice.spec.node_name.clone()).unwrap_or_default();
    let (verb, owner) = match request.operation {
        Operation::Create => ("create", of(request.object())),
        Operation::Update => ("update", of(request.old_object())),
        Operation::Delete => ("delete", of(request.old_object())),
        Operation::Connect => return Ok(()),
    };
    if owner == node {
        return Ok(());
    }
    Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
}

/// The pod, as it is stored, is bound to the node.
fn owned_pod(request: &AdmissionRequest<'_>, node: &str, what: &str) -> Result<(), String> {
    let stored = request.cx.reader.get::<Pod>("", "pods", request.namespace, request.name);
    match stored {
        // It is gone already; whoever answers the request says so.
        None => Ok(()),
        Some(pod) if api::pod::node_name(&pod) == Some(node) => {
            let Some(new) = request.object::<Pod>().filter(|_| request.subresource == "status") else { return Ok(()) };
            if new.metadata.labels != pod.metadata.labels {
                return Err(format!("node {node:?} cannot update labels through pod status"));
            }
            let claims = |pod: &Pod| pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone());
            if claims(new) != claims(&pod) {
                return Err(format!("node {node:?} cannot update resource claim statuses"));
            }
            Ok(())
        }
        Some(_) => Err(format!("node {node:?} can only {what} with spec.nodeName set to itself")),
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
    let config_source = |node: &Node| node.spec.as_ref().and_then(|spec| spec.config_source.clone());
    if old.is_none() && config_source(new).is_some() {
        return Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
    }
    let label = |object: Option<&Node>, key: &str| object.and_then(|o| o.metadata.labels.as_ref()?.get(key).cloned());
    let keys = new.metadata.labels.iter().chain(old.and_then(|old| old.metadata.labels.as_ref())).flatten();
    let forbidden: BTreeSet<&str> = keys
        .map(|(key, _)| key.as_str())
        .filter(|key| !may_set_label(key) && label(Some(new), key) != label(old, key))
        .collect();
    if !forbidden.is_empty() {
        let forbidden = forbidden.into_iter().collect::<Vec<_>>().join(", ");
        return Err(match old {
            None => format!("node {node:?} is not allowed to set the following labels: {forbidden}"),
            Some(_) => format!("node {node:?} is not allowed to modify labels: {forbidden}"),
        });
    }
    let owners = |node: &Node| node.metadata.owner_references.clone().unwrap_or_default();
    if owners(new) != old.map(owners).unwrap_or_default() {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let Some(old) = old else { return Ok(()) };
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if taints(new) != taints(old) {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    if config_source(new).is_some() && config_source(new) != config_source(old) {
        return Err(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"));
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
        return Err("node requested token not bound to a pod".to_owned());
    };
    let (name, uid) = (bound.name.as_deref().unwrap_or_default(), bound.uid.as_deref().unwrap_or_default());
    if (bound.api_version.as_deref(), bound.kind.as_deref()) != (Some("v1"), Some("Pod")) || name.is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let Some(pod) = request.cx.reader.get::<Pod>("", "pods", request.namespace, name) else {
        return Err(format!("pod {name:?} of the requested token does not exist"));
    };
    if pod.metadata.uid.as_deref() != Some(uid) {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if api::pod::node_name(&pod) != Some(node) {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
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
    use api::core::v1::Pod;
    use registry::UserInfo;
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, PODS};

    #[test]
    fn mirror_pods_reach_nothing() {
        let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","uid":"u"}}"#;
        let pod = |change: Value| {
            let mut pod = json!({
                "metadata": {"name": "p", "namespace": "ns", "annotations": {MIRROR_ANNOTATION: "x"}, "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]},
                "spec": {"nodeName": "n", "containers": []},
            });
            apimachinery::patch::merge_patch(&mut pod, change);
            let stored = [node];
            let mut case = Case::create(PODS, &stored, pod);
            case.user = UserInfo::new("system:node:n", ["system:nodes"]);
            case.run::<Pod>(&NodeRestriction).object
        };
        assert!(pod(json!({})).is_ok());
        for (change, why) in [
            (json!({"metadata": {"ownerReferences": null}}), "an owner reference set to itself"),
            (json!({"spec": {"nodeName": "m"}}), "spec.nodeName set to itself"),
            (json!({"spec": {"serviceAccountName": "a"}}), "reference a service account"),
            (json!({"spec": {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}), "reference secrets"),
            (
                json!({"spec": {"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "m"}}]}]}}),
                "reference configmaps",
            ),
        ] {
            let error = pod(change).expect_err(why);
            assert!(error.ends_with(why), "{error}");
        }
    }

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
