//! Admission policies: rules in expressions that the cluster's own objects write.
//!
//! `ValidatingAdmissionPolicy` refuses, warns or notes for the audit log; `MutatingAdmissionPolicy` changes objects.
//! A policy does nothing without a binding. Both are compiled when they have changed in the store and at no other time;
//! with none, a request costs two loads.
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/policy`.

mod definition;
mod matching;
mod metrics;
mod mutating;
mod params;
mod patch;
mod source;
mod validating;

use std::sync::Arc;

use apimachinery::ApiError;
use registry::{
    admission::{Admission, AdmissionRequest},
    auth::Authorizer,
};
use serde_json::Value;
use store::Store;

pub use mutating::MutatingPolicies;
pub use validating::ValidatingPolicies;

use crate::webhook::{self, GROUP, Invocation};

/// Both plugins over the policies of a store: the mutating one comes before mutating webhooks, the validating one before
/// validating webhooks.
pub fn plugins(store: &Store, authorizer: &Arc<dyn Authorizer>) -> (Arc<dyn Admission>, Arc<dyn Admission>) {
    let resource = |plural: &str| store.resource(&format!("{plural}.{GROUP}"));
    let mutating = MutatingPolicies::new(
        source::Source::new(resource("mutatingadmissionpolicies"), resource("mutatingadmissionpolicybindings")),
        Arc::clone(authorizer),
    );
    let validating = ValidatingPolicies::new(
        source::Source::new(resource("validatingadmissionpolicies"), resource("validatingadmissionpolicybindings")),
        Arc::clone(authorizer),
    );
    (Arc::new(mutating), Arc::new(validating))
}

/// Both objects of a request, in one version.
type Objects = (Option<Arc<Value>>, Option<Arc<Value>>);

/// Objects in the versions that policies have asked for so far.
#[derive(Default)]
struct Versions(Vec<(apimachinery::Gvk, Objects)>);

impl Versions {
    async fn get(&mut self, request: &AdmissionRequest<'_>, invocation: &Invocation) -> Result<Objects, ApiError> {
        if let Some((_, objects)) = self.0.iter().find(|(kind, _)| *kind == invocation.kind) {
            return Ok(objects.clone());
        }
        let objects = webhook::objects(request, invocation).await?;
        self.0.push((invocation.kind.clone(), objects.clone()));
        Ok(objects)
    }
}

/// Name of the object in a refusal. Upstream: `admission.extractResourceName`.
fn refused_name(request: &AdmissionRequest<'_>) -> String {
    if !request.name.is_empty() {
        return request.name.to_owned();
    }
    let metadata = request.object.as_deref().map(registry::AnyObject::metadata);
    let named = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    metadata
        .and_then(|metadata| named(metadata.name.as_ref()).or_else(|| named(metadata.generate_name.as_ref())))
        .unwrap_or_else(|| "Unknown".to_owned())
}
