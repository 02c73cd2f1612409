//! Tables, bare metadata, YAML and protobuf.

use serde_json::json;
use test_cluster::TestCluster;

use crate::http::Client;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_list_has_many_forms() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    for name in ["a", "b"] {
        client.post(MAPS, &json!({"metadata": {"name": name}, "data": {"k": "v"}})).await;
    }
    let client = &client;
    let get = |accept: &'static str| async move { client.send("GET", MAPS, &[("accept", accept)], "").await };
    let table = get("application/json;as=Table;v=v1;g=meta.k8s.io").await.json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][1]["cells"][0], "b");
    assert_eq!(table["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][1]["object"]["metadata"]["name"], "b");

    let metadata = get("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await.json();
    assert_eq!((&metadata["kind"], &metadata["items"][0]["data"]), (&json!("PartialObjectMetadataList"), &json!(null)));

    let bare = get("application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await;
    let bare = registry::wire::from_protobuf(&bare.body, None).unwrap();
    let bare: serde_json::Value = serde_json::from_slice(&bare).unwrap();
    assert_eq!(
        (&bare["kind"], &bare["items"][0]["metadata"]["name"]),
        (&json!("PartialObjectMetadataList"), &json!("a"))
    );

    let yaml = get("application/yaml").await;
    assert!(String::from_utf8_lossy(&yaml.body).contains("kind: ConfigMapList"));

    let protobuf = get("application/vnd.kubernetes.protobuf").await;
    assert_eq!(protobuf.headers["content-type"], "application/vnd.kubernetes.protobuf");
    let decoded = registry::wire::from_protobuf(&protobuf.body, None).unwrap();
    let decoded: serde_json::Value = serde_json::from_slice(&decoded).unwrap();
    assert_eq!((&decoded["kind"], &decoded["items"][1]["data"]["k"]), (&json!("ConfigMapList"), &json!("v")));
}

#[tokio::test]
async fn protobuf_goes_in_and_out() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"k": "v"}});
    let body = registry::wire::to_protobuf(object.to_string().as_bytes()).unwrap();
    const TYPE: &str = "application/vnd.kubernetes.protobuf";
    let created = client.send("POST", MAPS, &[("content-type", TYPE), ("accept", TYPE)], body).await;
    assert_eq!(created.status, 201);
    let json = client.get(&format!("{MAPS}/p")).await.json();
    assert_eq!(json["data"], json!({"k": "v"}));
    let got = client.send("GET", &format!("{MAPS}/p"), &[("accept", TYPE)], "").await;
    assert_eq!(got.body, created.body);
}

#[tokio::test]
async fn one_event_has_two_spellings() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "message": "m", "reason": "R", "type": "Normal",
        "reportingComponent": "x", "reportingInstance": "y", "source": {"component": "x"},
    });
    let created = client.post("/api/v1/namespaces/default/events", &event).await;
    assert_eq!(created.status, 201, "{}", created.json());
    let other = client.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.json();
    assert_eq!(
        (&other["apiVersion"], &other["note"], &other["regarding"]["name"]),
        (&json!("events.k8s.io/v1"), &json!("m"), &json!("p"))
    );
}
