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

const CBOR: &str = "application/cbor";

fn from_cbor(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(&registry::wire::from_cbor(body).unwrap()).unwrap()
}

#[tokio::test]
async fn cbor_goes_in_and_out() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let secrets = "/api/v1/namespaces/default/secrets";
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "data": {"k": "AAEC/w=="}});
    let body = registry::wire::to_cbor(object.to_string().as_bytes()).unwrap();
    assert!(body.windows(6).any(|window| window == [0xd6, 0x44, 0, 1, 2, 0xff]), "bytes travel as bytes");
    let created = client.send("POST", secrets, &[("content-type", CBOR), ("accept", CBOR)], body).await;
    assert_eq!((created.status.as_u16(), &created.headers["content-type"]), (201, &CBOR.parse().unwrap()));
    assert_eq!(from_cbor(&created.body)["data"]["k"], "AAEC/w==");
    assert_eq!(client.get(&format!("{secrets}/c")).await.json()["data"]["k"], "AAEC/w==");
    let url = format!("{secrets}/c");
    let got = client.send("GET", &url, &[("accept", CBOR)], "").await;
    assert_eq!(got.body, created.body, "deterministic");

    for (accept, kind, items) in [
        ("application/cbor", "SecretList", "items"),
        ("application/cbor;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "PartialObjectMetadataList", "items"),
        ("application/cbor;as=Table;g=meta.k8s.io;v=v1", "Table", "rows"),
    ] {
        let list = from_cbor(&client.send("GET", secrets, &[("accept", accept)], "").await.body);
        assert_eq!((&list["kind"], list[items].as_array().unwrap().len()), (&json!(kind), 1), "{accept}");
    }

    let watch = format!("{secrets}?watch=1&resourceVersion=0&timeoutSeconds=1");
    let frames = client.send("GET", &watch, &[("accept", "application/cbor-seq, application/cbor")], "").await;
    assert_eq!(frames.headers["content-type"], "application/cbor-seq");
    let (event, length) = schema::cbor::decode_first(&frames.body, &schema::Limits::default()).unwrap();
    let event = event.into_value();
    assert_eq!((&event["type"], &event["object"]["data"]["k"]), (&json!("ADDED"), &json!("AAEC/w==")));
    assert_eq!(length, frames.body.len());

    let missing = client.send("GET", &format!("{secrets}/none"), &[("accept", CBOR)], "").await;
    assert_eq!((missing.status.as_u16(), &from_cbor(&missing.body)["reason"]), (404, &json!("NotFound")));
    let broken = client.send("POST", secrets, &[("content-type", CBOR)], vec![0xa2, 0x41]).await;
    assert_eq!(broken.status, 400);
}

#[tokio::test]
async fn long_lists_are_the_same_compressed_and_in_every_encoding() {
    use std::io::Read as _;
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    for index in 0..40 {
        let map = json!({"metadata": {"name": format!("m-{index:02}")}, "data": {"k": "x".repeat(8_000)}});
        client.post(MAPS, &map).await;
    }
    let plain = client.get(MAPS).await;
    assert!(plain.body.len() > 256 * 1024 && !plain.headers.contains_key("content-encoding"));
    let gzip = client.send("GET", MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(
        (&gzip.headers["content-encoding"], &gzip.headers["vary"]),
        (&"gzip".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
    );
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain.body);
    let names = |list: &serde_json::Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = names(&plain.json());
    let cbor = client.send("GET", MAPS, &[("accept", CBOR)], "").await;
    assert_eq!(names(&from_cbor(&cbor.body)), expected);
    let protobuf = client.send("GET", MAPS, &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    let decoded = registry::wire::from_protobuf(&protobuf.body, None).unwrap();
    assert_eq!(names(&serde_json::from_slice(&decoded).unwrap()), expected);
    let short = client.send("GET", &format!("{MAPS}?limit=2"), &[("accept-encoding", "gzip")], "").await;
    assert!(!short.headers.contains_key("content-encoding"), "below 128 KiB nothing is gained");
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
