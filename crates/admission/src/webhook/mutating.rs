//! `MutatingAdmissionWebhook`: one after the other, each sees what the one before made. Upstream: `webhook/mutating`.

use std::{collections::HashSet, sync::Arc, time::Instant};

use apimachinery::{ApiError, field::go_quote};
use futures::future::{BoxFuture, FutureExt as _};
use outbound::Outbound;
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};
use serde_json::{Value, json};

use super::{
    call::{self, Failure},
    hook::Hook,
    is_exempt,
    metrics::{self, Step},
    selectors::{self, Invocation},
    source::Source,
};

const NAME: &str = "MutatingAdmissionWebhook";
const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const PATCH: &str = "patch.webhook.admission.k8s.io/";

pub struct MutatingWebhooks {
    source: Source,
    outbound: Outbound,
}

/// What is remembered from the first round to the second. Upstream: `webhookReinvokeContext`.
#[derive(Default)]
struct Memory {
    /// The object as the webhooks left it.
    last: Option<Arc<Value>>,
    /// Asked, and to be asked again when somebody changes the object after them.
    asked: HashSet<String>,
    again: HashSet<String>,
}

impl Memory {
    fn changed(&mut self) {
        self.again.extend(self.asked.drain());
    }
}

impl MutatingWebhooks {
    pub(crate) fn new(source: Source, outbound: Outbound) -> Self {
        Self { source, outbound }
    }

    async fn dispatch(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let hooks = self.source.hooks();
        if request.reinvocation.again {
            self.notice_changes(request)?;
        }
        for (index, hook) in hooks.iter().enumerate() {
            let Some(invocation) = selectors::invocation(hook, request).await? else { continue };
            let again = request.reinvocation.again;
            if again && !request.reinvocation.memory::<Memory>(NAME).again.contains(&hook.id) {
                // Nobody is asked for the first time in the second round.
                continue;
            }
            let key = format!("round_{}_index_{index}", u8::from(again));
            let start = Instant::now();
            let outcome = self.ask(hook, request, &invocation, &key).await;
            metrics::asked(hook, request.operation, Step::Admit, start, &outcome);
            let changed = matches!(outcome, Ok(true));
            annotate_mutation(request, hook, &key, changed);
            let memory = request.reinvocation.memory::<Memory>(NAME);
            if changed {
                memory.changed();
            }
            if hook.reinvoke {
                memory.asked.insert(hook.id.clone());
            }
            if changed {
                request.reinvocation.request();
            }
            match outcome {
                Ok(_) => {}
                Err(Failure::Calling { why, .. }) if hook.ignores_failures => {
                    tracing::warn!(webhook = %hook.name, %why, "failed calling webhook, failing open");
                    request.cx.annotate(&format!("failed-open.{MUTATION}{key}"), hook.name.as_str());
                }
                Err(failure) => return Err(failure.into_error(hook)),
            }
        }
        if !request.reinvocation.again && !request.reinvocation.memory::<Memory>(NAME).asked.is_empty() {
            let last = request.object_json()?;
            request.reinvocation.memory::<Memory>(NAME).last = last;
        }
        Ok(())
    }

    /// Plugins of the server itself have run again; if they changed the object, everybody who wants to know is asked.
    fn notice_changes(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        if request.reinvocation.memory::<Memory>(NAME).asked.is_empty() {
            return Ok(());
        }
        let now = request.object_json()?;
        let memory = request.reinvocation.memory::<Memory>(NAME);
        if memory.last != now {
            memory.changed();
        }
        Ok(())
    }

    /// Whether the object was changed.
    async fn ask(
        &self,
        hook: &Hook,
        request: &mut AdmissionRequest<'_>,
        invocation: &Invocation,
        key: &str,
    ) -> Result<bool, Failure> {
        let (object, old_object) = selectors::objects(request, invocation).await.map_err(Failure::Refused)?;
        let both = (object.as_deref(), old_object.as_deref());
        let verdict = call::ask(&self.outbound, hook, request, invocation, both, true).await?;
        if verdict.patch.is_empty() {
            return Ok(false);
        }
        let patch: Value = serde_json::from_slice(&verdict.patch)
            .ok()
            .filter(Value::is_array)
            .ok_or_else(|| Failure::calling(503, "received undecodable patch in webhook response: not a JSON patch"))?;
        if patch.as_array().is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        let Some(object) = object else {
            let name = go_quote(&hook.name);
            return Err(Failure::Refused(ApiError::internal(format!(
                "admission webhook {name} attempted to modify the object, which is not supported for this operation"
            ))));
        };
        if verdict.patch_type != "JSONPatch" {
            return Err(Failure::calling(503, format!("unsupported patch type {}", go_quote(&verdict.patch_type))));
        }
        let before = request.object_json().map_err(Failure::Refused)?;
        apply(request, invocation, &object, &patch).await.map_err(Failure::Refused)?;
        let changed = before != request.object_json().map_err(Failure::Refused)?;
        annotate_patch(request, hook, key, patch);
        Ok(changed)
    }
}

/// The patched object is decoded in the version that the webhook saw, and becomes the request's.
async fn apply(
    request: &mut AdmissionRequest<'_>,
    invocation: &Invocation,
    object: &Value,
    patch: &Value,
) -> Result<(), ApiError> {
    let mut patched = object.clone();
    apimachinery::patch::json_patch(&mut patched, patch).map_err(ApiError::internal)?;
    if let (Some(place), Some(equivalent)) = (request.place, &invocation.equivalent) {
        patched = request.convert(equivalent, place.kind, &patched).await?;
    }
    request.set_object_json(&patched)
}

fn annotate_mutation(request: &AdmissionRequest<'_>, hook: &Hook, key: &str, mutated: bool) {
    if !request.cx.audit.wants().annotations {
        return;
    }
    let value = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
    request.cx.annotate(&format!("{MUTATION}{key}"), value.to_string());
}

/// The patch is part of the object: it is told only where requests' bodies are.
fn annotate_patch(request: &AdmissionRequest<'_>, hook: &Hook, key: &str, patch: Value) {
    let wants = request.cx.audit.wants();
    if !wants.annotations || !wants.request {
        return;
    }
    let value = json!({
        "configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch",
    });
    request.cx.annotate(&format!("{PATCH}{key}"), value.to_string());
}

impl Admission for MutatingWebhooks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, info: &Info, _subresource: &str, _operation: Operation) -> bool {
        !self.source.is_empty() && !is_exempt(info)
    }

    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.dispatch(request).boxed()
    }
}
