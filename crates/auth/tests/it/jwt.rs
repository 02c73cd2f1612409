//! Tokens of an issuer that is found and asked over HTTPS.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use auth::{
    TokenAuthenticator as _,
    authn::jwt::{AuthenticationConfiguration, JwtAuthenticators},
    jose::{Algorithm, SigningKey},
};
use jiff::Timestamp;
use parking_lot::Mutex;
use registry::UserInfo;
use serde_json::{Value, json};

use crate::server::Server;

fn key() -> SigningKey {
    SigningKey::from_pem(&pki::signing_key(tempfile::tempdir().unwrap().path()).unwrap().0).unwrap()
}

struct Issuer {
    server: Server,
    keys: Arc<Mutex<Vec<Value>>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(first: &SigningKey) -> Self {
        let keys = Arc::new(Mutex::new(vec![first.public_key().to_jwk()]));
        let fetches = Arc::new(AtomicUsize::new(0));
        let port = Arc::new(AtomicUsize::new(0));
        let (set, count, own) = (keys.clone(), fetches.clone(), port.clone());
        let server = Server::start(move |path, _| {
            let url = format!("https://localhost:{}", own.load(Ordering::Relaxed));
            match path {
                "/.well-known/openid-configuration" => (200, json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
                "/keys" => {
                    count.fetch_add(1, Ordering::Relaxed);
                    (200, json!({"keys": *set.lock()}))
                }
                _ => (404, Value::Null),
            }
        })
        .await;
        port.store(server.address.port().into(), Ordering::Relaxed);
        Self { server, keys, fetches }
    }

    fn configuration(&self, rest: &Value) -> String {
        let mut jwt = json!({
            "issuer": {"url": self.server.url(), "certificateAuthority": self.server.authority, "audiences": ["us", "others"],
                "audienceMatchPolicy": "MatchAny"},
            "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
        });
        for (name, value) in rest.as_object().unwrap() {
            jwt[name] = value.clone();
        }
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]})
            .to_string()
    }

    async fn authenticators(&self, rest: &Value) -> Arc<JwtAuthenticators> {
        let configuration = AuthenticationConfiguration::parse(&self.configuration(rest)).unwrap();
        let all = JwtAuthenticators::start(&configuration, Algorithm::ALL.to_vec(), vec![], &self.server.supervisor);
        let all = all.unwrap();
        all.ready().await;
        all
    }

    fn token(&self, key: &SigningKey, rest: &Value) -> String {
        let now = Timestamp::now().as_second();
        let mut claims =
            json!({"iss": self.server.url(), "aud": "us", "exp": now + 60, "iat": now, "sub": "ada", "jti": "7"});
        for (name, value) in rest.as_object().unwrap() {
            claims[name] = value.clone();
        }
        key.sign(&claims).unwrap()
    }
}

async fn ask(all: &JwtAuthenticators, token: &str) -> Result<Option<UserInfo>, String> {
    all.authenticate(token, &[]).await.map(|found| found.map(|identity| identity.user)).map_err(|error| error.0)
}

