//! What a failed pod means for its Job; pure. Upstream: `pod_failure_policy.go`, `backoff_utils.go`.

use std::time::Duration;

use api::{
    batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};
use jiff::Timestamp;

/// Upstream: `DefaultJobPodFailureBackOff` and `MaxJobPodFailureBackOff`.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(600);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Counts,
    Ignored,
    /// The whole Job has failed, for this reason.
    FailsJob(String),
    /// The pod's index has failed.
    FailsIndex,
}

/// The first rule that matches decides; without one, the failure counts.
pub(super) fn meaning(job: &Job, pod: &Pod) -> Meaning {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    for (number, rule) in policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Meaning::Ignored,
            "FailIndex" => Meaning::FailsIndex,
            "FailJob" => Meaning::FailsJob(format!("{why} matching FailJob rule at index {number}")),
            _ => Meaning::Counts,
        };
    }
    Meaning::Counts
}

/// How long to wait with new pods after so many failures in a row, the last of them then.
pub(super) fn delay(failures: u32, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let (Some(exponent), Some(last)) = (failures.checked_sub(1), last) else { return Duration::ZERO };
    let factor = 2u32.checked_pow(exponent).unwrap_or(u32::MAX);
    let delay = FIRST_DELAY.checked_mul(factor).map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY));
    delay.saturating_sub(Duration::try_from(now.duration_since(last)).unwrap_or_default())
}

/// When the pod's last container ended. Upstream: `getFinishedTime`.
pub(super) fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let ends = statuses.into_iter().flatten().filter_map(|status| {
        let ended = status.state.as_ref()?.terminated.as_ref()?;
        ended.finished_at.as_ref().map(|time| time.0)
    });
    let ready = api::pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    ends.max().or(ready.map(|time| time.0)).or(pod.metadata.deletion_timestamp.as_ref().map(|time| time.0)).or(pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0))
}

fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(requirement) = &rule.on_exit_codes {
        let status = pod.status.as_ref()?;
        let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        return all.filter(|status| concerns(requirement, status)).find_map(|status| {
            let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
            let listed = requirement.values.contains(&code);
            let holds = code != 0 && if requirement.operator == "In" { listed } else { !listed };
            let container = &status.name;
            holds.then(|| format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"))
        });
    }
    rule.on_pod_conditions.iter().flatten().find_map(|pattern| {
        let condition = api::pod::condition(pod, &pattern.type_)?;
        let wanted = pattern.status.as_deref().unwrap_or("True");
        (condition.status == wanted).then(|| format!("Pod {namespace}/{name} has condition {}", pattern.type_))
    })
}

fn concerns(requirement: &PodFailurePolicyOnExitCodesRequirement, status: &ContainerStatus) -> bool {
    requirement.container_name.as_ref().is_none_or(|name| *name == status.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn delays_double_from_the_last_failure() {
        let now = Timestamp::from_second(1000).unwrap();
        let ago = |seconds: i64| Some(Timestamp::from_second(1000 - seconds).unwrap());
        assert_eq!(delay(0, ago(1), now), Duration::ZERO);
        assert_eq!(delay(1, ago(4), now), Duration::from_secs(6));
        assert_eq!(delay(3, ago(0), now), Duration::from_secs(40));
        assert_eq!(delay(30, ago(0), now), Duration::from_secs(600));
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let job: Job =
            serde_json::from_value(json!({"metadata": {}, "spec": {"template": {}, "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
            ]}}}))
            .unwrap();
        let pod = |code: i32, disrupted: bool| -> Pod {
            let conditions =
                if disrupted { json!([{"type": "DisruptionTarget", "status": "True"}]) } else { json!([]) };
            serde_json::from_value(
                json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"conditions": conditions,
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": code}}}]}}),
            )
            .unwrap()
        };
        assert_eq!(meaning(&job, &pod(1, false)), Meaning::Counts);
        assert_eq!(meaning(&job, &pod(42, true)), Meaning::Ignored);
        let why = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        assert_eq!(meaning(&job, &pod(42, false)), Meaning::FailsJob(why.into()));
    }
}
