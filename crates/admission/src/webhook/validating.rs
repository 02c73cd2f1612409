//! `ValidatingAdmissionWebhook`: all at once, the first refusal counts. Upstream: `webhook/validating`.

use std::time::Instant;

use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use outbound::Outbound;
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use super::{
    call::{self, Failure},
    is_exempt,
    metrics::{self, Step},
    selectors,
    source::Source,
};

const PREFIX: &str = "validating.webhook.admission.k8s.io/";

pub struct ValidatingWebhooks {
    source: Source,
    outbound: Outbound,
}

impl ValidatingWebhooks {
    pub(crate) fn new(source: Source, outbound: Outbound) -> Self {
        Self { source, outbound }
    }

    async fn dispatch(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let hooks = self.source.hooks();
        let mut relevant = Vec::new();
        for hook in hooks.iter() {
            if let Some(invocation) = selectors::invocation(hook, request).await? {
                let objects = selectors::objects(request, &invocation).await?;
                relevant.push((hook, invocation, objects));
            }
        }
        let asked = relevant.iter().enumerate().map(|(index, (hook, invocation, (object, old_object)))| async move {
            let both = (object.as_deref(), old_object.as_deref());
            let start = Instant::now();
            let outcome = call::ask(&self.outbound, hook, request, invocation, both, false).await;
            metrics::asked(hook, request.operation, Step::Validating, start, &outcome);
            match outcome {
                Ok(_) => Ok(()),
                Err(Failure::Calling { why, .. }) if hook.ignores_failures => {
                    tracing::warn!(webhook = %hook.name, %why, "failed calling webhook, failing open");
                    let key = format!("failed-open.{PREFIX}round_0_index_{index}");
                    request.cx.annotate(&key, hook.name.as_str());
                    Ok(())
                }
                Err(failure) => Err(failure.into_error(hook)),
            }
        });
        join_all(asked).await.into_iter().collect()
    }
}

impl Admission for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, info: &Info, _subresource: &str, _operation: Operation) -> bool {
        !self.source.is_empty() && !is_exempt(info)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.dispatch(request).boxed()
    }
}
