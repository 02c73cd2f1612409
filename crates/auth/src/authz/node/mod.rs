//! What a node's own identity may do: read what the pods bound to it refer to, and write about itself.
//!
//! A graph of references is updated object by object; a question is a few look-ups. Upstream:
//! `plugin/pkg/auth/authorizer/node`, with node selectors in authorization.

mod graph;

use std::sync::OnceLock;

use api::{
    core::v1::{PersistentVolume, Pod},
    rbac::v1::PolicyRule,
    resource::v1::ResourceSlice,
    storage::v1::VolumeAttachment,
};
use apimachinery::{field::go_quote, fields::FieldSelector};
use futures::future::{BoxFuture, FutureExt as _, ready};
use parking_lot::RwLock;
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};

use self::graph::{Graph, Reference};
use super::rules;
use crate::{bootstrap::parse_rule, follow::Freshness};

/// The group of all nodes.
const NODES_GROUP: &str = "system:nodes";
/// How nodes are named as users.
const NODE_USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What every node may do, whatever runs on it; the rest is asked of the graph.
const RULES: &[&str] = &[
    "create | authentication.k8s.io | tokenreviews",
    "create | authorization.k8s.io | localsubjectaccessreviews subjectaccessreviews",
    "get list watch | core | services",
    "create patch update | core events.k8s.io | events",
    "get | core | endpoints",
    "create get list watch | certificates.k8s.io | certificatesigningrequests",
    "get list watch | storage.k8s.io | csidrivers",
    "get list watch | node.k8s.io | runtimeclasses",
    "get list watch | certificates.k8s.io | clustertrustbundles",
];

/// The authorizer `Node`.
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
    rules: Vec<PolicyRule>,
    freshness: OnceLock<Freshness>,
}

/// Why not; empty: because no rule says so.
type Refusal = String;

impl Default for NodeAuthorizer {
    fn default() -> Self {
        Self {
            graph: RwLock::default(),
            rules: RULES.iter().map(|rule| parse_rule(rule)).collect(),
            freshness: OnceLock::new(),
        }
    }
}

impl NodeAuthorizer {
    /// Without any pods.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pod as it is now; `None`: it is gone.
    pub fn set_pod(&self, namespace: &str, name: &str, pod: Option<&Pod>) {
        self.graph.write().set_pod(namespace, name, pod);
    }

    /// A volume as it is now; `None`: it is gone.
    pub fn set_volume(&self, name: &str, volume: Option<&PersistentVolume>) {
        self.graph.write().set_volume(name, volume);
    }

    /// An attachment as it is now; `None`: it is gone.
    pub fn set_attachment(&self, name: &str, attachment: Option<&VolumeAttachment>) {
        let node = attachment.map(|attachment| attachment.spec.node_name.as_str());
        self.graph.write().set_owner(Reference::new("volumeattachments", "", name), node);
    }

    /// A slice as it is now; `None`: it is gone.
    pub fn set_resource_slice(&self, name: &str, slice: Option<&ResourceSlice>) {
        let node = slice.and_then(|slice| slice.spec.node_name.as_deref());
        self.graph.write().set_owner(Reference::new("resourceslices", "", name), node);
    }

    /// Whose changes are to be waited for before something is refused.
    pub(crate) fn set_freshness(&self, freshness: Freshness) {
        // Followed once.
        self.freshness.set(freshness).ok();
    }

    /// Returns once everything that is stored now counts; whether that was not so before.
    pub(crate) async fn catch_up(&self) -> bool {
        match self.freshness.get() {
            Some(freshness) => freshness.catch_up().await,
            None => false,
        }
    }

    fn decide(&self, attributes: &Attributes) -> Decision {
        let no_opinion = |reason: String| Decision::NoOpinion { reason };
        let Some(node) = node_of(&attributes.user) else { return no_opinion(String::new()) };
        if node.is_empty() {
            return no_opinion(format!("unknown node for user {}", go_quote(&attributes.user.name)));
        }
        match self.judge(node, attributes) {
            Ok(()) => Decision::Allow { reason: String::new() },
            Err(reason) => no_opinion(reason),
        }
    }

