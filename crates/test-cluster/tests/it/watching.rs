//! Watches over both transports.

use apiserver::Peer;
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplate};
use kube::{
    Api,
    api::{PostParams, WatchEvent, WatchParams},
};
use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::TestCluster;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::http::Client;

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn changes_arrive_in_order() {
    let cluster = TestCluster::start().await.unwrap();
    for client in [cluster.client(), cluster.https_client().await.unwrap()] {
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        let version = maps.list(&Default::default()).await.unwrap().metadata.resource_version.unwrap();
        let mut stream = Box::pin(maps.watch(&WatchParams::default(), &version).await.unwrap());
        maps.create(&PostParams::default(), &map("w")).await.unwrap();
        maps.delete("w", &Default::default()).await.unwrap();
        let Some(WatchEvent::Added(added)) = stream.try_next().await.unwrap() else { panic!("not added") };
        assert_eq!(added.metadata.name.as_deref(), Some("w"));
        let Some(WatchEvent::Deleted(_)) = stream.try_next().await.unwrap() else { panic!("not deleted") };
    }
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let maps = "/api/v1/namespaces/default/configmaps";
    client.post(maps, &json!({"metadata": {"name": "a"}})).await;
    let url = format!(
        "{maps}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let answer = client.get(&url).await;
    let events: Vec<Value> = answer
        .body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(events.iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(), ["ADDED", "BOOKMARK"]);
    assert_eq!(events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(events[1]["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn a_watch_from_a_version_to_come_waits_for_it() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let maps = "/api/v1/namespaces/default/configmaps";
    let next = cluster.server().registry().store().revision().0 + 1;
    let url = format!("{maps}?watch=1&resourceVersion={next}");
    let mut body = client.open("GET", &url, &[], "").await.into_body();
    for name in ["first", "second"] {
        client.post(maps, &json!({"metadata": {"name": name}})).await;
    }
    // The first is that version itself, which the client says it has seen.
    assert_eq!(events(&mut body, 1).await[0]["object"]["metadata"]["name"], "second");
}

/// So many events, however they come together.
async fn events(body: &mut apiserver::Body, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let lines = frame.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        events.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
    }
    events
}

#[tokio::test]
async fn tables_say_their_columns_once() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut body = client.open("GET", "/api/v1/namespaces?watch=1", &accept, "").await.into_body();
    for (index, event) in events(&mut body, 4).await.iter().enumerate() {
        assert_eq!(event["object"]["columnDefinitions"].is_array(), index == 0, "{index}");
    }
}

#[tokio::test]
async fn protobuf_frames_have_their_length() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let response = client.open("GET", "/api/v1/namespaces?watch=1&resourceVersion=0", &accept, "").await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let frame = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    let (mut rest, mut count) = (&frame[..], 0);
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        rest = &rest[4 + length..];
        count += 1;
    }
    assert_eq!(count, 4);
}

#[tokio::test]
async fn shutting_down_ends_watches() {
    let cluster = TestCluster::start().await.unwrap();
    let client = Client::admin(&cluster);
    let mut body = client.open("GET", "/api/v1/configmaps?watch=1&resourceVersion=0", &[], "").await.into_body();
    cluster.server().begin_shutdown();
    assert!(body.frame().await.is_none());
    assert_eq!(client.get("/readyz").await.status, 500);
}

#[tokio::test]
async fn a_websocket_carries_a_watch() {
    let cluster = TestCluster::start().await.unwrap();
    let first = async |accept: &str| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = cluster.server().clone();
        let peer = Peer::inside(UserInfo::new("admin", [UserInfo::MASTERS_GROUP]));
        cluster.supervisor().spawn("connection", async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                let answer = server.handle(request, peer.clone());
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
            connection.with_upgrades().await.unwrap();
        });
        let mut request = "ws://localhost/api/v1/namespaces?watch=1".into_client_request().unwrap();
        request.headers_mut().insert("accept", accept.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::client_async(request, ours).await.unwrap();
        socket.next().await.unwrap().unwrap()
    };
    let message = first("application/json").await;
    let event: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("default")));
    // A message needs no length of its own in front, as upstream sends it.
    let message = first("application/vnd.kubernetes.protobuf;stream=watch").await;
    assert!(message.is_binary() && message.into_data().starts_with(b"\n\x05ADDED\x12"));
}

#[tokio::test]
async fn a_client_that_goes_ends_its_watch() {
    let cluster = TestCluster::start().await.unwrap();
    // Nobody inside watches this kind.
    let templates = cluster.server().registry().store().resource("podtemplates");
    let watch: Api<PodTemplate> = Api::namespaced(cluster.https_client().await.unwrap(), "default");
    let stream = watch.watch(&WatchParams::default(), "0").await.unwrap();
    assert_eq!(templates.watchers(), 1);
    drop((stream, watch));
    let ended = async {
        while templates.watchers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("the watch goes on");
}
