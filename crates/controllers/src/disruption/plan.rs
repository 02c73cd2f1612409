//! The status of a budget; pure. Upstream: `disruption.go` `trySync`, `getExpectedPodCount`, `countHealthyPods`,
//! `buildDisruptedPodMap`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use api::{
    Condition, IntOrString, Time,
    core::v1::Pod,
    pod,
    policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
};
use informer::Next;
use jiff::Timestamp;

/// An eviction that was granted this long ago and has not deleted its pod is forgotten. Upstream: `DeletionTimeout`.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);

/// The UID and size of a pod's controller.
type Controller<'a> = dyn Fn(&Arc<Pod>) -> Option<(String, i32)> + Sync + 'a;

pub(super) struct View<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// The pods it selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// The UID and size of a pod's controller.
    pub(super) expected: &'a Controller<'a>,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// To write, if it changes.
    pub(super) status: Option<PodDisruptionBudgetStatus>,
    /// Why the number of expected pods is not known; then no pod may be evicted.
    pub(super) failure: Option<String>,
    pub(super) next: Next,
}

pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    let budget = view.budget;
    let before = budget.status.clone().unwrap_or_default();
    let (disrupted, next) = still_disrupted(view, before.disrupted_pods.clone().unwrap_or_default(), now);
    let healthy = view.pods.iter().filter(|pod| {
        let granted = disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default());
        pod::is_ready(pod) && !pod::is_terminating(pod) && !granted
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let (counts, failure) = match expected(view) {
        Ok(counts) => (Some(counts), None),
        Err(why) => (None, Some(why)),
    };
    let (expected, desired) = counts.unwrap_or((0, 0));
    let allowed = if expected <= 0 || failure.is_some() { 0 } else { (healthy - desired).max(0) };
    let (status, reason, message) = match &failure {
        Some(why) => ("False", "SyncFailed", why.clone()),
        None if allowed > 0 => ("True", "SufficientPods", String::new()),
        None => ("False", "InsufficientPods", String::new()),
    };
    let generation = budget.metadata.generation;
    let mut conditions = before.conditions.clone().unwrap_or_default();
    set_condition(&mut conditions, status, reason, message, generation, now);
    let after = PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: generation,
    };
    let changed = budget.status.is_none() || after != before;
    Plan { status: changed.then_some(after), failure, next }
}

/// Pods that there should be, and how many of them must stay healthy.
fn expected(view: &View<'_>) -> Result<(i32, i32), String> {
    let spec = view.budget.spec.clone().unwrap_or_default();
    let present = i32::try_from(view.pods.len()).unwrap_or(i32::MAX);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let size = size_of_owners(view)?;
            Ok((size, size.saturating_sub(resolve(most, size)).max(0)))
        }
        (None, Some(IntOrString::Int(least))) => Ok((present, *least)),
        (None, Some(least)) => {
            let size = size_of_owners(view)?;
            Ok((size, resolve(least, size)))
        }
        (None, None) => Ok((present, 0)),
    }
}

/// The sum of the sizes of all controllers of the pods.
fn size_of_owners(view: &View<'_>) -> Result<i32, String> {
    let mut sizes = HashMap::new();
    for pod in view.pods {
        let Some((uid, size)) = (view.expected)(pod) else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(format!("found no controllers for pod {name:?}"));
        };
        sizes.insert(uid, size);
    }
    Ok(sizes.into_values().fold(0, i32::saturating_add))
}

/// A number of pods, or a share of them, rounded up.
fn resolve(value: &IntOrString, total: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
            i32::try_from((percent.saturating_mul(i64::from(total)).saturating_add(99)).div_euclid(100))
                .unwrap_or(i32::MAX)
        }
    }
}

/// Evictions that were granted and whose pods are not yet being deleted.
fn still_disrupted(view: &View<'_>, granted: BTreeMap<String, Time>, now: Timestamp) -> (BTreeMap<String, Time>, Next) {
    let mut soonest: Option<Duration> = None;
    let kept = granted
        .into_iter()
        .filter(|(name, since)| {
            let there =
                view.pods.iter().any(|pod| pod.metadata.name.as_deref() == Some(name) && !pod::is_terminating(pod));
            let elapsed = Duration::try_from(now.duration_since(since.0)).unwrap_or_default();
            let left = DELETION_TIMEOUT.saturating_sub(elapsed);
            let keep = there && !left.is_zero();
            if keep {
                soonest = soonest.into_iter().chain([left]).min();
            }
            keep
        })
        .collect();
    (kept, soonest.map_or(Next::Await, Next::After))
}

