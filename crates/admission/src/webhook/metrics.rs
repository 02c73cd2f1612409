//! What webhooks come to, in upstream's names. Upstream: `admission/metrics`.

use std::time::Instant;

use metrics::{Counter, Family, Histogram, Stability};
use registry::admission::Operation;

use super::{call::Failure, hook::Hook};

static DURATIONS: Family<Histogram, 4> = Family::with_bounds(
    "apiserver_admission_webhook_admission_duration_seconds",
    Stability::Stable,
    "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
    ["name", "operation", "rejected", "type"],
    &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0],
);
static REQUESTS: Family<Counter, 5> = Family::new(
    "apiserver_admission_webhook_request_total",
    Stability::Alpha,
    "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
    ["code", "name", "operation", "rejected", "type"],
);
static REJECTIONS: Family<Counter, 5> = Family::new(
    "apiserver_admission_webhook_rejection_count",
    Stability::Alpha,
    "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
    ["error_type", "name", "operation", "rejection_code", "type"],
);
static FAIL_OPEN: Family<Counter, 2> = Family::new(
    "apiserver_admission_webhook_fail_open_count",
    Stability::Alpha,
    "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).",
    ["name", "type"],
);

/// Which of the two plugins asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Admit,
    Validating,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validating => "validating",
        }
    }
}

/// Counts one call, however it ended.
pub(super) fn asked<T>(hook: &Hook, operation: Operation, step: Step, start: Instant, outcome: &Result<T, Failure>) {
    let (name, operation, step) = (hook.name.as_str(), operation.as_str(), step.as_str());
    let (code, error_type) = match outcome {
        Ok(_) => (200, None),
        Err(Failure::Calling { code, .. }) => {
            if hook.ignores_failures {
                FAIL_OPEN.with([name, step]).inc();
                (*code, None)
            } else {
                (*code, Some("calling_webhook_error"))
            }
        }
        Err(Failure::Denied(error)) => (error.code, Some("no_error")),
        Err(Failure::Refused(_)) => (0, Some("apiserver_internal_error")),
    };
    let code = code.min(600).to_string();
    if let Some(error_type) = error_type {
        REJECTIONS.with([error_type, name, operation, &code, step]).inc();
    }
    let rejected = if error_type.is_some() { "true" } else { "false" };
    REQUESTS.with([&code, name, operation, rejected, step]).inc();
    DURATIONS.with([name, operation, rejected, step]).observe_duration(start.elapsed());
}
