//! Webhooks that know tokens, and webhooks that decide.

use std::sync::Arc;

use auth::{
    NodeAuthorizer, Rbac, TokenAuthenticator as _,
    authn::WebhookTokens,
    authz::{AuthorizationConfiguration, Union},
};
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer as _, Decision},
};
use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn a_webhook_knows_tokens() {
    let server = Server::start(|_, review| {
        let status = match review["spec"]["token"].as_str() {
            Some("good") => json!({"authenticated": true, "audiences": ["api"],
                "user": {"username": "ada", "uid": "7", "groups": ["g"], "extra": {"k": ["v"]}}}),
            Some("plain") => json!({"authenticated": true, "user": {"username": "bob"}}),
            Some("wrong") => json!({"authenticated": false, "error": "it is wrong"}),
            Some("broken") => {
                return (
                    400,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "code": 400}),
                );
            }
            _ => json!({"authenticated": false}),
        };
        (200, json!({"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status}))
    })
    .await;
    let tokens = WebhookTokens::new(&server.kubeconfig(), "v1", vec!["api".into()]).unwrap();
    let identity = tokens.authenticate("good", &[]).await.unwrap().unwrap();
    assert_eq!(
        identity.user,
        UserInfo {
            name: "ada".into(),
            uid: "7".into(),
            groups: vec!["g".into()],
            extra: [("k".to_owned(), vec!["v".to_owned()])].into()
        }
    );
    let asked = server.asked();
    assert_eq!(asked[0].0, "/review");
    assert_eq!(asked[0].1["spec"], json!({"token": "good", "audiences": ["api"]}));
    assert_eq!(asked[0].1["apiVersion"], "authentication.k8s.io/v1");
    assert!(tokens.authenticate("good", &["other".into()]).await.unwrap().is_none(), "not for that audience");
    assert_eq!(tokens.authenticate("plain", &[]).await.unwrap().unwrap().audiences, ["api"]);
    assert!(tokens.authenticate("plain", &["other".into()]).await.unwrap().is_none());
    assert!(tokens.authenticate("unknown", &[]).await.unwrap().is_none());
    assert!(tokens.authenticate("wrong", &[]).await.unwrap_err().0.contains("it is wrong"));
    assert!(tokens.authenticate("broken", &[]).await.is_err());
    server.supervisor.shutdown().await;
}

fn ask(user: &str, verb: &str) -> Attributes {
    Attributes {
        user: Arc::new(UserInfo::new(user, ["g"])),
        verb: verb.into(),
        resource: "pods".into(),
        api_version: "v1".into(),
        is_resource_request: true,
        ..Attributes::default()
    }
}

#[tokio::test]
async fn a_webhook_decides_what_its_conditions_let_through() {
    let server = Server::start(|_, review| {
        let status = match review["spec"]["user"].as_str() {
            Some("ada") => json!({"allowed": true, "reason": "she may"}),
            Some("eve") => json!({"allowed": false, "denied": true, "reason": "she may not"}),
            Some("down") => return (500, Value::Null),
            _ => json!({"allowed": false}),
        };
        (200, json!({"status": status}))
    })
    .await;
    let build = |policy: &str, condition: &str| {
        let text = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
            "authorizers": [
                {"type": "Webhook", "name": "w", "webhook": {
                    "timeout": "2s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
                    "failurePolicy": policy, "authorizedTTL": "30s", "unauthorizedTTL": "30s",
                    "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": server.kubeconfig()},
                    "matchConditions": [{"expression": condition}]}},
                {"type": "AlwaysAllow", "name": "rest"},
            ],
        });
        let configuration = AuthorizationConfiguration::parse(&text.to_string()).unwrap();
        Union::new(configuration.build(&Arc::new(Rbac::new()), &Arc::new(NodeAuthorizer::new())).unwrap())
    };
    let union = build("Deny", "request.resourceAttributes.verb != 'list'");
    for _ in 0..3 {
        assert_eq!(union.authorize(&ask("ada", "get")).await, Decision::Allow { reason: "she may".into() });
        assert_eq!(union.authorize(&ask("eve", "get")).await, Decision::Deny { reason: "she may not".into() });
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "answers are remembered");
    assert_eq!(asked[0].1["spec"]["resourceAttributes"], json!({"verb": "get", "version": "v1", "resource": "pods"}));
    assert_eq!(asked[0].1["spec"]["groups"], json!(["g"]));
    assert!(union.authorize(&ask("eve", "list")).await.is_allowed(), "not the webhook's business");
    assert!(server.asked().is_empty());
    assert!(
        matches!(union.authorize(&ask("down", "get")).await, Decision::Deny { .. }),
        "closed when it does not answer"
    );
    let open = build("NoOpinion", "request.nonResourceAttributes.path == '/x'");
    assert!(open.authorize(&ask("eve", "get")).await.is_allowed(), "a condition that fails leaves it out");
    let closed = build("Deny", "request.nonResourceAttributes.path == '/x'");
    assert!(matches!(closed.authorize(&ask("ada", "get")).await, Decision::Deny { .. }));
    server.supervisor.shutdown().await;
}
