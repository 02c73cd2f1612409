//! NodeRestriction: a node writes about itself and its own pods, and nothing else.
//! Upstream: `plugin/pkg/admission/noderestriction`.

use std::{collections::BTreeSet, sync::Arc};

use api::{
    authentication::v1::TokenRequest,
    coordination::v1::Lease,
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    resource::v1::ResourceSlice,
    storage::v1::{CSIDriver, CSINode},
};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info, UserInfo,
    admission::{Admission, AdmissionRequest, Operation},
    auth::{Attributes, Authorizer},
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

pub(crate) struct NodeRestriction {
    authorizer: Arc<dyn Authorizer>,
}

impl NodeRestriction {
    /// `authorizer`: who says whether a node may ask for tokens for audiences that its pods do not name.
    pub(crate) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

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

    /// Tokens are looked at here: later, one that is for nobody is for the API server.
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        async move {
            let Some(node) = node_of(&request.cx.user).filter(|_| is_token(request)) else { return Ok(()) };
            let outcome = self.token(request, node).await;
            outcome.map_err(|why| ApiError::forbidden(&gvr(request.info), request.name, why))
        }
        .boxed()
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let outcome = match node_of(&request.cx.user).filter(|_| !is_token(request)) {
            None => Ok(()),
            Some(node) => {
                admit(request, node).map_err(|why| ApiError::forbidden(&gvr(request.info), request.name, why))
            }
        };
        ready(outcome).boxed()
    }
}

fn is_token(request: &AdmissionRequest<'_>) -> bool {
    (request.info.plural, request.subresource) == ("serviceaccounts", "token")
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

impl NodeRestriction {
    /// Tokens only for pods that the node runs, and only for audiences that they name.
    async fn token(&self, request: &AdmissionRequest<'_>, node: &str) -> Result<(), String> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let pod = pod_of_token(request, node)?;
        let asked = request.object::<TokenRequest>().and_then(|wanted| wanted.spec.as_ref()?.audiences.clone());
        let audience = match asked.as_deref().unwrap_or_default() {
            [] => "",
            [one] => one.as_str(),
            _ => return Err("node may only request 0 or 1 audiences".to_owned()),
        };
        if names_audience(request, &pod, audience) {
            return Ok(());
        }
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
        let attributes = Attributes {
            user: Arc::clone(&request.cx.user),
            verb: "request-serviceaccounts-token-audience".to_owned(),
            namespace: request.namespace.to_owned(),
            api_version: "v1".to_owned(),
            resource: audience.to_owned(),
            name: account,
            is_resource_request: true,
            ..Attributes::default()
        };
        if self.authorizer.authorize(&attributes).await.is_allowed() {
            return Ok(());
        }
        Err(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            request.cx.user.name
        ))
    }
}

/// The pod that the token is to be bound to, which has to run on the node.
fn pod_of_token(request: &AdmissionRequest<'_>, node: &str) -> Result<Pod, String> {
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
    Ok(pod)
}

