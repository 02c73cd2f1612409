//! What is served, told in every way clients ask.

use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::http::Client;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn aggregated_discovery_agrees_with_the_plain_one() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let list = client.send("GET", "/apis", &[("accept", AGGREGATED)], "").await;
    assert_eq!(list.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    for group in list.json()["items"].as_array().unwrap() {
        let name = group["metadata"]["name"].as_str().unwrap();
        for version in group["versions"].as_array().unwrap() {
            let path = format!("/apis/{name}/{}", version["version"].as_str().unwrap());
            let plain = client.get(&path).await.json();
            let names: Vec<&Value> = plain["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|resource| &resource["name"])
                .filter(|name| !name.as_str().unwrap().contains('/'))
                .collect();
            let resources = version["resources"].as_array().unwrap();
            assert_eq!(resources.iter().map(|resource| &resource["resource"]).collect::<Vec<_>>(), names, "{path}");
        }
    }
    let etag = list.headers["etag"].to_str().unwrap().to_owned();
    let again = client.send("GET", "/apis", &[("accept", AGGREGATED), ("if-none-match", &etag)], "").await;
    assert_eq!(again.status, 304);
    let groups = client.get("/apis").await.json();
    assert_eq!(groups["kind"], "APIGroupList");
}

#[tokio::test]
async fn subresources_say_their_kind() {
    let cluster = TestCluster::start().await.unwrap();
    let list = Client::admin(&cluster).get("/api/v1").await.json();
    let find = |name: &str| list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(find("pods")["shortNames"], json!(["po"]));
    let eviction = find("pods/eviction");
    assert_eq!((&eviction["group"], &eviction["kind"]), (&json!("policy"), &json!("Eviction")));
    assert_eq!(find("nodes")["namespaced"], false);
    // Upstream says a group only where it is another than the list's.
    assert_eq!((find("pods/exec").get("group"), find("pods/exec").get("version")), (None, None));
    assert!(!find("namespaces")["verbs"].as_array().unwrap().contains(&json!("deletecollection")));
    let client = Client::admin(&cluster);
    let aggregated = client.send("GET", "/api", &[("accept", AGGREGATED)], "").await.json();
    let resources = aggregated["items"][0]["versions"][0]["resources"].as_array().unwrap();
    let pods = resources.iter().find(|resource| resource["resource"] == "pods").unwrap();
    assert_eq!(pods["responseKind"], json!({"group": "", "version": "", "kind": "Pod"}));
    let eviction = pods["subresources"].as_array().unwrap().iter().find(|entry| entry["subresource"] == "eviction");
    assert_eq!(eviction.unwrap()["responseKind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    let all_at_once = client.send("DELETE", "/api/v1/namespaces", &[], "").await;
    assert_eq!(all_at_once.status, 405);
}

#[tokio::test]
async fn openapi_and_health_answer() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let index = client.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = client.get(url).await.json();
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let v2 = client.send("GET", "/openapi/v2", &[("accept", accept)], "").await;
    assert!(v2.status == 200 && v2.body.len() > 100_000);
    assert_eq!(client.get("/openapi/v2").await.json()["swagger"], "2.0");
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        assert_eq!(client.get(path).await.body, "ok", "{path}");
    }
    let verbose = client.get("/livez?verbose").await;
    assert!(String::from_utf8_lossy(&verbose.body).ends_with("livez check passed\n"));
    assert_eq!(client.get("/version").await.json()["minor"], "36");
    assert!(String::from_utf8_lossy(&client.get("/metrics").await.body).contains("apiserver_request_total"));
}
