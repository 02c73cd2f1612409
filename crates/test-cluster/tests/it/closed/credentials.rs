//! Tokens and certificates that are not what they say, or no longer.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::http::Client;

async fn token(admin: &Client, spec: Value) -> String {
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let answer = admin.post(path, &json!({ "spec": spec })).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()["status"]["token"].as_str().unwrap().to_owned()
}

async fn code(cluster: &TestCluster, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let url = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    Client::nobody(cluster).send("POST", url, &headers, "{}").await.status.as_u16()
}

#[tokio::test]
async fn tokens_are_good_for_what_they_say_and_as_long_as_they_may() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    for account in ["robot", "default"] {
        let account = json!({"metadata": {"name": account}});
        assert_eq!(admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.status, 201);
    }
    let good = token(&admin, json!({"expirationSeconds": 600})).await;
    assert_eq!(code(&cluster, &good).await, 201);

    // For somebody else.
    let other = token(&admin, json!({"audiences": ["https://vault.example"]})).await;
    assert_eq!(code(&cluster, &other).await, 401, "wrong audience");
    let review = json!({"spec": {"token": other, "audiences": ["https://vault.example", "x"]}});
    let answer = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
    assert_eq!(answer["status"]["audiences"], json!(["https://vault.example"]), "{answer}");
    let review = json!({"spec": {"token": other}});
    let answer = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
    assert_eq!(answer["status"]["authenticated"], Value::Null, "{answer}");

    // Not signed, signed by a method that is the token's own choice, or signed by another.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, claims) = signed.split_once('.').unwrap();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None","kid":""}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"ES384"}"#] {
        for signature in ["", signature] {
            let forged = format!("{}.{claims}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(header));
            assert_eq!(code(&cluster, &forged).await, 401, "{header}");
        }
    }
    let mut changed: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    changed["sub"] = json!("system:serviceaccount:kube-system:generic-garbage-collector");
    let changed = BASE64_URL_SAFE_NO_PAD.encode(changed.to_string());
    let header = signed.split_once('.').unwrap().0;
    assert_eq!(code(&cluster, &format!("{header}.{changed}.{signature}")).await, 401, "another subject");
    let elsewhere = TestCluster::start().await.unwrap();
    assert_eq!(code(&elsewhere, &good).await, 401, "another cluster's key");

    // Bound to a pod that goes.
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "robot", "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(admin.post(pods, &pod).await.status, 201);
    let bound = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}});
    let of_pod = token(&admin, bound.clone()).await;
    assert_eq!(code(&cluster, &of_pod).await, 201);
    admin.send("DELETE", &format!("{pods}/p?gracePeriodSeconds=0"), &[], "").await;
    assert_eq!(code(&cluster, &of_pod).await, 401, "the pod has gone");
    assert_eq!(admin.post(pods, &pod).await.status, 201);
    assert_eq!(code(&cluster, &of_pod).await, 401, "another pod of the same name");

    // Its account goes, and comes again under the same name.
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.send("DELETE", &format!("{accounts}/robot"), &[], "").await;
    assert_eq!(code(&cluster, &good).await, 401, "the account has gone");
    assert_eq!(admin.post(accounts, &json!({"metadata": {"name": "robot"}})).await.status, 201);
    assert_eq!(code(&cluster, &good).await, 401, "another account of the same name");
}

#[tokio::test]
async fn a_request_for_a_token_is_bounded() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    admin.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "robot"}})).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    for (body, code, message) in [
        (json!({"spec": {"expirationSeconds": 599}}), 422, "may not specify a duration less than 10 minutes"),
        (json!({"spec": {"expirationSeconds": (1_i64 << 32) + 1}}), 422, "larger than 2^32 seconds"),
        (json!({"metadata": {"name": "other"}, "spec": {}}), 422, "must match the service account name if specified"),
        (json!({"metadata": {"namespace": "other"}, "spec": {}}), 422, "must match the service account namespace"),
        (json!({"metadata": {"uid": "x"}, "spec": {}}), 409, "does not match the UID of the service account"),
        (
            json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "no"}}}),
            404,
            "pods \"no\" not found",
        ),
        (
            json!({"spec": {"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "no"}}}),
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
    ] {
        let answer = admin.post(path, &body).await;
        assert_eq!(answer.status, code, "{body}: {}", answer.json());
        assert!(answer.message().contains(message), "{body}: {}", answer.message());
    }
}
