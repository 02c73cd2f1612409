//! Admission webhooks: somebody outside of the process is asked before an object is written.
//!
//! Two plugins share everything but what they do with the answer: `MutatingAdmissionWebhook` asks one after the other
//! and applies patches, `ValidatingAdmissionWebhook` asks all at once. Their configurations are read from the store when
//! they have changed and at no other time; with none, a request costs two loads.
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/webhook`.

mod call;
mod conditions;
mod hook;
mod metrics;
mod mutating;
mod review;
mod rules;
mod selectors;
mod source;
mod validating;

use std::sync::Arc;

use outbound::Outbound;
use registry::{Info, admission::Admission, auth::Authorizer};
use store::Store;

pub use mutating::MutatingWebhooks;
pub use validating::ValidatingWebhooks;

pub(crate) use hook::selector;
pub(crate) use review::namespace as namespace_of;
pub(crate) use rules::Rule;
pub(crate) use selectors::{Invocation, as_equivalent, in_namespace, is_effect_of_action, objects, of_object};
use source::Source;

pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// Both plugins, over the configurations of a store: the mutating one comes last of what mutates, the validating one
/// last but for quotas.
pub fn plugins(
    store: &Store,
    outbound: &Outbound,
    authorizer: &Arc<dyn Authorizer>,
) -> (Arc<dyn Admission>, Arc<dyn Admission>) {
    let source =
        |plural: &str, step| Source::new(store.resource(&format!("{plural}.{GROUP}")), step, Arc::clone(authorizer));
    let mutating = MutatingWebhooks::new(source("mutatingwebhookconfigurations", "admit"), outbound.clone());
    let validating = ValidatingWebhooks::new(source("validatingwebhookconfigurations", "validate"), outbound.clone());
    (Arc::new(mutating), Arc::new(validating))
}

/// What decides about admission is not itself subject to webhooks, so that nobody is locked out.
/// Upstream: `rules.IsExemptAdmissionConfigurationResource`.
pub(crate) fn is_exempt(info: &Info) -> bool {
    info.group == GROUP
        && matches!(
            info.kind,
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}
