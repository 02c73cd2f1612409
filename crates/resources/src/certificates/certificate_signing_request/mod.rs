//! Certificate signing requests for the registry. Upstream: `pkg/registry/certificates/certificates`.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use registry::{Column, Info, RequestCx, SelectableField, Strategy, Subresource};
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

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut CertificateSigningRequest) {
        object.status = None;
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.status.clone_from(&old.status);
    }

    fn prepare_for_subresource_update(
        &self,
        _name: &str,
        _cx: &RequestCx,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        // An approver decides by conditions and touches nothing else.
        let conditions = new.status.take().and_then(|status| status.conditions);
        new.spec = old.spec.clone();
        new.status.clone_from(&old.status);
        new.status.get_or_insert_default().conditions = conditions;
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
    C::string("SignerName", |o, _| json!(if o.spec.signer_name.is_empty() { "<none>" } else { &o.spec.signer_name })),
    C::string("Requestor", |o, _| json!(o.spec.username.text())),
    C::string("RequestedDuration", |o, _| {
        json!(o.spec.expiration_seconds.map_or_else(|| "<none>".to_owned(), |s| human_duration(i64::from(s))))
    }),
    C::string("Condition", |o, _| json!(condition(o))),
];
