//! Requests through the hooks.

use std::sync::Arc;

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use registry::{Nothing, Reader, RequestCx, Strategy, UserInfo, Verb};
use serde_json::{Value, json};

use super::CertificateSigningRequests;

fn cx() -> RequestCx {
    let user = UserInfo::new("jane", ["dev"]);
    RequestCx::new(Arc::new(user), Verb::Create, Timestamp::UNIX_EPOCH, Reader::new(Arc::new(Nothing)))
}

fn created(spec: Value) -> CertificateSigningRequest {
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let mut value = json!({
        "metadata": {"name": "a"},
        "spec": {
            "request": ByteString(pem.as_bytes().to_vec()), "signerName": "example.com/signer",
            "usages": ["client auth"], "username": "root",
        },
    });
    apimachinery::patch::merge_patch(&mut value["spec"], spec);
    let mut request: CertificateSigningRequest = serde_json::from_value(value).expect("a request");
    CertificateSigningRequests.prepare_for_create(&cx(), &mut request);
    request
}

fn with(conditions: Value) -> CertificateSigningRequest {
    let mut request = created(json!({}));
    request.status = serde_json::from_value(json!({"conditions": conditions})).expect("a status");
    request
}

#[test]
fn the_server_says_who_asks() {
    let request = created(json!({}));
    assert_eq!(request.spec.username.as_deref(), Some("jane"));
    assert_eq!(request.spec.groups, Some(vec!["dev".to_owned()]));
    assert!(CertificateSigningRequests.validate(&cx(), &request).is_empty());
}

#[test]
fn mistakes_are_reported_as_upstream_reports_them() {
    let request = created(json!({"request": "AAAA", "usages": ["odd"], "expirationSeconds": 5, "signerName": "a"}));
    let errors = CertificateSigningRequests.validate(&cx(), &request);
    expect![[r#"
        spec.request: Invalid value: "AAAA": PEM block type must be CERTIFICATE REQUEST
        spec.usages[0]: Unsupported value: "odd": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
        spec.signerName: Invalid value: "a": must be a fully qualified domain and path of the form 'example.com/signer-name'
        spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)
    "#]].assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
}

#[test]
fn a_decision_is_made_once_and_by_the_approver() {
    let approved = json!([{"type": "Approved", "status": "True"}]);
    let (open, mut decided) = (created(json!({})), with(approved.clone()));
    CertificateSigningRequests.prepare_for_subresource_update("approval", &cx(), &mut decided, &open);
    let errors = CertificateSigningRequests.validate_subresource_update("approval", &cx(), &decided, &open);
    assert_eq!(errors.aggregate(), "[]");
    assert!(
        decided.status.as_ref().and_then(|status| status.conditions.as_ref()).expect("conditions")[0]
            .last_update_time
            .is_some()
    );
    let text = |errors: apimachinery::ErrorList| errors.aggregate();
    expect![[r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#]]
        .assert_eq(&text(CertificateSigningRequests.validate_status_update(&cx(), &with(approved), &open)));
    expect![[r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#]]
        .assert_eq(&text(CertificateSigningRequests.validate_status_update(&cx(), &open, &decided)));
    let both = with(json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]));
    expect![[
        r#"status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#
    ]]
    .assert_eq(&text(CertificateSigningRequests.validate_subresource_update("approval", &cx(), &both, &open)));
}
