//! Small requests that would become large: YAML and JSON (CVE-2019-11253), patches.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_cluster::TestCluster;

use crate::http::Client;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Said while the text is read.
const UNPACKING: &str = "error converting YAML to JSON";
/// Far more than a refusal takes, far less than unpacking would.
const PATIENCE: Duration = Duration::from_secs(20);

/// Refused at once, and for what it is: `why` is said before anything was unpacked.
async fn refused(client: &Client, method: &str, url: &str, content_type: &str, body: String, why: &str) {
    let (size, start) = (body.len(), Instant::now());
    let answer = client.send(method, url, &[("content-type", content_type)], body).await;
    assert!(answer.status.is_client_error(), "{content_type} of {size} bytes: {}", answer.status);
    let message = answer.message();
    assert!(message.contains(why), "{content_type} of {size} bytes: {}", message.chars().take(300).collect::<String>());
    assert!(start.elapsed() < PATIENCE, "{content_type} of {size} bytes took {:?}", start.elapsed());
}

/// Nine lists of nine references each: a billion items when unpacked.
fn laughs(levels: usize, width: usize) -> String {
    let mut text =
        String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\ndata:\n  a0: &a0 [x, x, x, x]\n");
    for level in 1..levels {
        let references = vec![format!("*a{}", level - 1); width].join(", ");
        text.push_str(&format!("  a{level}: &a{level} [{references}]\n"));
    }
    text
}

#[tokio::test]
async fn cve_2019_11253_yaml_that_unpacks_to_a_billion_items() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    for (levels, width) in [(7, 9), (9, 9), (30, 2), (5, 500)] {
        refused(&client, "POST", MAPS, "application/yaml", laughs(levels, width), UNPACKING).await;
    }
    let merged = "a: &a {k: v}\n".to_owned() + &"b: {<<: *a}\n".repeat(100_000);
    refused(&client, "POST", MAPS, "application/yaml", merged, UNPACKING).await;
    // It is still well.
    assert_eq!(client.post(MAPS, &json!({"metadata": {"name": "after"}})).await.status, 201);
}

#[tokio::test]
async fn json_and_yaml_that_are_deep_or_wide() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let body = format!("{{\"data\":{}1{}}}", open.repeat(200_000), close.repeat(200_000));
        refused(&client, "POST", MAPS, "application/json", body.clone(), "exceeded max depth").await;
        refused(&client, "PATCH", &format!("{MAPS}/x"), "application/merge-patch+json", body, "").await;
    }
    refused(&client, "POST", MAPS, "application/yaml", "[".repeat(200_000), UNPACKING).await;
    refused(&client, "POST", MAPS, "application/yaml", "- ".repeat(200_000), UNPACKING).await;
    let wide: String = (0..150_000).map(|number| format!("\"k{number}\":\"\",")).collect();
    refused(
        &client,
        "POST",
        MAPS,
        "application/json",
        format!("{{\"metadata\":{{\"name\":\"w\"}},\"data\":{{{wide}\"k\":\"\"}}}}"),
        "",
    )
    .await;
    let digits = format!("{{\"metadata\":{{\"name\":\"n\",\"generation\":{}}}}}", "9".repeat(1_000_000));
    refused(&client, "POST", MAPS, "application/json", digits, "").await;
}

#[tokio::test]
async fn patches_that_double() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let map = json!({"metadata": {"name": "x"}, "data": {"a": "y".repeat(1000)}});
    assert_eq!(client.post(MAPS, &map).await.status, 201);
    let url = format!("{MAPS}/x");
    let doubling: Vec<Value> =
        (0..16).map(|round| json!({"op": "copy", "from": "/data", "path": format!("/data/b{round}")})).collect();
    refused(
        &client,
        "PATCH",
        &url,
        "application/json-patch+json",
        json!(doubling).to_string(),
        "accumulated size increase of copy",
    )
    .await;
    let many = vec![json!({"op": "test", "path": "/data/a", "value": "x"}); 10_001];
    refused(
        &client,
        "PATCH",
        &url,
        "application/json-patch+json",
        json!(many).to_string(),
        "allowed maximum operations",
    )
    .await;
    let deep = format!("[{{\"op\":\"add\",\"path\":\"{}\",\"value\":1}}]", "/a".repeat(100_000));
    refused(&client, "PATCH", &url, "application/json-patch+json", deep, "").await;
    let delete: Vec<Value> =
        (0..50_000).map(|number| json!({"$patch": "delete", "name": format!("c{number}")})).collect();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    client.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    assert_eq!(client.post("/api/v1/namespaces/default/pods", &pod).await.status, 201);
    let strategic = json!({"spec": {"containers": delete}}).to_string();
    let start = Instant::now();
    let pods = "/api/v1/namespaces/default/pods/p";
    let strategic_type = [("content-type", "application/strategic-merge-patch+json")];
    client.send("PATCH", pods, &strategic_type, strategic).await;
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(client.get(&url).await.json()["data"]["a"].as_str().unwrap().len(), 1000, "nothing of it was kept");
}
