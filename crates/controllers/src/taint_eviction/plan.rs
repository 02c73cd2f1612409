//! How long a pod may stay on its node; pure. Upstream: `taint_eviction.go` `processPodOnNode`.

use std::time::Duration;

use api::{
    core::v1::{Node, Pod, Taint},
    taint,
};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// After this time on the tainted node.
    Goes(Duration),
}

pub(super) fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    taint::of(node).iter().filter(|taint| taint.effect == "NoExecute")
}

/// The shortest of the times for which the taints are tolerated.
pub(super) fn fate(pod: &Pod, node: &Node) -> Fate {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut shortest = Fate::Stays;
    for taint in no_execute(node) {
        let Some(toleration) = tolerations.iter().find(|toleration| taint::tolerates(toleration, taint)) else {
            return Fate::Goes(Duration::ZERO);
        };
        let Some(seconds) = toleration.toleration_seconds else { continue };
        // Negative counts as zero.
        let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        shortest = match shortest {
            Fate::Goes(known) => Fate::Goes(known.min(time)),
            Fate::Stays => Fate::Goes(time),
        };
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(taints: Value, tolerations: Value, expected: Fate) {
        let node: Node = serde_json::from_value(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap();
        let pod = json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(fate(&pod, &node), expected);
    }

    #[test]
    fn the_shortest_toleration_counts() {
        let both = json!([{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]);
        let a = |seconds| json!({"key": "a", "operator": "Exists", "tolerationSeconds": seconds});
        let b = |seconds| json!({"key": "b", "operator": "Exists", "tolerationSeconds": seconds});
        check(both.clone(), json!([a(Some(300)), b(Some(60))]), Fate::Goes(Duration::from_secs(60)));
        check(both.clone(), json!([a(Some(300)), b(None)]), Fate::Goes(Duration::from_secs(300)));
        check(both.clone(), json!([a(None), b(None)]), Fate::Stays);
        check(both.clone(), json!([a(None)]), Fate::Goes(Duration::ZERO));
        check(both, json!([a(Some(-5)), b(None)]), Fate::Goes(Duration::ZERO));
    }

    #[test]
    fn other_effects_do_not_evict() {
        check(json!([{"key": "a", "effect": "NoSchedule"}]), json!([]), Fate::Stays);
    }
}
