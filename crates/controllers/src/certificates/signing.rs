//! Signs what was approved, as the four signers of `kubernetes.io`.

use std::{sync::Arc, time::Duration};

use api::{
    ByteString,
    certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use kube::{Api, Client, api::PostParams};
use pki::RequestFacts;

use super::{ACCOUNT, API_CLIENT, GROUP, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, condition, is_issued, rules, usages};
use crate::{Context, Entry, Rule, Signing, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "certificatesigningrequest-signing-controller",
    service_account: ACCOUNT,
    watches: &[Watch::of(GROUP, "certificatesigningrequests")],
    rules: &[
        Rule::of(GROUP, "certificatesigningrequests/status", &["update"]),
        Rule::named(GROUP, "signers", KUBELET_CLIENT, &["sign"]),
        Rule::named(GROUP, "signers", KUBELET_SERVING, &["sign"]),
        Rule::named(GROUP, "signers", API_CLIENT, &["sign"]),
        Rule::named(GROUP, "signers", LEGACY, &["sign"]),
        Rule::EVENTS,
    ],
    start,
};

const SIGNERS: [&str; 4] = [KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT, LEGACY];
/// Shorter is not signed. Upstream: ten minutes, as validation has it.
const SHORTEST: Duration = Duration::from_secs(600);

struct Signer {
    client: Client,
    requests: Cache<CertificateSigningRequest>,
    signing: Arc<Signing>,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    Fail(String),
    Sign(Duration),
}

fn start(context: Context) {
    // Without the authority's key nobody can sign.
    let Some(signing) = context.options.signing.clone() else { return };
    let requests = context.caches.of::<CertificateSigningRequest>();
    let reconciler = Signer { client: context.client, requests: requests.clone(), signing: Arc::new(signing) };
    Controller::new(ENTRY.name, reconciler).watch(&requests).start(&context.supervisor);
}

pub(super) fn plan(request: &CertificateSigningRequest, longest: Duration) -> Plan {
    let spec = &request.spec;
    let ready = condition(request, "Approved").is_some()
        && condition(request, "Denied").is_none()
        && condition(request, "Failed").is_none()
        && !is_issued(request);
    if !ready || !SIGNERS.contains(&spec.signer_name.as_str()) {
        return Plan::Nothing;
    }
    let checked = RequestFacts::read(&spec.request.0)
        .map_err(|error| format!("unable to parse csr: {error}"))
        .and_then(|facts| rules::check(&spec.signer_name, &facts, &usages(request)));
    match checked {
        Err(why) => Plan::Fail(why),
        Ok(()) => {
            let wanted = spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            Plan::Sign(wanted.map_or(longest, |wanted| Duration::from_secs(wanted).max(SHORTEST).min(longest)))
        }
    }
}

impl Reconcile for Signer {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(request) = self.requests.get(key) else { return Ok(Next::Await) };
        let mut changed = CertificateSigningRequest::clone(&request);
        let status = changed.status.get_or_insert_default();
        match plan(&request, self.signing.longest) {
            Plan::Nothing => return Ok(Next::Await),
            Plan::Fail(why) => {
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("SignerValidationFailure".to_owned()),
                    message: Some(why),
                    ..CertificateSigningRequestCondition::default()
                });
            }
            Plan::Sign(lifetime) => {
                let pem = String::from_utf8_lossy(&request.spec.request.0);
                let signed = self.signing.authority.sign_request(&pem, &usages(&request), lifetime);
                let signed = signed.map_err(|error| ReconcileError::Other(error.into()))?;
                status.certificate = Some(ByteString(signed.into_bytes()));
            }
        }
        let api = Api::<CertificateSigningRequest>::all(self.client.clone());
        api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        Ok(Next::Await)
    }
}
