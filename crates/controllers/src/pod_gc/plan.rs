//! Whether a pod is to be deleted; pure. Upstream: `gc_controller.go`.

use std::sync::Arc;

use api::{
    core::v1::{Node, Pod},
    pod, taint,
};
use apimachinery::ObjectKey;
use informer::Object as _;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Bound to a node that is not there.
    Orphaned,
    /// Being deleted without ever having been bound.
    Unscheduled,
    /// Being deleted on a node that an administrator has given up.
    OutOfService,
    /// Ended, and among the oldest of too many.
    Excess,
}

pub(super) fn judge(
    candidate: &Pod,
    node: Option<&Node>,
    excess: usize,
    oldest: impl FnOnce() -> Vec<ObjectKey>,
) -> Verdict {
    match (pod::node_name(candidate), node) {
        (None, _) if pod::is_terminating(candidate) => Verdict::Unscheduled,
        (Some(_), None) => Verdict::Orphaned,
        (Some(_), Some(node)) if pod::is_terminating(candidate) && is_out_of_service(node) => Verdict::OutOfService,
        _ if excess > 0 && pod::is_terminal(candidate) && oldest().contains(&candidate.key()) => Verdict::Excess,
        _ => Verdict::Keep,
    }
}

/// Tainted as such, and not ready.
pub(super) fn is_out_of_service(node: &Node) -> bool {
    let ready = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = ready.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    !ready && taint::of(node).iter().any(|taint| taint.key == taint::OUT_OF_SERVICE)
}

/// The pods that go when so many are too many: evicted ones first, then by age.
pub(super) fn oldest(mut ended: Vec<Arc<Pod>>, excess: usize) -> Vec<ObjectKey> {
    let evicted = |pod: &Pod| pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
    ended.sort_by(|a, b| {
        evicted(b)
            .cmp(&evicted(a))
            .then_with(|| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    ended.truncate(excess);
    ended.iter().map(|pod| pod.key()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: Option<&str>, phase: &str, deleting: bool, reason: &str, created: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "creationTimestamp": created,
                "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase, "reason": reason},
        }))
        .unwrap()
    }

    #[test]
    fn pods_nobody_else_deletes_are_found() {
        let at = "2026-01-01T00:00:00Z";
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let given_up: Node = serde_json::from_value(
            json!({"metadata": {}, "spec": {"taints": [{"key": taint::OUT_OF_SERVICE, "effect": "NoExecute"}]}}),
        )
        .unwrap();
        let verdict = |pod: &Pod, node: Option<&Node>| judge(pod, node, 0, Vec::new);
        assert_eq!(verdict(&pod("p", Some("a"), "Running", false, "", at), Some(&node)), Verdict::Keep);
        assert_eq!(verdict(&pod("p", Some("a"), "Running", false, "", at), None), Verdict::Orphaned);
        assert_eq!(verdict(&pod("p", None, "Pending", false, "", at), None), Verdict::Keep);
        assert_eq!(verdict(&pod("p", None, "Pending", true, "", at), None), Verdict::Unscheduled);
        assert_eq!(verdict(&pod("p", Some("a"), "Running", true, "", at), Some(&given_up)), Verdict::OutOfService);
    }

    #[test]
    fn of_too_many_the_evicted_and_oldest_go() {
        let ended: Vec<_> =
            [("young", "", "2026-03-01"), ("old", "", "2026-01-01"), ("evicted", "Evicted", "2026-04-01")]
                .map(|(name, reason, day)| {
                    Arc::new(pod(name, None, "Failed", false, reason, &format!("{day}T00:00:00Z")))
                })
                .into();
        let names: Vec<_> = oldest(ended.clone(), 2).iter().map(|key| key.name.clone()).collect();
        assert_eq!(names, ["evicted", "old"]);
        let excess = |pod: &Pod| judge(pod, None, 2, || oldest(ended.clone(), 2));
        assert_eq!(excess(&ended[1]), Verdict::Excess);
        assert_eq!(excess(&ended[0]), Verdict::Keep);
    }
}
