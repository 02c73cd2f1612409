//! Validation of pod disruption budgets. Upstream: `pkg/apis/policy/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::json;

use crate::apps::rolling::{int_or_percent, not_more_than_everything};
use crate::check::{self, Report};

const EVICTION_POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];

pub(super) fn validate(budget: &PodDisruptionBudget) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(spec) = &budget.spec else { return errors };
    let path = Path::new("spec");
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        errors.invalid(&path, json!(spec), "minAvailable and maxUnavailable cannot be both set");
    }
    for (field, amount) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
        if let Some(amount) = amount {
            int_or_percent(amount, &path.child(field), &mut errors);
            not_more_than_everything(amount, &path.child(field), &mut errors);
        }
    }
    if let Some(selector) = &spec.selector {
        check::label_selector(selector, &path.child("selector"), &mut errors);
    }
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy
        && !EVICTION_POLICIES.contains(&policy.as_str())
    {
        errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, EVICTION_POLICIES);
    }
    errors
}

pub(super) fn validate_status(budget: &PodDisruptionBudget) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(status) = &budget.status else { return errors };
    let path = Path::new("status");
    for (field, count) in [
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ] {
        check::non_negative(count.unwrap_or(0), &path.child(field), &mut errors);
    }
    errors
}
