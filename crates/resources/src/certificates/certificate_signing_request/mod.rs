//! Certificate signing requests for the registry. Upstream: `pkg/registry/certificates/certificates`.

#[cfg(test)]
mod tests;
mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use registry::{Column, Filter, Info, RequestCx, SelectableField, Strategy, Subresource};
use registry::{Handler, human_duration};
use serde_json::json;

use crate::optional::{Items, Text};

type C = Column<CertificateSigningRequest>;

pub struct CertificateSigningRequests;

impl Strategy for CertificateSigningRequests {
    type Object = CertificateSigningRequest;

    const INFO: Info =
        Info::cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests")
            .short(&["csr"]);
    const COLUMNS: &'static [Column<CertificateSigningRequest>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS, Subresource::new("approval", Handler::Update)];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField::new("spec.signerName", &[&["spec", "signerName"]])];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        Some(match subresource {
            "status" => Filter::exclude([["spec"].as_slice(), &["status", "conditions"]]),
            "approval" => Filter::exclude([["spec"].as_slice(), &["status", "certificate"]]),
            // Upstream lets nobody change the request once it is there, and so counts it as nobody's.
            _ => Filter::exclude([["spec"].as_slice(), &["status"]]),
        })
    }

    fn prepare_for_create(&self, cx: &RequestCx, object: &mut CertificateSigningRequest) {
        // Who asks is what the approver judges, so nobody says it of himself.
        let spec = &mut object.spec;
        spec.username = Some(cx.user.name.clone()).filter(|name| !name.is_empty());
        spec.uid = Some(cx.user.uid.clone()).filter(|uid| !uid.is_empty());
        spec.groups = Some(cx.user.groups.clone()).filter(|groups| !groups.is_empty());
        spec.extra = Some(cx.user.extra.clone()).filter(|extra| !extra.is_empty());
        object.status = None;
    }

    fn validate(&self, _cx: &RequestCx, object: &CertificateSigningRequest) -> ErrorList {
        validation::validate(object)
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        new.status.clone_from(&old.status);
    }

    fn validate_update(
        &self,
        _cx: &RequestCx,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(
        &self,
        cx: &RequestCx,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        stamp_conditions(cx, new, old);
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn prepare_for_subresource_update(
        &self,
        _name: &str,
        cx: &RequestCx,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        // An approver decides by conditions and touches nothing else.
        let conditions = new.status.take().and_then(|status| status.conditions);
        new.spec = old.spec.clone();
        new.status.clone_from(&old.status);
        new.status.get_or_insert_default().conditions = conditions;
        stamp_conditions(cx, new, old);
    }

    fn validate_subresource_update(
        &self,
        _name: &str,
        _cx: &RequestCx,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        validation::validate_approval_update(new, old)
    }
}

/// Times of conditions that the client has left out (`populateConditionTimestamps`).
fn stamp_conditions(cx: &RequestCx, new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
    let before = old.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    let Some(status) = &mut new.status else { return };
    for condition in status.conditions.items_mut() {
        condition.last_update_time.get_or_insert_with(|| cx.time());
        if condition.last_transition_time.is_none() {
            let same = |old: &&CertificateSigningRequestCondition| {
                (&old.type_, &old.status) == (&condition.type_, &condition.status)
            };
            let since = before.iter().find(same).and_then(|old| old.last_transition_time.clone());
            condition.last_transition_time = Some(since.unwrap_or_else(|| cx.time()));
        }
    }
}

/// The decision, and whether a certificate came of it.
fn condition(request: &CertificateSigningRequest) -> String {
    let Some(status) = &request.status else { return "Pending".to_owned() };
    let has = |kind: &str| status.conditions.items().iter().any(|condition| condition.type_ == kind);
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if status.certificate.as_ref().is_some_and(|certificate| !certificate.0.is_empty()) {
        text.push_str(",Issued");
    }
    text
}

static COLUMNS: &[Column<CertificateSigningRequest>] = &[
    Column::NAME,
    Column::AGE,
    C::string("SignerName", |o, _| json!(if o.spec.signer_name.is_empty() { "<none>" } else { &o.spec.signer_name })).describe("Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`."),
    C::string("Requestor", |o, _| json!(o.spec.username.text())).describe("Base64-encoded PKCS#10 CSR data"),
    C::string("RequestedDuration", |o, _| {
        json!(o.spec.expiration_seconds.map_or_else(|| "<none>".to_owned(), |s| human_duration(i64::from(s))))
    }).describe("expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this field as long as the requested duration is not greater than the maximum duration they will honor per the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter than the requested duration\n  3. Signer whose configured minimum is longer than the requested duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes."),
    C::string("Condition", |o, _| json!(condition(o))).describe("Conditions applied to the request, such as approval or denial."),
];