#[tokio::test]
async fn tokens_are_checked_and_keys_rotate() {
    let (first, second) = (key(), key());
    let issuer = Issuer::start(&first).await;
    let all = issuer.authenticators(&json!({})).await;
    let user = ask(&all, &issuer.token(&first, &json!({}))).await.unwrap().unwrap();
    assert_eq!(user.name, "oidc:ada");
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=7"]);
    let now = Timestamp::now().as_second();
    for (wrong, why) in [
        (json!({"aud": "them"}), "expected audience"),
        (json!({"aud": []}), "expected audience"),
        (json!({"exp": now - 1}), "expired"),
        (json!({"exp": null}), "no expiry"),
        (json!({"nbf": now + 3600}), "nbf"),
        (json!({"sub": 7}), "claim not present"),
    ] {
        let error = ask(&all, &issuer.token(&first, &wrong)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let elsewhere = issuer.token(&first, &json!({"iss": "https://other"}));
    assert_eq!(ask(&all, &elsewhere).await, Ok(None), "another authenticator's");
    // A key that is not known is looked for, but not on and on.
    let fetched = issuer.fetches.load(Ordering::Relaxed);
    let unknown = issuer.token(&second, &json!({}));
    for _ in 0..20 {
        assert!(ask(&all, &unknown).await.unwrap_err().contains("no key of the issuer"));
    }
    assert!(issuer.fetches.load(Ordering::Relaxed) <= fetched + 2);
    issuer.keys.lock().push(second.public_key().to_jwk());
    let mut waited = 0;
    while ask(&all, &unknown).await.is_err() {
        // The least time between two fetches has to pass.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        waited += 1;
        assert!(waited < 50, "the new key is not found");
    }
    let (_, rest) = unknown.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{rest}");
    assert!(ask(&all, &none).await.unwrap_err().contains("unsupported algorithm"));
    issuer.server.supervisor.shutdown().await;
}

#[tokio::test]
async fn expressions_map_and_judge() {
    let key = key();
    let issuer = Issuer::start(&key).await;
    let rules = json!({
        "claimMappings": {
            "username": {"expression": "claims.email.split('@')[0] + ':external'"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"claim": "sub"},
            "extra": [
                {"key": "example.org/tenant", "valueExpression": "claims.tenant"},
                {"key": "example.org/none", "valueExpression": "''"},
            ],
        },
        "claimValidationRules": [
            {"expression": "claims.?email_verified.orValue(true) == true", "message": "the address is not verified"},
            {"claim": "hd", "requiredValue": "example.com"},
        ],
        "userValidationRules": [
            {"expression": "!user.username.startsWith('system:')", "message": "reserved"},
            {"expression": "user.groups.all(group, !group.startsWith('system:'))", "message": "reserved group"},
        ],
    });
    let all = issuer.authenticators(&rules).await;
    let good = json!({"email": "ada@x", "roles": "a,b", "tenant": ["t"], "hd": "example.com"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        issuer.token(&key, &claims)
    };
    let user = ask(&all, &with("x", json!(1))).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("ada:external", "ada"));
    assert_eq!(user.groups, ["a", "b"]);
    assert_eq!(user.extra["example.org/tenant"], ["t"]);
    assert!(!user.extra.contains_key("example.org/none"));
    for (name, value, why) in [
        ("email_verified", json!(false), "the address is not verified"),
        ("hd", json!("other"), "value does not match"),
        ("email", json!("system:x@y"), "reserved"),
        ("roles", json!("a,system:masters"), "reserved group"),
        ("email", json!(7), "username claim expression"),
    ] {
        let error = ask(&all, &with(name, value)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    // A configuration that is wrong changes nothing, one that is right counts.
    let wrong = issuer.configuration(&json!({"claimMappings": {"username": {"expression": "claims.email"}}}));
    let wrong = AuthenticationConfiguration::parse(&wrong).unwrap();
    assert!(all.replace(&wrong, || ()).unwrap_err().to_string().contains("claims.email_verified must be used"));
    assert!(ask(&all, &with("x", json!(1))).await.unwrap().is_some());
    let (sender, counts) = tokio::sync::oneshot::channel();
    let changed = AuthenticationConfiguration::parse(&issuer.configuration(&json!({}))).unwrap();
    all.replace(&changed, move || sender.send(()).unwrap()).unwrap();
    counts.await.unwrap();
    assert_eq!(ask(&all, &with("x", json!(1))).await.unwrap().unwrap().name, "oidc:ada");
    issuer.server.supervisor.shutdown().await;
}

/// Groups that the token does not carry: it says where they are, and who vouches for them is another issuer.
#[tokio::test]
async fn groups_are_got_from_where_the_token_says() {
    let (own, graph, stranger) = (key(), key(), key());
    let (answer, base) = (Arc::new(Mutex::new(Value::Null)), Arc::new(Mutex::new(String::new())));
    let (own_jwk, graph_jwk) = (own.public_key().to_jwk(), graph.public_key().to_jwk());
    let (served, url) = (answer.clone(), base.clone());
    let server = Server::start(move |path, sent| {
        let url = url.lock().clone();
        let found =
            |issuer: &str| json!({"issuer": format!("{url}{issuer}"), "jwks_uri": format!("{url}{issuer}/keys")});
        match path {
            "/.well-known/openid-configuration" => (200, found("")),
            "/keys" => (200, json!({"keys": [own_jwk]})),
            "/graph/.well-known/openid-configuration" => (200, found("/graph")),
            "/graph/keys" => (200, json!({"keys": [graph_jwk]})),
            "/graph/groups" if *sent == json!("Bearer shown") => (200, served.lock().clone()),
            _ => (404, Value::Null),
        }
    })
    .await;
    *base.lock() = server.url();
    let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{
        "issuer": {"url": server.url(), "certificateAuthority": server.authority, "audiences": ["us"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": "g:"}},
    }]});
    let configuration = AuthenticationConfiguration::parse(&configuration.to_string()).unwrap();
    let all = JwtAuthenticators::start(&configuration, Algorithm::ALL.to_vec(), vec![], &server.supervisor).unwrap();
    all.ready().await;
    let now = Timestamp::now().as_second();
    let claims = |issuer: &str, rest: Value| {
        let mut claims =
            json!({"iss": format!("{}{issuer}", server.url()), "aud": "us", "exp": now + 60, "sub": "ada"});
        claims.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        claims
    };
    let token = |rest: Value| own.sign(&claims("", rest)).unwrap();
    let endpoint = format!("{}/graph/groups", server.url());
    let elsewhere = |source: Value| json!({"_claim_names": {"groups": "graph"}, "_claim_sources": {"graph": source}});
    let shown = elsewhere(json!({"endpoint": endpoint, "access_token": "shown"}));

    *answer.lock() = graph.sign(&claims("/graph", json!({"groups": ["dev", "ops"]}))).unwrap().into();
    assert_eq!(ask(&all, &token(shown.clone())).await.unwrap().unwrap().groups, ["g:dev", "g:ops"]);
    let mut both = shown.clone();
    both["groups"] = json!(["here"]);
    assert_eq!(ask(&all, &token(both)).await.unwrap().unwrap().groups, ["g:here"], "what is there is not looked for");
    // Neither a claim that is said to be within the token nor one of another name is looked for.
    for none in [elsewhere(json!({"JWT": "x"})), json!({"_claim_names": {"other": "graph"}, "_claim_sources": {}})] {
        assert_eq!(ask(&all, &token(none)).await.unwrap().unwrap().groups, [""; 0]);
    }
    for (rest, why) in [
        (elsewhere(json!({"endpoint": endpoint})), "while getting distributed claim \"groups\""),
        (json!({"_claim_names": {"groups": "graph"}}), "no claim sources"),
        (json!({"_claim_names": {"groups": "x"}, "_claim_sources": {}}), "missing in _claims_sources"),
        (json!({"_claim_names": "x"}), "error parsing distributed claim names"),
    ] {
        let error = ask(&all, &token(rest)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let groups = json!({"groups": ["system:masters"]});
    for (answered, why) in [
        (stranger.sign(&claims("/graph", groups.clone())).unwrap(), "failed to verify signature"),
        (graph.sign(&claims("", groups.clone())).unwrap(), "failed to verify signature"),
        (graph.sign(&claims("/graph", json!({"groups": [], "aud": "them"}))).unwrap(), "expected audience"),
        (graph.sign(&claims("/graph", json!({"groups": [], "exp": now - 1}))).unwrap(), "expired"),
        (graph.sign(&claims("/graph", json!({}))).unwrap(), "did not contain claim: groups"),
        ("nonsense".to_owned(), "did not answer with a token"),
    ] {
        *answer.lock() = answered.into();
        let error = ask(&all, &token(shown.clone())).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    server.supervisor.shutdown().await;
}

#[test]
fn mistakes_of_a_configuration_are_said() {
    let supervisor = supervisor::Supervisor::new();
    let check = |jwt: Value, expected: &str| {
        let text =
            json!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration", "jwt": jwt});
        let configuration = AuthenticationConfiguration::parse(&text.to_string()).unwrap();
        let own = vec!["https://kubernetes.default.svc".to_owned()];
        let error = JwtAuthenticators::start(&configuration, vec![], own, &supervisor).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}\nshould say\n{expected}");
    };
    let username = json!({"username": {"claim": "sub", "prefix": ""}});
    let issuer = |url: &str| json!({"url": url, "audiences": ["a"]});
    check(json!([{"issuer": issuer("http://x"), "claimMappings": username}]), "URL scheme must be https");
    check(json!([{"issuer": issuer("https://kubernetes.default.svc"), "claimMappings": username}]), "must not overlap");
    check(
        json!([{"issuer": {"url": "https://x"}, "claimMappings": username}]),
        "jwt[0].issuer.audiences: Required value",
    );
    check(
        json!([{"issuer": issuer("https://x")}]),
        "jwt[0].claimMappings.username: Required value: claim or expression",
    );
    check(
        json!([{"issuer": issuer("https://x"), "claimMappings": {"username": {"claim": "sub"}}}]),
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required",
    );
    check(
        json!([{"issuer": issuer("https://x"), "claimMappings": {"username": {"claim": "sub", "prefix": "", "expression": "a"}}}]),
        "claim and expression can't both be set",
    );
    check(
        json!([{"issuer": issuer("https://x"), "claimMappings": {"username": {"expression": "claims."}}}]),
        "compilation failed",
    );
    let twice = json!({"issuer": issuer("https://x"), "claimMappings": username});
    check(json!([twice, twice]), "jwt[1].issuer.url: Duplicate value");
    check(
        json!([{"issuer": issuer("https://x"), "claimMappings": {"username": {"claim": "sub", "prefix": ""},
            "extra": [{"key": "kubernetes.io/x", "valueExpression": "'a'"}]}}]),
        "reserved for Kubernetes use",
    );
    check(
        json!([{"issuer": issuer("https://x"), "claimMappings": username, "claimValidationRules": [{"expression": "claims.sub"}]}]),
        "must evaluate to bool",
    );
    assert!(
        AuthenticationConfiguration::parse(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwts: []"
        )
        .is_err()
    );
}
