//! Removes requests that were answered, or never were, some time ago.

use std::time::Duration;

use api::{Time, certificates::v1::CertificateSigningRequest};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};

use super::{ACCOUNT, GROUP, certificate, condition};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "certificatesigningrequest-cleaner-controller",
    service_account: ACCOUNT,
    watches: &[Watch::of(GROUP, "certificatesigningrequests")],
    rules: &[Rule::of(GROUP, "certificatesigningrequests", &["delete"]), Rule::EVENTS],
    start,
};

/// After an answer.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
/// Without one.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

struct Cleaner {
    client: Client,
    requests: Cache<CertificateSigningRequest>,
}

fn start(context: Context) {
    let requests = context.caches.of::<CertificateSigningRequest>();
    let reconciler = Cleaner { client: context.client, requests: requests.clone() };
    Controller::new(ENTRY.name, reconciler).workers(1).watch(&requests).start(&context.supervisor);
}

/// When the request is to go.
pub(super) fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let after = |time: Option<&Time>, pause: SignedDuration| time?.0.checked_add(pause).ok();
    let answered = |kind: &str| {
        condition(request, kind).and_then(|condition| after(condition.last_update_time.as_ref(), ANSWERED))
    };
    let created = after(request.metadata.creation_timestamp.as_ref(), PENDING);
    if let Some(gone) = answered("Denied").or_else(|| answered("Failed")) {
        return Some(gone);
    }
    if let Some(certificate) = certificate(request) {
        let expires = pki::expires(&String::from_utf8_lossy(certificate));
        let expires = expires.and_then(|seconds| Timestamp::from_second(seconds).ok());
        return [answered("Approved"), expires].into_iter().flatten().min();
    }
    // Approved and never signed is as if it was never answered.
    let since = condition(request, "Approved").and_then(|approved| after(approved.last_update_time.as_ref(), PENDING));
    since.or(created)
}

impl Reconcile for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(request) = self.requests.get(key) else { return Ok(Next::Await) };
        let Some(end) = end(&request) else { return Ok(Next::Await) };
        let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        let preconditions = Preconditions {
            uid: request.metadata.uid.clone(),
            resource_version: request.metadata.resource_version.clone(),
        };
        let api = Api::<CertificateSigningRequest>::all(self.client.clone());
        match api.delete(&key.name, &DeleteParams::default().preconditions(preconditions)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => {
                other?;
            }
        }
        Ok(Next::Await)
    }
}
