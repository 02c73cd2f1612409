//! What is recognised, signed and removed.

use std::time::Duration;

use api::certificates::v1::CertificateSigningRequest;
use pki::{Authority, RequestFacts};
use serde_json::{Value, json};

use super::{approving::recognize, cleaner, rules, signing};

const NODE: &str = include_str!("testdata/node.csr");
const SERVING: &str = include_str!("testdata/serving.csr");
const CLIENT_USAGES: [&str; 2] = ["digital signature", "client auth"];

fn request(signer: &str, pem: &str, user: &str, usages: &[&str], status: Value) -> CertificateSigningRequest {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"signerName": signer, "usages": usages, "username": user, "request": api::ByteString(pem.as_bytes().to_vec())},
        "status": status,
    }))
    .unwrap()
}

fn approved() -> Value {
    json!({"conditions": [{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}]})
}

#[test]
fn kubelets_requests_are_recognised() {
    let recognized = |signer: &str, pem: &str, user: &str, usages: &[&str], status: Value| -> Vec<&str> {
        recognize(&request(signer, pem, user, usages, status)).iter().map(|kind| kind.subresource).collect()
    };
    let own = "system:node:n1";
    assert_eq!(
        recognized(super::KUBELET_CLIENT, NODE, own, &CLIENT_USAGES, Value::Null),
        ["selfnodeclient", "nodeclient"]
    );
    assert_eq!(
        recognized(super::KUBELET_CLIENT, NODE, "system:bootstrap:x", &CLIENT_USAGES, Value::Null),
        ["nodeclient"]
    );
    assert!(
        recognized(super::KUBELET_CLIENT, NODE, own, &["digital signature", "server auth"], Value::Null).is_empty()
    );
    assert!(recognized(super::KUBELET_SERVING, NODE, own, &CLIENT_USAGES, Value::Null).is_empty());
    assert!(recognized(super::KUBELET_CLIENT, SERVING, own, &CLIENT_USAGES, Value::Null).is_empty(), "it has names");
    assert!(recognized(super::KUBELET_CLIENT, NODE, own, &CLIENT_USAGES, approved()).is_empty(), "decided already");
    assert!(recognized(super::KUBELET_CLIENT, "junk", own, &CLIENT_USAGES, Value::Null).is_empty());
}

#[test]
fn each_signer_signs_its_own_kind() {
    let facts = |pem: &str| RequestFacts::read(pem.as_bytes()).unwrap();
    let serving = ["digital signature", "key encipherment", "server auth"];
    assert!(rules::check(super::KUBELET_SERVING, &facts(SERVING), &serving).is_ok());
    assert!(
        rules::check(super::KUBELET_SERVING, &facts(NODE), &serving).unwrap_err().contains("at least one DNS or IP")
    );
    assert!(rules::check(super::KUBELET_SERVING, &facts(SERVING), &CLIENT_USAGES).is_err());
    assert!(rules::check(super::API_CLIENT, &facts(NODE), &CLIENT_USAGES).is_ok());
    assert!(rules::check(super::API_CLIENT, &facts(NODE), &["client auth", "cert sign"]).is_err());
    assert!(rules::check(super::API_CLIENT, &facts(NODE), &["digital signature"]).is_err());
    let mut masters = facts(NODE);
    masters.organizations.push("system:masters".into());
    assert!(rules::check(super::KUBELET_CLIENT, &masters, &CLIENT_USAGES).is_err());
    assert!(rules::check("example.com/x", &facts(NODE), &CLIENT_USAGES).is_err());
}

#[test]
fn what_is_approved_is_signed_once() {
    let longest = Duration::from_secs(1000);
    let plan = |mut request: CertificateSigningRequest, seconds: Option<i32>| {
        request.spec.expiration_seconds = seconds;
        signing::plan(&request, longest)
    };
    let good = |status: Value| request(super::KUBELET_CLIENT, NODE, "x", &CLIENT_USAGES, status);
    assert_eq!(plan(good(approved()), None), signing::Plan::Sign(longest));
    assert_eq!(plan(good(approved()), Some(700)), signing::Plan::Sign(Duration::from_secs(700)));
    assert_eq!(plan(good(approved()), Some(1)), signing::Plan::Sign(Duration::from_secs(600)));
    assert_eq!(plan(good(approved()), Some(5000)), signing::Plan::Sign(longest));
    assert_eq!(plan(good(Value::Null), None), signing::Plan::Nothing);
    let mut failed = approved();
    failed["conditions"].as_array_mut().unwrap().push(json!({"type": "Failed", "status": "True"}));
    assert_eq!(plan(good(failed), None), signing::Plan::Nothing);
    let wrong = request(super::KUBELET_SERVING, NODE, "x", &CLIENT_USAGES, approved());
    assert!(matches!(plan(wrong, None), signing::Plan::Fail(_)));
    let foreign = request("example.com/x", NODE, "x", &CLIENT_USAGES, approved());
    assert_eq!(plan(foreign, None), signing::Plan::Nothing);
}

#[test]
fn old_requests_go() {
    let end = |status: Value| {
        cleaner::end(&request(super::KUBELET_CLIENT, NODE, "x", &CLIENT_USAGES, status)).unwrap().to_string()
    };
    assert_eq!(end(Value::Null), "2026-01-02T00:00:00Z");
    assert_eq!(end(approved()), "2026-01-02T01:00:00Z", "approved and never signed");
    let denied =
        json!({"conditions": [{"type": "Denied", "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}]});
    assert_eq!(end(denied), "2026-01-01T02:00:00Z");
    let directory = std::env::temp_dir().join(format!("tiphys-test-{}", std::process::id()));
    let authority = Authority::open(&directory, "ca", "test").unwrap();
    let signed = authority.sign_request(NODE, &CLIENT_USAGES, Duration::from_secs(3600)).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    let mut issued = approved();
    issued["certificate"] = json!(api::ByteString(signed.into_bytes()));
    assert_eq!(end(issued), "2026-01-01T02:00:00Z");
}
