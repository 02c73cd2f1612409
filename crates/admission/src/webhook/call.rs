//! Asking one webhook. Upstream: `callHook` and `callAttrMutatingHook`, `webhookutil.ErrCallingWebhook`.

use apimachinery::{ApiError, field::go_quote};
use outbound::{CallError, Outbound, Post};
use registry::admission::AdmissionRequest;
use serde_json::Value;

use super::{
    hook::{Hook, SideEffects},
    review::{self, Unusable, Verdict},
    selectors::Invocation,
};

/// Largest answer: a patch of an object of the largest size, in base64.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// The code of a webhook that did not answer, or not properly.
const UNAVAILABLE: u16 = 503;

/// Why a webhook has given no verdict.
pub(crate) enum Failure {
    /// It could not be asked, or did not answer properly: the failure policy decides. The code is for who counts.
    Calling { why: String, code: u16 },
    /// It said no.
    Denied(ApiError),
    /// The request is refused before or after it was asked.
    Refused(ApiError),
}

impl Failure {
    pub(crate) fn calling(code: u16, why: impl Into<String>) -> Self {
        Self::Calling { why: why.into(), code }
    }

    /// What a client is told where failures are not ignored.
    pub(crate) fn into_error(self, hook: &Hook) -> ApiError {
        match self {
            Self::Calling { why, .. } => ApiError::internal(words(hook, &why)),
            Self::Denied(error) | Self::Refused(error) => error,
        }
    }
}

/// Upstream: `ErrCallingWebhook.Error`.
pub(crate) fn words(hook: &Hook, why: &str) -> String {
    format!("failed calling webhook {}: {why}", go_quote(&hook.name))
}

/// Asks, and takes over warnings and annotations.
pub(crate) async fn ask(
    outbound: &Outbound,
    hook: &Hook,
    request: &AdmissionRequest<'_>,
    invocation: &Invocation,
    (object, old_object): (Option<&Value>, Option<&Value>),
    mutating: bool,
) -> Result<Verdict, Failure> {
    if request.cx.dry_run {
        match hook.side_effects {
            None => return Err(Failure::calling(400, "Webhook SideEffects is nil")),
            Some(SideEffects::None) => {}
            Some(SideEffects::Some) => {
                let name = go_quote(&hook.name);
                let why = format!("admission webhook {name} does not support dry run");
                return Err(Failure::Refused(ApiError::bad_request(why)));
            }
        }
    }
    let Some(version) = hook.review else {
        let why =
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failure::calling(400, why));
    };
    let uid = uuid::Uuid::new_v4().to_string();
    let body = review::question(version, &uid, request, invocation, object, old_object).map_err(Failure::Refused)?;
    let client = outbound
        .client(&hook.client)
        .map_err(|error| Failure::calling(500, format!("could not get REST client: {error}")))?;
    let post = Post { body, timeout: hook.timeout, max_answer: MAX_ANSWER, tell_timeout: true };
    let called =
        |code: u16, why: &dyn std::fmt::Display| Failure::calling(code, format!("failed to call webhook: {why}"));
    let answer = client.post(post).await.map_err(|error| match &error {
        CallError::Status(status) => called(status.code, &error),
        _ => called(UNAVAILABLE, &error),
    })?;
    let verdict = review::answer(version, &uid, mutating, &answer).map_err(|unusable| match unusable {
        Unusable::Undecodable(why) => called(UNAVAILABLE, &why),
        Unusable::Invalid(why) => Failure::calling(UNAVAILABLE, format!("received invalid webhook response: {why}")),
    })?;
    for (key, value) in &verdict.audit_annotations {
        request.cx.annotate(&format!("{}/{key}", hook.name), value.as_str());
    }
    for warning in &verdict.warnings {
        request.cx.warn(warning.as_str());
    }
    if verdict.allowed {
        Ok(verdict)
    } else {
        Err(Failure::Denied(review::denied(&hook.name, verdict.result.as_ref())))
    }
}
