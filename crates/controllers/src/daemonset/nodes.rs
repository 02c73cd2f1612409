//! Which nodes a DaemonSet wants its pods on, and what such a pod is; pure. Upstream: `daemon_controller.go`
//! `NodeShouldRunDaemonPod` and `daemon/util`.

use api::{
    OwnerReference,
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
    },
    node_affinity, taint,
};
use informer::Change;

use crate::{history::HASH_LABEL, pod_control::pod_from_template};

/// What a node means for a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// There is to be a pod.
    Run,
    /// A pod that is there may stay, but none is begun: a taint keeps new ones off.
    Keep,
    /// There is to be none.
    None,
}

pub(super) fn wish(spec: &PodSpec, node: &Node) -> Wish {
    let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| node.metadata.name.as_deref() != Some(name)) || !node_affinity::fits(spec, node) {
        return Wish::None;
    }
    let tolerations = tolerations(spec);
    let mut wish = Wish::Run;
    for taint in taint::of(node) {
        if tolerations.iter().any(|toleration| taint::tolerates(toleration, taint)) {
            continue;
        }
        match taint.effect.as_str() {
            "NoExecute" => return Wish::None,
            "NoSchedule" => wish = Wish::Keep,
            _ => {}
        }
    }
    wish
}

/// Whether a change of a node may change what is wished of it. Heartbeats do not.
pub(super) fn matters(change: &Change<Node>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    old.metadata.labels != new.metadata.labels || taint::of(old) != taint::of(new) || change.is_replacement()
}

/// The pod for a node: tied to it by name, and tolerating what befalls nodes. Upstream: `CreatePodTemplate`,
/// `ReplaceDaemonSetPodNodeNameNodeAffinity`.
pub(super) fn pod_for(set: &DaemonSet, owner: OwnerReference, node: &str, hash: &str) -> Pod {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pod_from_template(&template, name, namespace, owner);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = set.metadata.generation {
        labels.insert("pod-template-generation".to_owned(), generation.to_string());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), match_expressions: None };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    pod
}

/// The node a pod is on or tied to.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    if let Some(name) = api::pod::node_name(pod) {
        return Some(name);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields
        .filter(|field| field.key == "metadata.name")
        .find_map(|field| field.values.as_ref()?.first().map(String::as_str))
}

pub(super) fn hash_of_pod(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

/// The template's tolerations and those of every daemon. Upstream: `AddOrUpdateDaemonPodTolerations`.
fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let mut add = |key: &str, effect: &str| {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let same = |known: &Toleration| known.key == toleration.key && known.effect == toleration.effect;
        tolerations.retain(|known| !same(known) || known.operator.as_deref() != Some("Exists"));
        tolerations.push(toleration);
    };
    add(taint::NOT_READY, "NoExecute");
    add(taint::UNREACHABLE, "NoExecute");
    add(taint::DISK_PRESSURE, "NoSchedule");
    add(taint::MEMORY_PRESSURE, "NoSchedule");
    add(taint::PID_PRESSURE, "NoSchedule");
    add(taint::UNSCHEDULABLE, "NoSchedule");
    if spec.host_network == Some(true) {
        add(taint::NETWORK_UNAVAILABLE, "NoSchedule");
    }
    tolerations
}