fn set_condition(
    conditions: &mut Vec<Condition>,
    status: &str,
    reason: &str,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mut new = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|known| known.type_ == new.type_) {
        Some(known) => {
            if known.status == new.status {
                new.last_transition_time = known.last_transition_time.clone();
            }
            *known = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    /// `ready` of `total` pods of one controller of that size; `granted` evictions not yet carried out.
    fn check(spec: Value, ready: usize, total: usize, granted: Value, expected: Expect) {
        let budget: PodDisruptionBudget = serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": spec,
            "status": {"disruptedPods": granted}}))
        .unwrap();
        let pods: Vec<Arc<Pod>> = (0..total)
            .map(|number| {
                let status = if number < ready { "True" } else { "False" };
                Arc::new(
                    serde_json::from_value(json!({"metadata": {"name": format!("p{number}")},
                        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}))
                    .unwrap(),
                )
            })
            .collect();
        let owner = |_: &Arc<Pod>| Some(("owner".to_owned(), i32::try_from(total).unwrap()));
        let plan =
            plan(&View { budget: &budget, pods: &pods, expected: &owner }, Timestamp::from_second(1000).unwrap());
        let status = plan.status.unwrap();
        expected.assert_eq(&format!(
            "allowed={} healthy={}/{} expected={} granted={} {} {:?}",
            status.disruptions_allowed.unwrap(),
            status.current_healthy.unwrap(),
            status.desired_healthy.unwrap(),
            status.expected_pods.unwrap(),
            status.disrupted_pods.map_or(0, |pods| pods.len()),
            status.conditions.unwrap()[0].reason,
            plan.next
        ));
    }

    #[test]
    fn budgets_are_resolved_as_upstream_does() {
        check(
            json!({"minAvailable": 2}),
            3,
            3,
            json!({}),
            expect!["allowed=1 healthy=3/2 expected=3 granted=0 SufficientPods Await"],
        );
        check(
            json!({"minAvailable": "50%"}),
            2,
            3,
            json!({}),
            expect!["allowed=0 healthy=2/2 expected=3 granted=0 InsufficientPods Await"],
        );
        check(
            json!({"maxUnavailable": 1}),
            3,
            3,
            json!({}),
            expect!["allowed=1 healthy=3/2 expected=3 granted=0 SufficientPods Await"],
        );
        check(
            json!({"maxUnavailable": "30%"}),
            3,
            3,
            json!({}),
            expect!["allowed=1 healthy=3/2 expected=3 granted=0 SufficientPods Await"],
        );
        check(
            json!({"maxUnavailable": 1}),
            2,
            3,
            json!({}),
            expect!["allowed=0 healthy=2/2 expected=3 granted=0 InsufficientPods Await"],
        );
    }

    #[test]
    fn a_granted_eviction_counts_until_it_is_carried_out_or_forgotten() {
        check(
            json!({"maxUnavailable": 1}),
            3,
            3,
            json!({"p0": "1970-01-01T00:16:00Z"}),
            expect!["allowed=0 healthy=2/2 expected=3 granted=1 InsufficientPods After(80s)"],
        );
        check(
            json!({"maxUnavailable": 1}),
            3,
            3,
            json!({"p0": "1970-01-01T00:10:00Z"}),
            expect!["allowed=1 healthy=3/2 expected=3 granted=0 SufficientPods Await"],
        );
    }

    #[test]
    fn pods_without_a_controller_have_no_size() {
        let budget: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {}, "spec": {"maxUnavailable": 1}})).unwrap();
        let pods = [Arc::new(Pod::default())];
        let plan = plan(&View { budget: &budget, pods: &pods, expected: &|_| None }, Timestamp::UNIX_EPOCH);
        assert!(plan.failure.is_some());
        assert_eq!(plan.status.and_then(|status| status.disruptions_allowed), Some(0));
    }
}
