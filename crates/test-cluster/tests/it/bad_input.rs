//! What clients get wrong, and what they are told.

use serde_json::json;
use test_cluster::TestCluster;

use crate::http::Client;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn client() -> (TestCluster, Client) {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    (cluster, client)
}

#[tokio::test]
async fn urls_and_methods() {
    let (_cluster, client) = client().await;
    for (method, url, code) in [
        ("GET", "/api/v1/namespaces/default/configmaps/..", 400),
        ("GET", "/api/v1/namespaces/default/configmaps/..%2f..", 400),
        ("GET", "/api/v1/namespaces/default/configmaps/a%2fb", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/b/c/d", 404),
        ("GET", "/api/v1/configmaps/a", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v9/pods", 404),
        ("GET", "/nothing/here", 404),
        ("GET", "/%ff", 400),
        ("FOO", MAPS, 405),
        ("PUT", MAPS, 405),
        ("OPTIONS", MAPS, 405),
        ("POST", "/api/v1/configmaps", 405),
        ("POST", "/api/v1/namespaces/default/configmaps/a", 405),
        ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews", 405),
        ("DELETE", "/version", 405),
    ] {
        let answer = client.send(method, url, &[JSON], "{}").await;
        assert_eq!(answer.status, code, "{method} {url}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[tokio::test]
async fn bodies() {
    let (_cluster, client) = client().await;
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (content_type, body, code, message) in [
        (
            "application/json",
            "{\"metadata\":",
            400,
            "couldn't get version/kind; json parse error: unexpected end of JSON input",
        ),
        ("application/json", "[]", 400, "json parse error"),
        ("application/json", deep.as_str(), 400, "exceeded max depth"),
        (
            "application/json",
            r#"{"data":{"a":1}}"#,
            400,
            "cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        ("application/json", r#"{"kind":"Pod","apiVersion":"v1"}"#, 400, "cannot be handled as a ConfigMap"),
        (
            "application/json",
            r#"{"kind":"ConfigMap","apiVersion":"v2"}"#,
            400,
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        ("application/json", "{}", 422, "metadata.name: Required value: name or generateName is required"),
        ("application/yaml", "a: b: c", 400, "error converting YAML to JSON"),
        ("application/vnd.kubernetes.protobuf", "k8s\0garbage", 400, ""),
        ("text/plain", "{}", 415, "the body of the request was in an unknown format"),
    ] {
        let answer = client.send("POST", MAPS, &[("content-type", content_type)], body.to_owned()).await;
        let status = answer.json();
        assert_eq!(answer.status, code, "{status}");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)));
        assert!(answer.message().contains(message), "{status}");
    }
}

#[tokio::test]
async fn sizes() {
    let (_cluster, client) = client().await;
    let answer = client.send("POST", MAPS, &[JSON], vec![b'a'; 3 * 1024 * 1024 + 1]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.message().as_str()),
        (413, "Request entity too large: limit is 3145728")
    );
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let object = json!({"metadata": {"name": "big"}, "revision": 1, "data": {"a": "x".repeat(2_000_000)}});
    assert_eq!(client.post(revisions, &object).await.status, 413);
    let annotations = json!({"metadata": {"name": "big", "annotations": {"a": "x".repeat(300_000)}}});
    let answer = client.post(MAPS, &annotations).await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.message().contains("metadata.annotations: Too long: may not be more than 262144 bytes"),
        "{}",
        answer.message()
    );
}

#[tokio::test]
async fn field_validation() {
    let (_cluster, client) = client().await;
    let body = r#"{"metadata":{"name":"x","name":"y"},"foo":1}"#;
    let strict = client.send("POST", &format!("{MAPS}?fieldValidation=Strict"), &[JSON], body).await;
    assert_eq!(strict.status, 400);
    assert!(
        strict.message().ends_with("strict decoding error: duplicate field \"metadata.name\", unknown field \"foo\""),
        "{}",
        strict.message()
    );
    let warn = client.send("POST", MAPS, &[JSON], body).await;
    assert_eq!(warn.status, 201);
    let warnings: Vec<_> = warn.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(warnings, ["299 - \"duplicate field \\\"metadata.name\\\"\"", "299 - \"unknown field \\\"foo\\\"\""]);
    let ignore =
        client.send("POST", &format!("{MAPS}?fieldValidation=Ignore"), &[JSON], body.replace("\"y\"", "\"z\"")).await;
    assert_eq!((ignore.status.as_u16(), ignore.headers.get("warning")), (201, None));
    let wrong = client.send("POST", &format!("{MAPS}?fieldValidation=Maybe"), &[JSON], body).await;
    assert_eq!(wrong.status, 422);
}

#[tokio::test]
async fn queries() {
    let (_cluster, client) = client().await;
    for (query, code, message) in [
        ("limit=x", 400, "strconv.ParseInt"),
        ("labelSelector=a%20b%20c", 400, "unable to parse requirement"),
        ("fieldSelector=spec.foo%3Dx", 400, "is not a known field selector"),
        ("continue=abc", 400, "invalid continue token: continue key is not valid"),
        ("resourceVersion=abc", 400, "invalid resource version: resourceVersion: Invalid value"),
        ("watch=1&resourceVersion=abc", 422, "configmaps \"\" is invalid: resourceVersion: Invalid value"),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=1&resourceVersionMatch=Foo", 422, "Unsupported value: \"Foo\""),
        (
            "watch=1&sendInitialEvents=true",
            422,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        ("resourceVersion=99999999&resourceVersionMatch=NotOlderThan", 504, "Too large resource version"),
    ] {
        let answer = client.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(answer.status, code, "{query}");
        assert!(answer.message().contains(message), "{query}: {}", answer.message());
    }
    for (accept, code) in [("text/html", 406), ("application/json;as=Nonsense;g=x;v=y", 406), ("*/*", 200)] {
        assert_eq!(client.send("GET", MAPS, &[("accept", accept)], "").await.status, code, "{accept}");
    }
    let client = &client;
    let patch = |kind: &'static str, body: &'static str| async move {
        client.send("PATCH", "/api/v1/namespaces/default", &[("content-type", kind)], body).await
    };
    assert_eq!(patch("application/json", "{}").await.status, 415);
    assert_eq!(patch("application/merge-patch+json", "nope").await.status, 400);
}
