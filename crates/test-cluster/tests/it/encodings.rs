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

/// One field with a length, of a protobuf message: what is in it, and what follows.
fn field(number: u8, message: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(message[0], number << 3 | 2);
    let (mut length, mut at) = (0, 1);
    loop {
        length |= usize::from(message[at] & 0x7f) << (7 * (at - 1));
        at += 1;
        if message[at - 1] < 0x80 {
            return (&message[at..at + length], &message[at + length..]);
        }
    }
}

/// Type and object of the first event of a watch.
async fn first_event(client: &Client, url: &str, accept: &str) -> (String, serde_json::Value) {
    let answer = client.send("GET", url, &[("accept", accept)], "").await;
    assert_eq!(answer.status, 200, "{accept}: {}", String::from_utf8_lossy(&answer.body));
    let content_type = answer.headers["content-type"].to_str().unwrap();
    let event = match content_type {
        "application/json" => serde_json::Deserializer::from_slice(&answer.body).into_iter().next().unwrap().unwrap(),
        "application/cbor-seq" => {
            schema::cbor::decode_first(&answer.body, &schema::Limits::default()).unwrap().0.into_value()
        }
        "application/vnd.kubernetes.protobuf;stream=watch" => {
            let length = u32::from_be_bytes(answer.body[..4].try_into().unwrap()) as usize;
            let (kind, rest) = field(1, &answer.body[4..4 + length]);
            let (object, nothing) = field(2, rest);
            let (raw, more) = field(1, object);
            assert!(nothing.is_empty() && more.is_empty());
            let object = registry::wire::from_protobuf(raw, None).unwrap();
            let object: serde_json::Value = serde_json::from_slice(&object).unwrap();
            json!({"type": std::str::from_utf8(kind).unwrap(), "object": object})
        }
        other => panic!("{other}"),
    };
    (event["type"].as_str().unwrap().to_owned(), event["object"].clone())
}

#[tokio::test]
async fn events_have_the_forms_of_objects() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    client.post(MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    let watch = format!("{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=1&fieldSelector=metadata.name=a");
    for media in ["application/json", "application/cbor-seq", "application/vnd.kubernetes.protobuf"] {
        let (kind, object) = first_event(&client, &watch, media).await;
        assert_eq!((kind.as_str(), &object["kind"], &object["data"]["k"]), ("ADDED", &json!("ConfigMap"), &json!("v")));

        let metadata = format!("{media};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        let (kind, object) = first_event(&client, &watch, &metadata).await;
        assert_eq!((kind.as_str(), &object["kind"]), ("ADDED", &json!("PartialObjectMetadata")), "{media}");
        assert_eq!((&object["metadata"]["name"], &object["data"]), (&json!("a"), &json!(null)), "{media}");

        let table = format!("{media};as=Table;g=meta.k8s.io;v=v1");
        if media.ends_with("protobuf") {
            let refused = client.send("GET", &watch, &[("accept", table.as_str())], "").await;
            assert_eq!(refused.status, 406);
            continue;
        }
        let (kind, object) = first_event(&client, &watch, &table).await;
        assert_eq!((kind.as_str(), &object["kind"]), ("ADDED", &json!("Table")), "{media}");
        assert_eq!(object["rows"][0]["cells"][0], "a", "{media}");
    }
    for accept in ["application/yaml", "text/html", "application/json;as=Table;g=meta.k8s.io;v=v2"] {
        let refused = client.send("GET", &watch, &[("accept", accept)], "").await;
        // The answer itself is in what was asked for, where an object could be.
        let answer = String::from_utf8_lossy(&refused.body);
        assert!(refused.status == 406 && answer.contains("NotAcceptable"), "{accept}: {answer}");
    }
}

#[tokio::test]
async fn only_known_types_of_bodies_are_read() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"}}).to_string();
    for (content_type, status) in [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("APPLICATION/JSON", 201),
        ("application/yaml", 201),
        ("text/plain", 415),
        ("application/*", 415),
        ("application/json;;", 415),
        ("application/json;a=b;a=c", 415),
    ] {
        let answer = client.send("POST", MAPS, &[("content-type", content_type)], map.clone()).await;
        assert_eq!(answer.status, status, "{content_type}: {}", String::from_utf8_lossy(&answer.body));
        if status == 415 {
            assert_eq!(answer.json()["reason"], "UnsupportedMediaType", "{content_type}");
        }
    }
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