/// Whether the pod projects a token for the audience, or mounts what a CSI driver provides that asks for such tokens.
/// Upstream: `podReferencesAudience`.
fn names_audience(request: &AdmissionRequest<'_>, pod: &Pod, audience: &str) -> bool {
    let reader = &request.cx.reader;
    let driver_asks = |driver: &str| {
        let driver = reader.get::<CSIDriver>("storage.k8s.io", "csidrivers", "", driver);
        let requests = driver.and_then(|driver| driver.spec.token_requests).unwrap_or_default();
        requests.iter().any(|request| request.audience == audience)
    };
    let claim_asks = |claim: &str| {
        let claim: Option<PersistentVolumeClaim> = reader.get("", "persistentvolumeclaims", request.namespace, claim);
        let volume = claim.and_then(|claim| claim.spec?.volume_name).filter(|volume| !volume.is_empty());
        let volume = volume.and_then(|volume| reader.get::<PersistentVolume>("", "persistentvolumes", "", &volume));
        volume.and_then(|volume| volume.spec?.csi).is_some_and(|source| driver_asks(&source.driver))
    };
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|volume| {
        let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_deref()).unwrap_or_default();
        let tokens = sources.iter().filter_map(|source| source.service_account_token.as_ref());
        if tokens.into_iter().any(|token| token.audience.as_deref().unwrap_or_default() == audience) {
            return true;
        }
        if volume.ephemeral.is_some() {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            return claim_asks(&format!("{pod}-{}", volume.name));
        }
        volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim_asks(&claim.claim_name))
            || volume.csi.as_ref().is_some_and(|source| driver_asks(&source.driver))
    })
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
    use registry::{
        UserInfo,
        auth::{Decision, Rules},
    };
    use serde_json::json;

    const ACCOUNTS: Info = Info::namespaced("", "v1", "ServiceAccount", "serviceaccounts");

    use super::*;
    use crate::testing::{Case, PODS};

    /// Allows nothing, but tokens for the audience `allowed`.
    struct Nobody;

    impl Authorizer for Nobody {
        fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
            let is_it = attributes.verb == "request-serviceaccounts-token-audience" && attributes.resource == "allowed";
            let reason = String::new();
            let decision = if is_it { Decision::Allow { reason } } else { Decision::NoOpinion { reason } };
            futures::future::ready(decision).boxed()
        }

        fn rules_for<'a>(&'a self, _user: &'a UserInfo, _namespace: &'a str) -> BoxFuture<'a, Rules> {
            futures::future::ready(Rules::default()).boxed()
        }
    }

    #[test]
    fn tokens_are_for_audiences_that_pods_name() {
        let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns","uid":"u"},"spec":{
            "nodeName":"n","serviceAccountName":"a","containers":[],"volumes":[
                {"name":"t","projected":{"sources":[{"serviceAccountToken":{"path":"t","audience":"vault"}}]}},
                {"name":"c","persistentVolumeClaim":{"claimName":"claim"}},
                {"name":"e","ephemeral":{"volumeClaimTemplate":{"spec":{}}}},
                {"name":"i","csi":{"driver":"inline.csi"}}]}}"#;
        let claim = |name: &str, volume: &str| {
            format!(
                r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"{name}","namespace":"ns"}},"spec":{{"volumeName":"{volume}"}}}}"#
            )
        };
        let volume = |name: &str, driver: &str| {
            format!(
                r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"{name}"}},"spec":{{"csi":{{"driver":"{driver}","volumeHandle":"h"}}}}}}"#
            )
        };
        let driver = |name: &str, audience: &str| {
            format!(
                r#"{{"apiVersion":"storage.k8s.io/v1","kind":"CSIDriver","metadata":{{"name":"{name}"}},"spec":{{"tokenRequests":[{{"audience":"{audience}"}}]}}}}"#
            )
        };
        let stored = [
            pod.to_owned(),
            claim("claim", "v1"),
            claim("p-e", "v2"),
            volume("v1", "claim.csi"),
            volume("v2", "ephemeral.csi"),
            driver("claim.csi", "of-claim"),
            driver("ephemeral.csi", "of-ephemeral"),
            driver("inline.csi", "of-inline"),
            driver("other.csi", "of-other"),
        ];
        let stored: Vec<&str> = stored.iter().map(String::as_str).collect();
        let ask = |audiences: &[&str]| {
            let wanted = json!({"metadata": {"name": "a", "namespace": "ns"}, "spec": {"audiences": audiences,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}}});
            let mut case = Case::create(ACCOUNTS, &stored, wanted);
            (case.user, case.subresource) = (UserInfo::new("system:node:n", ["system:nodes"]), "token");
            case.run::<TokenRequest>(&NodeRestriction::new(Arc::new(Nobody))).object.map(|_| ())
        };
        for known in ["vault", "of-claim", "of-ephemeral", "of-inline", "allowed"] {
            assert_eq!(ask(&[known]), Ok(()), "{known}");
        }
        for unknown in ["", "of-other", "https://kubernetes.default.svc"] {
            let error = ask(&[unknown]).expect_err(unknown);
            assert!(
                error.contains(&format!("audience {unknown:?} not found in pod spec volume, system:node:n")),
                "{error}"
            );
        }
        assert!(ask(&[]).expect_err("no audience").contains("audience \"\" not found"));
        assert!(ask(&["vault", "of-claim"]).expect_err("two").contains("node may only request 0 or 1 audiences"));
    }

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
            case.run::<Pod>(&NodeRestriction::new(Arc::new(Nobody))).object
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
