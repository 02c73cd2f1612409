//! What a node's own identity may do: read what the pods bound to it refer to, and write about itself.
//!
//! A graph of references from nodes over pods to secrets, config maps, claims and service accounts, updated pod by
//! pod; a question is one look-up. Upstream: `plugin/pkg/auth/authorizer/node`.

use std::collections::{BTreeSet, HashMap};

use api::{core::v1::Pod, rbac::v1::PolicyRule};
use futures::future::{BoxFuture, FutureExt as _, ready};
use parking_lot::RwLock;
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};

use super::rules;
use crate::bootstrap::parse_rule;

/// The group of all nodes.
const NODES_GROUP: &str = "system:nodes";
/// How nodes are named as users.
const NODE_USER_PREFIX: &str = "system:node:";

/// What every node may do, whatever runs on it; the rest is asked of the graph.
const RULES: &[&str] = &[
    "create | authentication.k8s.io | tokenreviews",
    "create | authorization.k8s.io | localsubjectaccessreviews subjectaccessreviews",
    "get list watch | core | services",
    "create get list watch | core | nodes",
    "patch update | core | nodes nodes/status",
    "create patch update | core events.k8s.io | events",
    "create delete get list watch | core | pods",
    "patch update | core | pods/status",
    "create | core | pods/eviction",
    "get | core | endpoints",
    "create get list watch | certificates.k8s.io | certificatesigningrequests",
    "get list watch | storage.k8s.io | csidrivers",
    "get list watch | node.k8s.io | runtimeclasses",
    "get list watch | certificates.k8s.io | clustertrustbundles",
];

/// A thing a pod refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Reference {
    resource: &'static str,
    namespace: String,
    name: String,
}

/// The authorizer `Node`.
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
    rules: Vec<PolicyRule>,
}

#[derive(Default)]
struct Graph {
    /// Node and references of each pod, by namespace and name.
    pods: HashMap<(String, String), (String, BTreeSet<Reference>)>,
    /// How many pods of a node refer to a thing.
    referrers: HashMap<Reference, HashMap<String, usize>>,
}

impl Default for NodeAuthorizer {
    fn default() -> Self {
        Self { graph: RwLock::default(), rules: RULES.iter().map(|rule| parse_rule(rule)).collect() }
    }
}

impl NodeAuthorizer {
    /// Without any pods.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pod as it is now; `None`: it is gone.
    pub fn set_pod(&self, namespace: &str, name: &str, pod: Option<&Pod>) {
        let wanted = pod.and_then(|pod| Some((api::pod::node_name(pod)?.to_owned(), references(namespace, name, pod))));
        let mut graph = self.graph.write();
        let key = (namespace.to_owned(), name.to_owned());
        if graph.pods.get(&key) == wanted.as_ref() {
            return;
        }
        if let Some((node, references)) = graph.pods.remove(&key) {
            for reference in references {
                graph.release(&reference, &node);
            }
        }
        if let Some((node, references)) = wanted {
            for reference in &references {
                *graph.referrers.entry(reference.clone()).or_default().entry(node.clone()).or_default() += 1;
            }
            graph.pods.insert(key, (node, references));
        }
    }

    fn decide(&self, attributes: &Attributes) -> Decision {
        let Some(node) = node_of(&attributes.user) else { return Decision::NoOpinion { reason: String::new() } };
        let refuse = |why: &str| Decision::NoOpinion {
            reason: format!("{why} for node {}", apimachinery::field::go_quote(node)),
        };
        let allowed = |yes: bool, why: &str| if yes { Decision::Allow { reason: String::new() } } else { refuse(why) };
        if !attributes.is_resource_request {
            return Decision::NoOpinion { reason: String::new() };
        }
        let reads = matches!(attributes.verb.as_str(), "get" | "list" | "watch");
        match (attributes.api_group.as_str(), attributes.resource.as_str(), attributes.subresource.as_str()) {
            ("", resource @ ("secrets" | "configmaps"), "") => {
                let resource = if resource == "secrets" { "secrets" } else { "configmaps" };
                allowed(
                    reads && self.reaches(node, resource, &attributes.namespace, &attributes.name),
                    &format!("no relationship found between node '{node}' and this object"),
                )
            }
            ("", "persistentvolumeclaims", "" | "status") => allowed(
                (attributes.verb == "get" || !attributes.subresource.is_empty())
                    && self.reaches(node, "persistentvolumeclaims", &attributes.namespace, &attributes.name),
                &format!("no relationship found between node '{node}' and this object"),
            ),
            ("", "persistentvolumes", "") | ("storage.k8s.io", "volumeattachments", "") => {
                allowed(attributes.verb == "get", "can only get individual resources of this type")
            }
            ("resource.k8s.io", "resourceclaims", "") => allowed(
                attributes.verb == "get"
                    && self.reaches(node, "resourceclaims", &attributes.namespace, &attributes.name),
                &format!("no relationship found between node '{node}' and this object"),
            ),
            ("", "serviceaccounts", "" | "token") => allowed(
                (attributes.subresource == "token") == (attributes.verb == "create")
                    && matches!(attributes.verb.as_str(), "create" | "get")
                    && self.reaches(node, "serviceaccounts", &attributes.namespace, &attributes.name),
                &format!("no relationship found between node '{node}' and this object"),
            ),
            ("coordination.k8s.io", "leases", "") => allowed(
                matches!(attributes.verb.as_str(), "get" | "create" | "update" | "patch" | "delete")
                    && attributes.namespace == "kube-node-lease"
                    && (attributes.verb == "create" || attributes.name == node),
                "can only access node lease with the same name as the requesting node",
            ),
            ("storage.k8s.io", "csinodes", "") => allowed(
                matches!(attributes.verb.as_str(), "get" | "create" | "update" | "patch" | "delete")
                    && (attributes.verb == "create" || attributes.name == node),
                "can only access CSINode with the same name as the requesting node",
            ),
            ("resource.k8s.io", "resourceslices", "") => allowed(true, ""),
            _ => {
                if self.rules.iter().any(|rule| rules::allows(rule, attributes)) {
                    Decision::Allow { reason: String::new() }
                } else {
                    Decision::NoOpinion { reason: String::new() }
                }
            }
        }
    }

