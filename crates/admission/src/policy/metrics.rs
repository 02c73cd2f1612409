//! What policies come to, in upstream's names. Upstream: `policy/validating/metrics`, `policy/mutating/metrics`.

use std::time::Duration;

use metrics::{Counter, Family, Histogram, Stability};

/// Upstream's; the first is that of the cheapest expression.
const BOUNDS: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];
static CHECKS: Family<Counter, 4> = Family::new(
    "apiserver_validating_admission_policy_check_total",
    Stability::Beta,
    "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
    ["enforcement_action", "error_type", "policy", "policy_binding"],
);
static CHECK_TIMES: Family<Histogram, 4> = Family::with_bounds(
    "apiserver_validating_admission_policy_check_duration_seconds",
    Stability::Beta,
    "Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.",
    ["enforcement_action", "error_type", "policy", "policy_binding"],
    BOUNDS,
);
static MUTATIONS: Family<Counter, 3> = Family::new(
    "apiserver_mutating_admission_policy_check_total",
    Stability::Alpha,
    "Mutation admission policy check total, labeled by policy and further identified by binding.",
    ["error_type", "policy", "policy_binding"],
);
static MUTATION_TIMES: Family<Histogram, 3> = Family::with_bounds(
    "apiserver_mutating_admission_policy_check_duration_seconds",
    Stability::Alpha,
    "Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.",
    ["error_type", "policy", "policy_binding"],
    BOUNDS,
);

/// `action`: `allow`, `deny`, `audit` or `warn`.
pub(super) fn check(policy: &str, binding: &str, error: &str, action: &str, elapsed: Duration) {
    CHECKS.with([action, error, policy, binding]).inc();
    CHECK_TIMES.with([action, error, policy, binding]).observe_duration(elapsed);
}

pub(super) fn mutation(policy: &str, binding: &str, error: &str, elapsed: Duration) {
    MUTATIONS.with([error, policy, binding]).inc();
    MUTATION_TIMES.with([error, policy, binding]).observe_duration(elapsed);
}
