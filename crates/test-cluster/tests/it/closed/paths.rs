//! Paths and names that mean something else to one part of the server than to another: nothing is reached by a spelling
//! that is not reached plainly, and nothing is stored under a name that leads elsewhere.

use registry::UserInfo;
use serde_json::json;
use test_cluster::TestCluster;

use crate::http::Client;

#[tokio::test]
async fn names_that_lead_elsewhere_are_not_stored() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    let maps = "/api/v1/namespaces/default/configmaps";
    let before = cluster.server().registry().store().resource("configmaps").snapshot().len();
    for name in ["..", ".", "../x", "a/b", "a%2fb", "%2e%2e", "a\\b", "a\u{0}b", "a\nb", "", "-a", "a b", "\u{202e}a"] {
        let answer = admin.post(maps, &json!({"metadata": {"name": name}})).await;
        assert_eq!(answer.status, 422, "{name:?}: {}", answer.json());
        let answer = admin.post(maps, &json!({"metadata": {"generateName": format!("{name}/")}})).await;
        assert!(answer.status.is_client_error(), "generateName {name:?}: {}", answer.json());
        let answer = admin.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
        assert_eq!(answer.status, 422, "namespace {name:?}: {}", answer.json());
        let role = json!({"metadata": {"name": name}, "rules": []});
        let answer = admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
        // Roles may have names that others may not, but none that leads elsewhere.
        let leads = ["..", ".", ""].contains(&name) || name.contains('/') || name.contains('%');
        assert_eq!(answer.status == 422, leads, "role {name:?}: {}", answer.json());
    }
    let moved = json!({"metadata": {"name": "x", "namespace": "kube-system"}});
    assert_eq!(admin.post(maps, &moved).await.status, 400, "another namespace than the URL's");
    assert_eq!(cluster.server().registry().store().resource("configmaps").snapshot().len(), before);
}

#[tokio::test]
async fn no_spelling_reaches_what_is_not_allowed() {
    let cluster = TestCluster::start().await.unwrap();
    let admin = Client::admin(&cluster);
    let marker = "the-secret-itself";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": marker}});
    assert_eq!(admin.post("/api/v1/namespaces/kube-system/secrets", &secret).await.status, 201);
    let encoded = admin.get("/api/v1/namespaces/kube-system/secrets/s").await.json()["data"]["k"].clone();
    let encoded = encoded.as_str().unwrap().to_owned();
    // He may read everything in his namespace, and config maps everywhere.
    let rule = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let role = json!({"metadata": {"name": "all"}, "rules": [rule]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await;
    let subject = json!({"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"});
    let reference =
        |kind: &str, name: &str| json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": {"name": "b"}, "subjects": [subject], "roleRef": reference("Role", "all")});
    admin.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await;
    let reader = json!({"metadata": {"name": "maps"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps", "namespaces"], "verbs": ["get", "list", "watch"]},
        {"nonResourceURLs": ["/healthz", "/version/*"], "verbs": ["get"]}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &reader).await;
    let binding =
        json!({"metadata": {"name": "b"}, "subjects": [subject], "roleRef": reference("ClusterRole", "maps")});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let eve = Client::of(&cluster, UserInfo::new("eve", [UserInfo::AUTHENTICATED_GROUP]));
    assert_eq!(eve.get("/api/v1/namespaces/default/secrets").await.status, 200, "his own namespace");
    assert_eq!(eve.get("/api/v1/namespaces/kube-system/secrets/s").await.status, 403);
    for url in [
        "/api/v1/namespaces/default/secrets/../../kube-system/secrets/s",
        "/api/v1/namespaces/default/../kube-system/secrets/s",
        "/api/v1/namespaces/default%2f..%2fkube-system/secrets/s",
        "/api/v1/namespaces/default/secrets/..%2f..%2fkube-system%2fsecrets%2fs",
        "/api/v1/namespaces/default/secrets/%2e%2e/%2e%2e/kube-system/secrets/s",
        "/api/v1/namespaces/default%00kube-system/secrets/s",
        "/api/v1/namespaces/kube-system/configmaps/../secrets/s",
        "/api/v1/namespaces/kube-system/configmaps/x/../../secrets/s",
        "/api/v1/namespaces/kube-system/configmaps%2f..%2fsecrets/s",
        "/healthz/../api/v1/namespaces/kube-system/secrets/s",
        "/version/../api/v1/namespaces/kube-system/secrets/s",
        "/version/..%2fapi/v1/namespaces/kube-system/secrets/s",
        "//api/v1/namespaces/kube-system/secrets/s",
        "/api//v1/namespaces/kube-system/secrets/s",
        "/api/v1//namespaces/kube-system/secrets/s",
        "/api/v1/namespaces//kube-system/secrets/s",
        "/api/v1/namespaces/kube-system//secrets/s",
        "/./api/v1/namespaces/kube-system/secrets/s",
        "/API/v1/namespaces/kube-system/secrets/s",
        "/api/v1/Namespaces/kube-system/secrets/s",
        "/api/v1/namespaces/kube-system/Secrets/s",
        "/api/v1/namespaces/kube-system/secrets/s/",
        "/api/v1/namespaces/kube-system/secrets/s/status",
        "/api/v1/namespaces/kube-system/secrets/s;x=y",
        "/api/v1/namespaces/kube-system/secrets?fieldSelector=metadata.name%3Ds",
        "/api/v1/namespaces/kube-system/secrets?fieldSelector=metadata.namespace%3Ddefault",
        "/api/v1/secrets",
        "/api/v1/secrets?fieldSelector=metadata.namespace%3Ddefault",
        "/api/v1/secrets?namespace=default",
        "/api/v1/watch/namespaces/kube-system/secrets/s",
        "/api/v1/watch/secrets",
        "/api/v1/proxy/namespaces/kube-system/secrets/s",
        "/api/v1/namespaces/kube-system/secrets?watch=true&timeoutSeconds=1",
        "/api/v1/namespaces/kube-system/secrets?watch=0",
        "/apis/v1/namespaces/kube-system/secrets/s",
        "/apis//v1/namespaces/kube-system/secrets/s",
        "/api/v1/namespaces/kube-system/secrets/s?as=admin&impersonate-user=admin",
        "/api/v1/namespaces/default/services/https:kubernetes:/proxy/api/v1/namespaces/kube-system/secrets/s",
    ] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let answer = eve.send(method, url, &[("content-type", "application/json")], "").await;
            let text = String::from_utf8_lossy(&answer.body);
            assert!(!text.contains(marker) && !text.contains(&encoded), "{method} {url} answered {text}");
            let harmless = method == "HEAD" || url.contains("fieldSelector=metadata.namespace");
            assert!(harmless || !answer.status.is_success(), "{method} {url}: {} {text}", answer.status);
        }
    }
    for header in ["x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-http-method-override", "x-remote-user"] {
        let headers = [(header, "/api/v1/namespaces/kube-system/secrets/s")];
        let answer = eve.send("GET", "/api/v1/namespaces/kube-system/secrets/s", &headers, "").await;
        assert_eq!(answer.status, 403, "{header}");
    }
}
