//! Who may do what, and how the server finds out who asks.

use kube::{Api, api::PostParams};
use registry::UserInfo;
use serde_json::json;
use test_cluster::TestCluster;

use crate::http::Client;

#[tokio::test]
async fn strangers_are_told_so() {
    let cluster = TestCluster::start().await.unwrap();
    let answer = Client::nobody(&cluster).get("/api/v1/pods").await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.message(),
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    let answer = Client::nobody(&cluster).send("GET", "/api/v1/pods", &[("authorization", "Bearer x.y.z")], "").await;
    assert_eq!((answer.status.as_u16(), answer.message().as_str()), (401, "Unauthorized"));
    assert_eq!(Client::nobody(&cluster).get("/version").await.status, 200);
}

#[tokio::test]
async fn impersonation_needs_the_right_to_it() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    let answer = admin.send("GET", "/api/v1/pods", &[("impersonate-user", "bob")], "").await;
    assert!(answer.message().contains("User \"bob\" cannot list"), "{}", answer.message());
    let bob = Client::of(&cluster, UserInfo::new("bob", [UserInfo::AUTHENTICATED_GROUP]));
    let answer = bob.send("GET", "/api/v1/pods", &[("impersonate-user", "admin")], "").await;
    let first_refusal = "pods is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"pods\"";
    assert!(answer.message().starts_with(first_refusal), "{}", answer.message());
}

#[tokio::test]
async fn reviews_answer() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    let review = json!({"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let answer = admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]["allowed"]), (201, &json!(false)));
    let review = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/healthz"}}});
    let answer = admin.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!(answer.json()["status"]["allowed"], true);
    let answer = admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!(answer.json()["status"]["userInfo"]["username"], "admin");

    // A review has no columns.
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), ("content-type", "application/json")];
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = admin.send("POST", path, &table, review.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.json()["reason"].as_str()), (406, Some("NotAcceptable")));
}

#[tokio::test]
async fn tokens_are_issued_and_known_again() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    admin.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "robot"}})).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let issued = admin.post(path, &json!({"spec": {"audiences": [], "expirationSeconds": 600}})).await;
    assert_eq!(issued.status, 201, "{}", issued.json());
    let token = issued.json()["status"]["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let answer = Client::nobody(&cluster).send("GET", "/api/v1/pods", &[("authorization", &bearer)], "").await;
    assert!(
        answer.message().contains("User \"system:serviceaccount:default:robot\" cannot list"),
        "{}",
        answer.message()
    );
    let keys = Client::nobody(&cluster).send("GET", "/openid/v1/jwks", &[("authorization", &bearer)], "").await;
    assert_eq!((keys.status.as_u16(), &keys.json()["keys"][0]["kty"]), (200, &json!("EC")));
    let review = json!({"spec": {"token": token}});
    let answer = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(answer.json()["status"]["authenticated"], true);
    let short = admin.post(path, &json!({"spec": {"audiences": [], "expirationSeconds": 5}})).await;
    assert!(short.message().contains("may not specify a duration less than 10 minutes"), "{}", short.message());
}

#[tokio::test]
async fn certificates_are_known_over_tls() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.https_client().await.unwrap();
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(client, "default");
    let object = serde_json::from_value(json!({"metadata": {"name": "tls"}})).unwrap();
    let created = maps.create(&PostParams::default(), &object).await.unwrap();
    assert_eq!(created.metadata.namespace.as_deref(), Some("default"));
}
