//! Checks the expressions of admission policies against the types they will meet, and writes what it finds to their
//! status. Nothing of it changes what a policy does.
//! Upstream: `pkg/controller/validatingadmissionpolicystatus`.

mod check;
mod schemas;

use api::admissionregistration::v1::ValidatingAdmissionPolicy;
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{Context, Entry, Rule, Watch};
use check::Warning;
use schemas::Schemas;

pub(crate) const ENTRY: Entry = Entry {
    name: "validatingadmissionpolicy-status-controller",
    service_account: "validatingadmissionpolicy-status-controller",
    watches: &[Watch::of("admissionregistration.k8s.io", "validatingadmissionpolicies")],
    rules: &[
        Rule::of("admissionregistration.k8s.io", "validatingadmissionpolicies/status", &["get", "patch", "update"]),
        Rule::EVENTS,
    ],
    start,
};

struct Checker {
    client: Client,
    policies: Cache<ValidatingAdmissionPolicy>,
}

fn start(context: Context) {
    let policies = context.caches.of::<ValidatingAdmissionPolicy>();
    let reconciler = Checker { client: context.client, policies: policies.clone() };
    Controller::new(ENTRY.name, reconciler).watch(&policies).start(&context.supervisor);
}

impl Reconcile for Checker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(policy) = self.policies.get(key) else { return Ok(Next::Await) };
        let generation = policy.metadata.generation.unwrap_or_default();
        let observed = policy.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default();
        if generation <= observed {
            return Ok(Next::Await);
        }
        let mut schemas = Schemas::new(&self.client);
        let spec = policy.spec.clone().unwrap_or_default();
        let types = schemas.of_rules(&spec).await;
        let params = match &spec.param_kind {
            Some(kind) => schemas.of_param(kind).await,
            None => None,
        };
        let warnings = check::check(&spec, &types, params.as_ref());
        let api = Api::<ValidatingAdmissionPolicy>::all(self.client.clone());
        let patch = Patch::Merge(status(generation, &warnings));
        match api.patch_status(&key.name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(Next::Await),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Next::Await),
            Err(error) => Err(error.into()),
        }
    }
}

fn status(generation: i64, warnings: &[Warning]) -> serde_json::Value {
    let warnings: Vec<_> =
        warnings.iter().map(|warning| json!({"fieldRef": warning.field, "warning": warning.text})).collect();
    let checking =
        if warnings.is_empty() { json!({"expressionWarnings": null}) } else { json!({"expressionWarnings": warnings}) };
    json!({"status": {"observedGeneration": generation, "typeChecking": checking}})
}
