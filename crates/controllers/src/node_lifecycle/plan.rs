//! What a node's silence and conditions mean; pure. Upstream: `node_lifecycle_controller.go` `tryUpdateNodeHealth`,
//! `doNoScheduleTaintingPass`, `processTaintBaseEviction`.

use std::time::Duration;

use api::{
    Time,
    core::v1::{Node, NodeCondition, Taint},
    taint,
};
use informer::Next;
use jiff::Timestamp;

pub(super) struct View<'a> {
    pub(super) node: &'a Node,
    /// For how long nothing was heard of it.
    pub(super) silent: Duration,
    /// How long it may be silent.
    pub(super) grace: Duration,
    /// Whether any other node is ready. If none is, it is likely we who are cut off, and no pod is to be given up.
    pub(super) any_ready: bool,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// To write, if they change.
    pub(super) conditions: Option<Vec<NodeCondition>>,
    /// To write, if they change.
    pub(super) taints: Option<Vec<Taint>>,
    pub(super) next: Next,
}

/// The conditions that a kubelet reports.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    let lost = view.silent > view.grace;
    let mut node = view.node.clone();
    let conditions = if lost { unknown_conditions(&node, now) } else { None };
    if let Some(conditions) = &conditions {
        node.status.get_or_insert_default().conditions = Some(conditions.clone());
    }
    let taints = tainted(&node, view.any_ready, now);
    let next = if lost {
        Next::Await
    } else {
        // A moment later than the grace ends, so that it is over when the timer fires.
        Next::After(view.grace.saturating_sub(view.silent) + Duration::from_millis(100))
    };
    Plan { conditions, taints, next }
}

/// The status of the condition `Ready`.
pub(super) fn ready_status(node: &Node) -> Option<&str> {
    status_of(node, "Ready")
}

/// Whether the node's kubelet has ever said anything.
pub(super) fn has_reported(node: &Node) -> bool {
    ready_status(node).is_some()
}

/// When the kubelet reported its conditions, by its own clock.
pub(super) fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().filter_map(|condition| condition.last_heartbeat_time.as_ref().map(|time| time.0)).max()
}

fn status_of<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

fn unknown_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let before = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = before.clone();
    for kind in REPORTED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    (conditions != before).then_some(conditions)
}

/// The node's taints with those that follow from its conditions; others are left alone.
fn tainted(node: &Node, any_ready: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let before = taint::of(node);
    let wanted = wanted(node, any_ready);
    let ours = |taint: &Taint| match taint.effect.as_str() {
        NO_SCHEDULE => [
            taint::NOT_READY,
            taint::UNREACHABLE,
            taint::UNSCHEDULABLE,
            taint::MEMORY_PRESSURE,
            taint::DISK_PRESSURE,
            taint::PID_PRESSURE,
            taint::NETWORK_UNAVAILABLE,
        ]
        .contains(&taint.key.as_str()),
        NO_EXECUTE => [taint::NOT_READY, taint::UNREACHABLE].contains(&taint.key.as_str()),
        _ => false,
    };
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let mut taints: Vec<_> = before.iter().filter(|taint| !ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !taints.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            taints.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (taints != before).then_some(taints)
}

fn wanted(node: &Node, any_ready: bool) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    let lost = match ready_status(node) {
        Some("False") => Some(taint::NOT_READY),
        Some("Unknown") => Some(taint::UNREACHABLE),
        _ => None,
    };
    if let Some(key) = lost {
        wanted.push((key, NO_SCHEDULE));
        if any_ready {
            wanted.push((key, NO_EXECUTE));
        }
    }
    for (kind, key) in [
        ("MemoryPressure", taint::MEMORY_PRESSURE),
        ("DiskPressure", taint::DISK_PRESSURE),
        ("NetworkUnavailable", taint::NETWORK_UNAVAILABLE),
        ("PIDPressure", taint::PID_PRESSURE),
    ] {
        if status_of(node, kind) == Some("True") {
            wanted.push((key, NO_SCHEDULE));
        }
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((taint::UNSCHEDULABLE, NO_SCHEDULE));
    }
    wanted
}
