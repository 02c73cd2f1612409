//! Which pods go first when there are too many; pure. Upstream: `pkg/controller` `ActivePodsWithRanks`.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use api::{core::v1::Pod, pod};
use jiff::Timestamp;

/// What it costs to lose the pod, said by its owner. Upstream: `PodDeletionCost`.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods to delete, those that are missed least first.
pub(super) fn to_delete(mut pods: Vec<Arc<Pod>>, related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut on_node = HashMap::<&str, usize>::new();
        for pod in related.iter().filter(|pod| pod::is_active(pod)) {
            if let Some(node) = pod::node_name(pod) {
                *on_node.entry(node).or_default() += 1;
            }
        }
        let rank = |pod: &Pod| pod::node_name(pod).and_then(|node| on_node.get(node)).copied().unwrap_or(0);
        pods.sort_by(|a, b| compare(a, b, rank(a), rank(b), now));
    }
    pods.truncate(count);
    pods
}

/// `Less`: `a` is to go before `b`.
fn compare(a: &Pod, b: &Pod, rank_a: usize, rank_b: usize, now: Timestamp) -> Ordering {
    pod::node_name(a)
        .is_some()
        .cmp(&pod::node_name(b).is_some())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| {
            if pod::is_ready(a) && pod::is_ready(b) {
                younger_first(ready_since(a), ready_since(b), a, b, now)
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| pod::restarts(b).cmp(&pod::restarts(a)))
        .then_with(|| younger_first(created(a), created(b), a, b, now))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        "Running" => 2,
        _ => 3,
    }
}

fn cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(COST)?.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = pod::condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// Ages are compared by their logarithm, so that among pods of about the same age chance decides, by UID, and not
/// always the same node loses. Upstream: `logarithmicRankDiff`.
fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, pod_a: &Pod, pod_b: &Pod, now: Timestamp) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (Some(a), Some(b)) = (a, b) else {
        // Upstream's `afterOrZero`: no time counts as the youngest.
        return if a.is_none() { Ordering::Less } else { Ordering::Greater };
    };
    let bucket = |time: Timestamp| {
        let age = now.duration_since(time).as_nanos();
        if age <= 0 { -1 } else { i64::from(age.ilog2()) }
    };
    match bucket(a).cmp(&bucket(b)) {
        Ordering::Equal => pod_a.metadata.uid.cmp(&pod_b.metadata.uid),
        other => other,
    }
}