    fn reaches(&self, node: &str, resource: &'static str, namespace: &str, name: &str) -> bool {
        let reference = Reference { resource, namespace: namespace.to_owned(), name: name.to_owned() };
        self.graph.read().referrers.get(&reference).is_some_and(|nodes| nodes.contains_key(node))
    }
}

impl Graph {
    fn release(&mut self, reference: &Reference, node: &str) {
        let Some(nodes) = self.referrers.get_mut(reference) else { return };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.referrers.remove(reference);
        }
    }
}

/// The name of the node that a user is, if it is one.
fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(NODE_USER_PREFIX).filter(|name| !name.is_empty() && user.in_group(NODES_GROUP))
}

/// Everything a pod's node has to read for it. Mirror pods give a node no rights: it made them itself.
fn references(namespace: &str, pod_name: &str, pod: &Pod) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("kubernetes.io/config.mirror"));
    let Some(spec) = pod.spec.as_ref().filter(|_| !mirror) else { return found };
    let mut add = |resource, name: &str| {
        if !name.is_empty() {
            found.insert(Reference { resource, namespace: namespace.to_owned(), name: name.to_owned() });
        }
    };
    add("serviceaccounts", spec.service_account_name.as_deref().unwrap_or_default());
    for secret in spec.image_pull_secrets.iter().flatten() {
        add("secrets", &secret.name);
    }
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let environments = containers.map(|container| (&container.env, &container.env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| (&container.env, &container.env_from));
    for (env, env_from) in environments.chain(ephemeral) {
        for source in env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            source.config_map_key_ref.iter().for_each(|key| add("configmaps", &key.name));
            source.secret_key_ref.iter().for_each(|key| add("secrets", &key.name));
        }
        for source in env_from.iter().flatten() {
            source.config_map_ref.iter().for_each(|reference| add("configmaps", &reference.name));
            source.secret_ref.iter().for_each(|reference| add("secrets", &reference.name));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        volume.config_map.iter().for_each(|source| add("configmaps", &source.name));
        volume.secret.iter().for_each(|source| add("secrets", source.secret_name.as_deref().unwrap_or_default()));
        volume.persistent_volume_claim.iter().for_each(|source| add("persistentvolumeclaims", &source.claim_name));
        if volume.ephemeral.is_some() {
            add("persistentvolumeclaims", &format!("{pod_name}-{}", volume.name));
        }
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            source.config_map.iter().for_each(|source| add("configmaps", &source.name));
            source.secret.iter().for_each(|source| add("secrets", &source.name));
        }
        for secret in [
            volume.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.csi.as_ref().and_then(|source| source.node_publish_secret_ref.as_ref()),
            volume.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.storageos.as_ref().and_then(|source| source.secret_ref.as_ref()),
        ]
        .into_iter()
        .flatten()
        {
            add("secrets", &secret.name);
        }
        volume.azure_file.iter().for_each(|source| add("secrets", &source.secret_name));
    }
    for status in pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten()) {
        add("resourceclaims", status.resource_claim_name.as_deref().unwrap_or_default());
    }
    for claim in spec.resource_claims.iter().flatten() {
        add("resourceclaims", claim.resource_claim_name.as_deref().unwrap_or_default());
    }
    found
}

impl Authorizer for NodeAuthorizer {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        ready(self.decide(attributes)).boxed()
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
        assert!(authorizer.graph.read().referrers.is_empty());
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
