//! OIDC and webhook flags: who somebody is and what they may do is said by others.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use auth::jose::SigningKey;
use serde_json::{Value, json};

use super::{
    ask, client_with, replace,
    server::{Server, text},
    until, who_am_i,
};
use crate::cluster::Cluster;

/// Of P-521: the largest that upstream takes, and not one that the server makes itself.
const KEY: &str = include_str!("../../../../auth/src/jose/testdata/ec521.pem");

struct Outside {
    server: Server,
    /// What was shown to the webhooks, and what they were asked.
    shown: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Outside {
    async fn start(key: &SigningKey) -> Self {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (jwk, log) = (key.public_key().to_jwk(), shown.clone());
        let server = Server::https(move |path, headers, body| {
            let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
            let issuer = format!("https://{host}");
            let header = headers.get("authorization").and_then(|header| header.to_str().ok()).unwrap_or_default();
            let review: Value = serde_json::from_slice(body).unwrap_or_default();
            let answer = match path {
                "/.well-known/openid-configuration" => json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}),
                "/keys" => json!({"keys": [jwk]}),
                "/authenticate" => {
                    log.lock().unwrap().push((path.to_owned(), header.to_owned(), review.clone()));
                    let known = review["spec"]["token"] == "opaque";
                    let user = json!({"username": "grace", "groups": ["ops"]});
                    json!({"apiVersion": review["apiVersion"], "kind": "TokenReview",
                        "status": {"authenticated": known, "user": user}})
                }
                "/authorize" => {
                    log.lock().unwrap().push((path.to_owned(), header.to_owned(), review.clone()));
                    let allowed = review["spec"]["resourceAttributes"]["resource"] == "configmaps";
                    json!({"apiVersion": review["apiVersion"], "kind": "SubjectAccessReview",
                        "status": {"allowed": allowed, "reason": "the webhook says so"}})
                }
                _ => return (404, String::new()),
            };
            (200, answer.to_string())
        })
        .await;
        Self { server, shown }
    }

    fn token(&self, key: &SigningKey, seconds: i64, audience: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let end = i64::try_from(now).unwrap() + seconds;
        let claims = json!({"iss": self.server.url(""), "aud": audience, "exp": end, "name": "ada", "roles": ["dev"], "hd": "here"});
        key.sign(&claims).expect("sign")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_say_who_somebody_is_and_what_they_may() {
    let key = SigningKey::from_pem(KEY).expect("a key");
    let outside = Outside::start(&key).await;
    let server = &outside.server;
    let authority = server.file("authority.pem", &server.authority);
    let credentials = server.file("webhook.token", "first\n");
    let authn = server.kubeconfig("authn", "/authenticate", &json!({"tokenFile": credentials}));
    let authz = server.kubeconfig("authz", "/authorize", &json!({"username": "api", "password": "pw"}));
    let policy = server.file(
        "policy.jsonl",
        "# one a line\n{\"apiVersion\":\"abac.authorization.kubernetes.io/v1beta1\",\"kind\":\"Policy\",\"spec\":{\"user\":\"oidc:ada\",\"namespace\":\"*\",\"resource\":\"pods\",\"readonly\":true}}\n",
    );
    let mut cluster = Cluster::control_plane();
    cluster.flags([
        format!("--oidc-issuer-url={}", server.url("")),
        "--oidc-client-id=us".to_owned(),
        format!("--oidc-ca-file={}", text(&authority)),
        "--oidc-username-claim=name".to_owned(),
        "--oidc-username-prefix=oidc:".to_owned(),
        "--oidc-groups-claim=roles".to_owned(),
        "--oidc-groups-prefix=team-".to_owned(),
        "--oidc-required-claim=hd=here".to_owned(),
        "--oidc-signing-algs=ES512".to_owned(),
        format!("--authentication-token-webhook-config-file={}", text(&authn)),
        "--authentication-token-webhook-version=v1".to_owned(),
        "--authentication-token-webhook-cache-ttl=1ms".to_owned(),
        "--authorization-mode=Node,RBAC,ABAC,Webhook".to_owned(),
        format!("--authorization-policy-file={}", text(&policy)),
        format!("--authorization-webhook-config-file={}", text(&authz)),
        "--authorization-webhook-version=v1".to_owned(),
    ]);
    cluster.start();

    let ada = client_with(&cluster, Some(&outside.token(&key, 600, "us"))).await;
    until("the issuer is found", || async { who_am_i(&ada).await.is_some() }).await;
    let (name, groups) = who_am_i(&ada).await.expect("known");
    assert_eq!(
        (name.as_str(), groups.as_slice()),
        ("oidc:ada", &["team-dev".to_owned(), "system:authenticated".to_owned()][..])
    );
    for wrong in [outside.token(&key, -600, "us"), outside.token(&key, 600, "them"), "opaque2".to_owned()] {
        assert_eq!(who_am_i(&client_with(&cluster, Some(&wrong)).await).await, None, "{wrong}");
    }

    let grace = client_with(&cluster, Some("opaque")).await;
    let (name, groups) = who_am_i(&grace).await.expect("known");
    assert_eq!((name.as_str(), groups[0].as_str()), ("grace", "ops"));
    let shown = |path: &str| {
        let shown = outside.shown.lock().unwrap();
        shown.iter().rev().find(|(asked, _, _)| asked == path).cloned().expect("it was asked")
    };
    let (_, header, review) = shown("/authenticate");
    assert_eq!((header.as_str(), &review["apiVersion"]), ("Bearer first", &json!("authentication.k8s.io/v1")));
    // The file of credentials is read with each call.
    replace(&credentials, "second\n");
    until("the new credentials are shown", || async {
        who_am_i(&grace).await;
        shown("/authenticate").1 == "Bearer second"
    })
    .await;

    // What nobody else allows, ABAC and then the webhook are asked about.
    let (pods, maps) = ("/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps");
    assert_eq!(ask(&ada, "GET", pods, None).await.0, 200, "the policy file allows it");
    assert_eq!(ask(&grace, "GET", pods, None).await.0, 403);
    assert_eq!(ask(&grace, "GET", maps, None).await.0, 200, "the webhook allows it");
    let (_, header, review) = shown("/authorize");
    assert_eq!(header, "Basic YXBpOnB3");
    assert_eq!(
        (&review["spec"]["user"], &review["spec"]["resourceAttributes"]["verb"]),
        (&json!("grace"), &json!("list"))
    );
    let (code, status) = ask(&ada, "DELETE", &format!("{pods}/x"), None).await;
    assert_eq!((code, status["reason"].as_str()), (403, Some("Forbidden")), "the policy is only for reading: {status}");
    let metrics = super::ask_for_text(&cluster.client().await, "GET", "/metrics", None).await.2;
    for line in [
        "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"abac\",type=\"ABAC\"} 1",
        "apiserver_authorization_decisions_total{decision=\"allowed\",name=\"default\",type=\"Webhook\"}",
        "authentication_attempts{result=\"error\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
