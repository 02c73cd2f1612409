//! Approves the client certificates that kubelets ask for, if whoever asks may have one.

use api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError};
use kube::{Api, Client, api::PostParams};
use pki::RequestFacts;

use super::{ACCOUNT, GROUP, KUBELET_CLIENT, condition, is_issued, rules, usages};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "certificatesigningrequest-approving-controller",
    service_account: ACCOUNT,
    watches: &[Watch::of(GROUP, "certificatesigningrequests")],
    rules: &[
        Rule::of(GROUP, "certificatesigningrequests/approval", &["update"]),
        Rule::named(GROUP, "signers", KUBELET_CLIENT, &["approve"]),
        Rule::of("authorization.k8s.io", "subjectaccessreviews", &["create"]),
        Rule::EVENTS,
    ],
    start,
};

struct Approver {
    client: Client,
    requests: Cache<CertificateSigningRequest>,
}

/// A kind of request that is approved by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recognized {
    pub(super) subresource: &'static str,
    message: &'static str,
}

const SELF: Recognized = Recognized {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const ANY: Recognized = Recognized {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

fn start(context: Context) {
    let requests = context.caches.of::<CertificateSigningRequest>();
    let reconciler = Approver { client: context.client, requests: requests.clone() };
    Controller::new(ENTRY.name, reconciler).watch(&requests).start(&context.supervisor);
}

/// What the request could be approved as, the narrower first; empty: it is left for others.
pub(super) fn recognize(request: &CertificateSigningRequest) -> Vec<Recognized> {
    let decided = condition(request, "Approved").is_some() || condition(request, "Denied").is_some();
    if decided || is_issued(request) || request.spec.signer_name != KUBELET_CLIENT {
        return Vec::new();
    }
    let Ok(facts) = RequestFacts::read(&request.spec.request.0) else { return Vec::new() };
    if rules::kubelet_client(&facts, &usages(request)).is_err() {
        return Vec::new();
    }
    let is_own = request.spec.username.as_deref() == Some(&facts.common_name);
    if is_own { vec![SELF, ANY] } else { vec![ANY] }
}

impl Reconcile for Approver {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(request) = self.requests.get(key) else { return Ok(Next::Await) };
        let recognized = recognize(&request);
        for kind in &recognized {
            if self.may(&request, kind.subresource).await? {
                self.approve(&request, *kind).await?;
                return Ok(Next::Await);
            }
        }
        if recognized.is_empty() {
            return Ok(Next::Await);
        }
        // Tried again with growing pauses: whoever asks may be allowed later.
        let why = format!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            key.name,
            recognized.iter().map(|kind| kind.subresource).collect::<Vec<_>>().join(" ")
        );
        Err(ReconcileError::Other(why.into()))
    }
}

impl Approver {
    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> Result<bool, ReconcileError> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    verb: Some("create".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    version: Some("*".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn approve(&self, request: &CertificateSigningRequest, kind: Recognized) -> Result<(), ReconcileError> {
        let mut approved = request.clone();
        approved.status.get_or_insert_default().conditions.get_or_insert_default().push(
            CertificateSigningRequestCondition {
                type_: "Approved".to_owned(),
                status: "True".to_owned(),
                reason: Some("AutoApproved".to_owned()),
                message: Some(kind.message.to_owned()),
                ..CertificateSigningRequestCondition::default()
            },
        );
        let name = request.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<CertificateSigningRequest>::all(self.client.clone());
        api.replace_subresource("approval", name, &PostParams::default(), &approved).await?;
        Ok(())
    }
}
