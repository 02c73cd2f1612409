//! What was evaluated, in upstream's names. Upstream: `k8s.io/pod-security-admission/metrics`.

use metrics::{Counter, Family, Stability};
use registry::admission::{AdmissionRequest, Operation};

use super::{Level, LevelVersion, Version};

/// Of the version of the API.
const OWN_MINOR: u32 = 36;

static EVALUATIONS: Family<Counter, 7> = Family::new(
    "pod_security_evaluations_total",
    Stability::Alpha,
    "Number of policy evaluations that occurred, not counting ignored or exempt requests.",
    ["decision", "mode", "policy_level", "policy_version", "request_operation", "resource", "subresource"],
);
static EXEMPTIONS: Family<Counter, 3> = Family::new(
    "pod_security_exemptions_total",
    Stability::Alpha,
    "Number of exempt requests, not counting ignored or out of scope requests.",
    ["request_operation", "resource", "subresource"],
);
static ERRORS: Family<Counter, 4> = Family::new(
    "pod_security_errors_total",
    Stability::Alpha,
    "Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted profile being used for evaluation.",
    ["fatal", "request_operation", "resource", "subresource"],
);

fn operation(request: &AdmissionRequest<'_>) -> &'static str {
    match request.operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => "connect",
    }
}

fn resource(request: &AdmissionRequest<'_>) -> &'static str {
    match (request.info.group, request.info.plural) {
        ("", "pods") => "pod",
        ("", "namespaces") => "namespace",
        _ => "controller",
    }
}

/// `mode`: `enforce`, `audit` or `warn`.
pub(super) fn evaluated(request: &AdmissionRequest<'_>, allowed: bool, policy: LevelVersion, mode: &str) {
    let decision = if allowed { "allow" } else { "deny" };
    let version = match (policy.level, policy.version) {
        (Level::Privileged, _) | (_, Version::Latest) => "latest".to_owned(),
        (_, Version::Minor(minor)) if minor > OWN_MINOR => "future".to_owned(),
        (_, Version::Minor(minor)) => format!("v1.{minor}"),
    };
    let (operation, resource) = (operation(request), resource(request));
    let level = policy.level.to_string();
    EVALUATIONS.with([decision, mode, &level, &version, operation, resource, request.subresource]).inc();
}

pub(super) fn exempted(request: &AdmissionRequest<'_>) {
    EXEMPTIONS.with([operation(request), resource(request), request.subresource]).inc();
}

pub(super) fn failed(request: &AdmissionRequest<'_>, fatal: bool) {
    let fatal = if fatal { "true" } else { "false" };
    ERRORS.with([fatal, operation(request), resource(request), request.subresource]).inc();
}
