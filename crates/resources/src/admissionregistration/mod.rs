//! Kinds of the `admissionregistration.k8s.io` group.

mod expressions;
mod mutating_admission_policy;
mod mutating_admission_policy_binding;
mod mutating_webhook_configuration;
pub(crate) mod policies;
mod rules;
mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
mod webhooks;

pub use mutating_admission_policy::MutatingAdmissionPolicies;
pub use mutating_admission_policy_binding::MutatingAdmissionPolicyBindings;
pub use mutating_webhook_configuration::MutatingWebhookConfigurations;
pub use validating_admission_policy::ValidatingAdmissionPolicies;
pub use validating_admission_policy_binding::ValidatingAdmissionPolicyBindings;
pub use validating_webhook_configuration::ValidatingWebhookConfigurations;
