//! Secrets through defaults and validation.

use expect_test::expect;
use k8s_openapi::api::core::v1::Secret;
use registry::Strategy;
use serde_json::{Value, json};

use super::{Secrets, validate};

fn secret(value: Value) -> Secret {
    let mut secret = serde_json::from_value(value).expect("a secret");
    Secrets.set_defaults(&mut secret);
    secret
}

#[test]
fn plain_text_becomes_data() {
    let secret = secret(json!({"data": {"a": "b2xk", "b": "Yg=="}, "stringData": {"a": "new"}}));
    assert_eq!(json!(secret)["data"], json!({"a": "bmV3", "b": "Yg=="}));
    assert_eq!(json!(secret)["stringData"], Value::Null);
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
}

#[test]
fn types_ask_for_their_keys() {
    let errors = |kind: &str, data: Value| validate(&secret(json!({"type": kind, "stringData": data}))).aggregate();
    expect!["[data[tls.crt]: Required value, data[tls.key]: Required value]"]
        .assert_eq(&errors("kubernetes.io/tls", json!({})));
    expect!["data[.dockerconfigjson]: Required value"].assert_eq(&errors("kubernetes.io/dockerconfigjson", json!({})));
    expect![[r#"data[.dockercfg]: Invalid value: "<secret contents redacted>": expected value at line 1 column 1"#]]
        .assert_eq(&errors("kubernetes.io/dockercfg", json!({".dockercfg": "x"})));
    expect!["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
        .assert_eq(&errors("kubernetes.io/service-account-token", json!({})));
    expect!["[]"].assert_eq(&errors("kubernetes.io/basic-auth", json!({"username": ""})));
}
