//! Admission as an operator sets it up: the file of settings, and servers outside that are asked with credentials.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{
    ask,
    server::{Server, text},
};
use crate::cluster::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str, image: &str, cpu: Option<&str>) -> Value {
    let resources = cpu.map_or(json!({}), |cpu| json!({"requests": {"cpu": cpu}}));
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": image, "resources": resources}]}})
}

/// What was asked about, by resource and subresource, and with which credentials.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

async fn backend(asked: &Asked) -> Server {
    let log = asked.clone();
    Server::https(move |path, headers, body| {
        let header = headers.get("authorization").and_then(|header| header.to_str().ok()).unwrap_or_default();
        let review: Value = serde_json::from_slice(body).unwrap();
        let mut log = log.lock().unwrap();
        match path {
            "/image" => {
                log.push(("image".to_owned(), header.to_owned()));
                let image = review["spec"]["containers"][0]["image"].as_str().unwrap();
                let status = json!({"allowed": !image.contains("evil"), "reason": "it is evil"});
                (
                    200,
                    json!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "status": status})
                        .to_string(),
                )
            }
            _ => {
                let request = &review["request"];
                let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let what = [part(&request["resource"]["resource"]), part(&request["subResource"])].join("/");
                log.push((what, header.to_owned()));
                let response = json!({"uid": request["uid"], "allowed": request["name"] != "unwanted"});
                (
                    200,
                    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
                        .to_string(),
                )
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_plugins_and_those_that_they_ask() {
    let asked = Asked::default();
    let server = backend(&asked).await;
    let image = server.kubeconfig("image", "/image", &json!({"token": "images"}));
    let users = json!({"apiVersion": "v1", "kind": "Config", "users": [
        {"name": format!("127.0.0.1:{}", server.port), "user": {"token": "hooks"}},
        {"name": "*", "user": {"token": "nobody"}},
    ]});
    let hooks = server.file("hooks", &users.to_string());
    let settings = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [
        {"name": "ImagePolicyWebhook", "configuration": {"imagePolicy": {
            "kubeConfigFile": image, "allowTTL": 1, "denyTTL": 1, "retryBackoff": 1, "defaultAllow": false}}},
        {"name": "ValidatingAdmissionWebhook", "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": hooks}},
        {"name": "ResourceQuota", "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration",
            "limitedResources": [{"resource": "pods", "matchContains": ["requests.cpu"]}]}},
        {"name": "PodSecurity", "path": "security.yaml"},
    ]});
    server.file("security.yaml", "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: baseline, enforce-version: latest}\nexemptions: {namespaces: [kube-system]}\n");
    let settings = server.file("admission.yaml", &settings.to_string());
    let mut cluster = Cluster::control_plane();
    cluster.flags([
        "--enable-admission-plugins=ImagePolicyWebhook".to_owned(),
        format!("--admission-control-config-file={}", text(&settings)),
        "--default-not-ready-toleration-seconds=7".to_owned(),
    ]);
    cluster.start();
    let client = cluster.client().await;
    let account = json!({"metadata": {"name": "robot"}});
    assert_eq!(ask(&client, "POST", "/api/v1/namespaces/default/serviceaccounts", Some(&account)).await.0, 201);

    // Images.
    let (code, status) = ask(&client, "POST", PODS, Some(&pod("a", "evil:1", None))).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "pods \"a\" is forbidden: image policy webhook backend denied one or more images: it is evil"
    );
    let (code, made) = ask(&client, "POST", PODS, Some(&pod("a", "good:1", None))).await;
    assert_eq!(code, 201, "{made}");
    let seconds = |taint: &str| {
        let tolerations = made["spec"]["tolerations"].as_array().unwrap();
        tolerations.iter().find(|toleration| toleration["key"] == taint).unwrap()["tolerationSeconds"].clone()
    };
    assert_eq!(seconds("node.kubernetes.io/not-ready"), 7);
    assert_eq!(seconds("node.kubernetes.io/unreachable"), 300);
    assert!(asked.lock().unwrap().contains(&("image".to_owned(), "Bearer images".to_owned())));

    // Quotas, and what pods may ask of their node.
    let (code, status) = ask(&client, "POST", PODS, Some(&pod("b", "good:1", Some("1m")))).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (403, "pods \"b\" is forbidden: insufficient quota to consume: requests.cpu")
    );
    let mut privileged = pod("b", "good:1", None);
    privileged["spec"]["hostNetwork"] = true.into();
    let (code, status) = ask(&client, "POST", PODS, Some(&privileged)).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().contains("violates PodSecurity \"baseline:latest\""), "{status}");

    // Webhooks: subresources and questions too, each with the credentials of their host.
    let rule = json!({"operations": ["CREATE"], "apiVersions": ["*"], "apiGroups": ["*"], "resources":
        ["pods", "pods/binding", "pods/eviction", "serviceaccounts/token", "tokenreviews", "localsubjectaccessreviews"]});
    let hook = json!({
        "name": "all.example.com", "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://127.0.0.1:{}/validate", server.port), "caBundle": base64(&server.authority)},
    });
    let configuration = json!({"metadata": {"name": "all"}, "webhooks": [hook]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let (code, made) = ask(&client, "POST", path, Some(&configuration)).await;
    assert_eq!(code, 201, "{made}");
    let (code, status) = ask(&client, "POST", PODS, Some(&pod("unwanted", "good:1", None))).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (400, "admission webhook \"all.example.com\" denied the request without explanation")
    );
    let token = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    assert_eq!(ask(&client, "POST", token, Some(&json!({"spec": {}}))).await.0, 201);
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(ask(&client, "POST", &format!("{PODS}/a/binding"), Some(&binding)).await.0, 201);
    let review = json!({"spec": {"token": "x"}});
    let (code, status) = ask(&client, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", Some(&review)).await;
    assert_eq!(code, 201, "{status}");
    let review = json!({"spec": {"user": "x", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert_eq!(ask(&client, "POST", path, Some(&review)).await.0, 201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    assert_eq!(ask(&client, "POST", &format!("{PODS}/a/eviction"), Some(&eviction)).await.0, 201);
    let asked = asked.lock().unwrap().clone();
    for what in [
        "pods/",
        "pods/binding",
        "pods/eviction",
        "serviceaccounts/token",
        "tokenreviews/",
        "localsubjectaccessreviews/",
    ] {
        assert!(asked.contains(&(what.to_owned(), "Bearer hooks".to_owned())), "{what} in {asked:?}");
    }
    let metrics = super::ask_for_text(&client, "GET", "/metrics", None).await.2;
    for line in [
        "apiserver_admission_webhook_admission_duration_seconds_count{name=\"all.example.com\",operation=\"CREATE\",rejected=\"true\",type=\"validating\"} 1",
        "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"all.example.com\",operation=\"CREATE\",rejection_code=\"400\",type=\"validating\"} 1",
        "pod_security_evaluations_total{decision=\"deny\",mode=\"enforce\",policy_level=\"baseline\",policy_version=\"latest\",request_operation=\"create\",resource=\"pod\",subresource=\"\"} 1",
        "apiserver_storage_size_bytes{storage_cluster_id=\"storage-cluster-0\"} ",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

fn base64(text: &str) -> String {
    use std::fmt::Write as _;
    // The server reads it back; three bytes make four letters.
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place) & 63) as usize] as char;
            write!(out, "{}", if place <= chunk.len() { letter } else { '=' }).expect("a String takes everything");
        }
    }
    out
}