    fn judge(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        if attributes.is_resource_request {
            match (attributes.api_group.as_str(), attributes.resource.as_str()) {
                ("", "secrets") => return self.read(node, "secrets", attributes),
                ("", "configmaps") => return self.read(node, "configmaps", attributes),
                ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
                    check(matches!(verb(attributes), "update" | "patch"), "can only get/update/patch this type")?;
                    return self.related(node, "persistentvolumeclaims", attributes);
                }
                ("", "persistentvolumeclaims") => return self.get(node, "persistentvolumeclaims", attributes),
                ("", "persistentvolumes") => return self.get(node, "persistentvolumes", attributes),
                ("resource.k8s.io", "resourceclaims") => return self.get(node, "resourceclaims", attributes),
                ("storage.k8s.io", "volumeattachments") => return self.get(node, "volumeattachments", attributes),
                ("", "serviceaccounts") => return self.service_account(node, attributes),
                ("coordination.k8s.io", "leases") => return lease(node, attributes),
                ("storage.k8s.io", "csinodes") => return csi_node(node, attributes),
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, attributes),
                ("", "nodes") => return own_node(node, attributes),
                ("", "pods") => return self.pod(node, attributes),
                _ => {}
            }
        }
        check(self.rules.iter().any(|rule| rules::allows(rule, attributes)), "")
    }

    /// One object of a kind that is read by name, by watching it too.
    fn read(&self, node: &str, resource: &'static str, attributes: &Attributes) -> Result<(), Refusal> {
        check(matches!(verb(attributes), "get" | "list" | "watch"), "can only read resources of this type")?;
        check(attributes.subresource.is_empty(), "cannot read subresource")?;
        check(!attributes.namespace.is_empty(), "can only read namespaced object of this type")?;
        self.related(node, resource, attributes)
    }

    fn get(&self, node: &str, resource: &'static str, attributes: &Attributes) -> Result<(), Refusal> {
        check(verb(attributes) == "get", "can only get individual resources of this type")?;
        check(attributes.subresource.is_empty(), "cannot get subresource")?;
        self.related(node, resource, attributes)
    }

    fn related(&self, node: &str, resource: &'static str, attributes: &Attributes) -> Result<(), Refusal> {
        check(!attributes.name.is_empty(), "No Object name found")?;
        let reference = Reference::new(resource, &attributes.namespace, &attributes.name);
        if self.graph.read().reaches(node, &reference) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{node}' and this object"))
    }

    fn service_account(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        if verb(attributes) == "get" && attributes.subresource.is_empty() {
            return self.read(node, "serviceaccounts", attributes);
        }
        check(
            verb(attributes) == "create" && !attributes.name.is_empty(),
            "can only create tokens for individual service accounts",
        )?;
        check(attributes.subresource == "token", "can only create token subresource of serviceaccount")?;
        self.related(node, "serviceaccounts", attributes)
    }

    fn resource_slice(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        check(attributes.subresource.is_empty(), "cannot authorize ResourceSlice subresources")?;
        match verb(attributes) {
            // Admission sees whose slice it is; here nobody does.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, "resourceslices", attributes),
            "watch" | "list" | "deletecollection" => check(
                selects(attributes, "nodeName", node),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                      delete, deletecollection"
                    .to_owned(),
            ),
        }
    }

    fn pod(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        match (attributes.subresource.as_str(), verb(attributes)) {
            ("", "get") => self.get(node, "pods", attributes),
            ("", "list" | "watch") if selects(attributes, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !attributes.name.is_empty() => self.related(node, "pods", attributes),
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".to_owned()),
            // Admission holds these to mirror pods and to the node's own pods.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }
}

fn verb(attributes: &Attributes) -> &str {
    &attributes.verb
}

fn check(good: bool, why: &str) -> Result<(), Refusal> {
    if good { Ok(()) } else { Err(why.to_owned()) }
}

/// Whether the request is only about objects whose field has this value.
fn selects(attributes: &Attributes, field: &str, value: &str) -> bool {
    FieldSelector::parse(&attributes.field_selector)
        .is_ok_and(|selector| selector.requires_exact_match(field) == Some(value))
}

fn own_node(node: &str, attributes: &Attributes) -> Result<(), Refusal> {
    match (attributes.subresource.as_str(), verb(attributes)) {
        // Admission holds writes to the node itself.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match attributes.name.as_str() {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

fn lease(node: &str, attributes: &Attributes) -> Result<(), Refusal> {
    check(
        matches!(verb(attributes), "get" | "create" | "update" | "patch" | "delete"),
        "can only get, create, update, patch, or delete a node lease",
    )?;
    check(
        attributes.namespace == LEASE_NAMESPACE,
        "can only access leases in the \"kube-node-lease\" system namespace",
    )?;
    check(
        verb(attributes) == "create" || attributes.name == node,
        "can only access node lease with the same name as the requesting node",
    )
}

fn csi_node(node: &str, attributes: &Attributes) -> Result<(), Refusal> {
    check(
        matches!(verb(attributes), "get" | "create" | "update" | "patch" | "delete"),
        "can only get, create, update, patch, or delete a CSINode",
    )?;
    check(attributes.subresource.is_empty(), "cannot authorize CSINode subresources")?;
    check(
        verb(attributes) == "create" || attributes.name == node,
        "can only access CSINode with the same name as the requesting node",
    )
}

/// The name of the node that a user is, if it is one; empty where it does not say which.
fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(NODE_USER_PREFIX).filter(|_| user.in_group(NODES_GROUP))
}

impl Authorizer for NodeAuthorizer {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        let decision = self.decide(attributes);
        if decision.is_allowed() || node_of(&attributes.user).is_none() {
            return ready(decision).boxed();
        }
        // The kubelet may have seen a pod before this index has.
        async move { if self.catch_up().await { self.decide(attributes) } else { decision } }.boxed()
    }

    fn rules_for<'a>(&'a self, user: &'a UserInfo, _namespace: &'a str) -> BoxFuture<'a, Rules> {
        let mut rules = Rules::default();
        if node_of(user).is_some() {
            rules.incomplete = true;
            "node authorizer does not support user rule resolution".clone_into(&mut rules.evaluation_error);
        }
        ready(rules).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ask(authorizer: &NodeAuthorizer, node: &str, verb: &str, resource: &str, name: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        authorizer
            .decide(&Attributes {
                user: Arc::new(UserInfo::new(format!("system:node:{node}"), [NODES_GROUP])),
                verb: verb.into(),
                namespace: "default".into(),
                resource: resource.into(),
                subresource: subresource.into(),
                name: name.into(),
                is_resource_request: true,
                ..Attributes::default()
            })
            .is_allowed()
    }

    fn pod(node: &str) -> Pod {
        let mut pod: Pod = serde_json::from_str(
            r#"{"spec":{"serviceAccountName":"sa","containers":[{"name":"c","envFrom":[{"secretRef":{"name":"s"}}]}],
                "volumes":[{"name":"v","configMap":{"name":"cm"}}]}}"#,
        )
        .unwrap();
        pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        pod
    }

    #[test]
    fn a_node_reads_what_its_pods_refer_to_and_nothing_else() {
        let authorizer = NodeAuthorizer::new();
        assert!(!ask(&authorizer, "a", "get", "secrets", "s"));
        authorizer.set_pod("default", "p", Some(&pod("a")));
        authorizer.set_pod("default", "q", Some(&pod("a")));
        for (verb, resource, name) in
            [("get", "secrets", "s"), ("watch", "configmaps", "cm"), ("create", "serviceaccounts/token", "sa")]
        {
            assert!(ask(&authorizer, "a", verb, resource, name), "{resource}");
            assert!(!ask(&authorizer, "b", verb, resource, name), "{resource}");
        }
        assert!(!ask(&authorizer, "a", "list", "secrets", ""), "no listing of all secrets");
        assert!(!ask(&authorizer, "a", "update", "secrets", "s"));
        authorizer.set_pod("default", "p", None);
        assert!(ask(&authorizer, "a", "get", "secrets", "s"), "the other pod still refers to it");
        authorizer.set_pod("default", "q", Some(&pod("b")));
        assert!(!ask(&authorizer, "a", "get", "secrets", "s"));
        assert!(ask(&authorizer, "b", "get", "secrets", "s"));
        authorizer.set_pod("default", "q", None);
        assert!(authorizer.graph.read().is_empty());
    }

    #[test]
    fn volumes_are_reached_over_their_claims() {
        let authorizer = NodeAuthorizer::new();
        let mut user = pod("a");
        let claim = r#"[{"name":"v","persistentVolumeClaim":{"claimName":"c"}}]"#;
        user.spec.as_mut().unwrap().volumes = serde_json::from_str(claim).unwrap();
        let volume = |text: &str| serde_json::from_str::<PersistentVolume>(text).unwrap();
        let bound = volume(
            r#"{"spec":{"claimRef":{"namespace":"default","name":"c"},"csi":{"driver":"d","volumeHandle":"h",
                "nodePublishSecretRef":{"namespace":"default","name":"publish"},
                "controllerPublishSecretRef":{"namespace":"default","name":"controller"}}}}"#,
        );
        authorizer.set_volume("pv", Some(&bound));
        assert!(!ask(&authorizer, "a", "get", "persistentvolumes", "pv"));
        authorizer.set_pod("default", "p", Some(&user));
        for (resource, name) in [("persistentvolumes", "pv"), ("persistentvolumeclaims", "c"), ("secrets", "publish")] {
            assert!(ask(&authorizer, "a", "get", resource, name), "{resource}");
            assert!(!ask(&authorizer, "b", "get", resource, name), "{resource}");
        }
        assert!(!ask(&authorizer, "a", "get", "secrets", "controller"));
        authorizer.set_volume("pv", Some(&volume(r#"{"spec":{}}"#)));
        assert!(!ask(&authorizer, "a", "get", "secrets", "publish"));
        authorizer.set_pod("default", "p", None);
        assert!(authorizer.graph.read().is_empty());
    }

    #[test]
    fn lists_are_limited_by_selectors() {
        let authorizer = NodeAuthorizer::new();
        authorizer.set_pod("default", "p", Some(&pod("a")));
        let ask = |group: &str, resource: &str, verb: &str, name: &str, fields: &str| {
            let attributes = Attributes {
                user: Arc::new(UserInfo::new("system:node:a", [NODES_GROUP])),
                verb: verb.into(),
                api_group: group.into(),
                resource: resource.into(),
                name: name.into(),
                namespace: if name.is_empty() { String::new() } else { "default".into() },
                field_selector: fields.into(),
                is_resource_request: true,
                ..Attributes::default()
            };
            authorizer.decide(&attributes).is_allowed()
        };
        assert!(ask("", "pods", "list", "", "spec.nodeName=a"));
        for fields in ["", "spec.nodeName=b", "spec.nodeName!=a", "metadata.name=a", "spec.nodeName"] {
            assert!(!ask("", "pods", "watch", "", fields), "{fields}");
        }
        assert!(ask("", "pods", "get", "p", "") && !ask("", "pods", "get", "q", ""));
        assert!(
            ask("", "nodes", "list", "a", "")
                && !ask("", "nodes", "list", "b", "")
                && !ask("", "nodes", "list", "", "")
        );
        let slices = "resource.k8s.io";
        assert!(ask(slices, "resourceslices", "deletecollection", "", "nodeName=a"));
        assert!(!ask(slices, "resourceslices", "list", "", ""));
        assert!(ask(slices, "resourceslices", "create", "", "") && !ask(slices, "resourceslices", "get", "s", ""));
        let slice = serde_json::from_str(
            r#"{"spec":{"driver":"d","nodeName":"a","pool":{"generation":1,"name":"p","resourceSliceCount":1}}}"#,
        );
        authorizer.set_resource_slice("s", Some(&slice.unwrap()));
        assert!(authorizer.graph.read().reaches("a", &Reference::new("resourceslices", "", "s")));
    }

    #[test]
    fn a_name_alone_makes_no_node() {
        let authorizer = NodeAuthorizer::new();
        let attributes = Attributes {
            user: Arc::new(UserInfo::new("system:node:a", ["system:authenticated"])),
            verb: "get".into(),
            resource: "nodes".into(),
            is_resource_request: true,
            ..Attributes::default()
        };
        assert!(!authorizer.decide(&attributes).is_allowed());
    }
}
