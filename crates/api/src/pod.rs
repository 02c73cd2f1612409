//! Questions about Pods. Upstream: `pkg/api/v1/pod` and `pkg/api/pod`.

use std::time::Duration;

use jiff::Timestamp;

use crate::core::v1::{Pod, PodCondition};

/// The condition of that type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of that type is `True`.
pub fn has_condition(pod: &Pod, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| condition.status == "True")
}

/// Whether the pod serves: its `Ready` condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    has_condition(pod, "Ready")
}

/// The phase; `Pending` where none is written yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether it has ended for good, well or badly.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it is being deleted.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it counts towards what a controller wants: neither ended nor being deleted.
/// Upstream: `IsPodActive`.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

/// Whether no container asks for any cpu or memory. Upstream: `qos.GetPodQOS` of class BestEffort.
pub fn is_best_effort(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let some = |amounts: Option<&std::collections::BTreeMap<String, crate::Quantity>>| {
        amounts.into_iter().flatten().any(|(name, text)| {
            let amount: apimachinery::Quantity = text.0.parse().unwrap_or_default();
            matches!(name.as_str(), "cpu" | "memory") && amount.sign() > 0
        })
    };
    let of_pod = spec.resources.as_ref();
    let pod_level = of_pod.is_some_and(|own| some(own.requests.as_ref()) || some(own.limits.as_ref()));
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let container = containers.any(|container| {
        container.resources.as_ref().is_some_and(|own| some(own.requests.as_ref()) || some(own.limits.as_ref()))
    });
    !pod_level && !container
}

/// The node it is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// How long until the pod has been ready for the given time: zero if it has, `None` if it is not ready.
/// Upstream: `IsPodAvailable`.
pub fn available_after(pod: &Pod, min_ready: Duration, now: Timestamp) -> Option<Duration> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    if min_ready.is_zero() {
        return Some(Duration::ZERO);
    }
    let since = ready.last_transition_time.as_ref()?.0;
    let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(min_ready.saturating_sub(elapsed))
}

/// The most restarts of any of its containers.
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

/// The condition by which a pod's owner learns that it is taken away from it. Upstream: `DisruptionTarget`.
pub fn disruption_target(reason: &str, message: &str, now: Timestamp) -> PodCondition {
    PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(crate::Time(now)),
        ..PodCondition::default()
    }
}
