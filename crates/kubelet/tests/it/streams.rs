//! Logs, exec and port-forward through the agent's own API.

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use kubelet::Kubelet;
use serde_json::json;

use crate::fixture::{Fixture, ready};

/// One plain request.
async fn get(kubelet: &Kubelet, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = kubelet.handle(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// A WebSocket over an in-process connection.
async fn connect(
    fixture: &Fixture,
    path: &str,
    protocol: &str,
) -> tokio_tungstenite::WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let stream = fixture.kubelet.connect();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    fixture.supervisor.spawn("client", async move {
        let _ended = connection.with_upgrades().await;
    });
    let request = Request::get(path)
        .header("host", "node")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", protocol)
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    tokio_tungstenite::WebSocketStream::from_raw_socket(TokioIo::new(upgraded), role, None).await
}

async fn messages(
    socket: &mut tokio_tungstenite::WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
) -> Vec<(u8, String)> {
    use futures::StreamExt as _;
    let mut all: Vec<(u8, String)> = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_binary() {
            continue;
        }
        let data = message.into_data();
        all.push((data[0], String::from_utf8_lossy(&data[1..]).into_owned()));
    }
    all
}

#[tokio::test]
async fn logs_of_a_running_container() {
    let fixture = Fixture::start().await;
    fixture
        .create("a", json!({"containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent"}]}))
        .await;
    fixture.wait("a", "ready", ready).await;
    assert_eq!(get(&fixture.kubelet, "/containerLogs/default/a/c").await, (StatusCode::OK, "hello\n".to_owned()));
    let (status, text) = get(&fixture.kubelet, "/containerLogs/default/a/c?previous=true").await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::BAD_REQUEST, "previous terminated container \"c\" in pod \"a\" not found")
    );
    assert_eq!(get(&fixture.kubelet, "/containerLogs/default/none/c").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&fixture.kubelet, "/healthz").await, (StatusCode::OK, "ok".to_owned()));
    assert!(get(&fixture.kubelet, "/pods").await.1.contains("\"kind\":\"PodList\""));
    assert!(get(&fixture.kubelet, "/stats/summary").await.1.contains("\"podRef\""));
}

#[tokio::test]
async fn exec_over_a_websocket() {
    use futures::SinkExt as _;
    let fixture = Fixture::start().await;
    fixture
        .create("a", json!({"containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent"}]}))
        .await;
    fixture.wait("a", "ready", ready).await;
    let mut socket =
        connect(&fixture, "/exec/default/a/c?command=x&command=y&input=1&output=1&error=1", "v5.channel.k8s.io").await;
    socket.send(tokio_tungstenite::tungstenite::Message::binary(&b"\x00hello"[..])).await.unwrap();
    socket.send(tokio_tungstenite::tungstenite::Message::binary(&b"\xff\x00"[..])).await.unwrap();
    let all = messages(&mut socket).await;
    let output: String = all.iter().filter(|(channel, _)| *channel == 1).map(|(_, text)| text.as_str()).collect();
    assert_eq!(output, "hello");
    let (channel, result) = all.last().unwrap();
    assert_eq!(*channel, 3);
    assert!(result.contains("\"reason\":\"NonZeroExitCode\"") && result.contains("\"message\":\"1\""), "{result}");
}

/// Upstream: the end of the connection is the end of the input. What unpacks an archive is not killed over it.
#[tokio::test]
async fn a_process_that_has_its_input_outlives_the_client() {
    use futures::SinkExt as _;
    let fixture = Fixture::start().await;
    fixture
        .create("a", json!({"containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent"}]}))
        .await;
    fixture.wait("a", "ready", ready).await;
    let mut socket = connect(&fixture, "/exec/default/a/c?command=keep&input=1&output=1", "v4.channel.k8s.io").await;
    socket.send(tokio_tungstenite::tungstenite::Message::binary(&b"\x00hello"[..])).await.unwrap();
    socket.close(None).await.unwrap();
    drop(socket);
    let ended = async || loop {
        let calls = fixture.runtime.calls();
        if let Some(call) = calls.iter().find(|call| call.starts_with("kept") || *call == "killed") {
            return call.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(tokio::time::timeout(std::time::Duration::from_secs(60), ended()).await.unwrap(), "kept hello");
}

#[tokio::test]
async fn port_forward_over_a_websocket() {
    use futures::{SinkExt as _, StreamExt as _};
    let fixture = Fixture::start().await;
    fixture
        .create("a", json!({"containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent"}]}))
        .await;
    fixture.wait("a", "ready", ready).await;
    let mut socket = connect(&fixture, "/portForward/default/a?port=80", "v4.channel.k8s.io").await;
    let mut next = async || socket.next().await.unwrap().unwrap().into_data();
    assert_eq!(next().await, &[0, 80, 0][..]);
    assert_eq!(next().await, &[1, 80, 0][..]);
    socket.send(tokio_tungstenite::tungstenite::Message::binary(&b"\x00ping"[..])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), &b"\x00ping"[..]);
}

#[tokio::test]
async fn plain_requests_to_streams_are_refused() {
    let fixture = Fixture::start().await;
    fixture
        .create("a", json!({"containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent"}]}))
        .await;
    fixture.wait("a", "ready", ready).await;
    assert_eq!(get(&fixture.kubelet, "/exec/default/a/c?command=x&output=1").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&fixture.kubelet, "/exec/default/a/none?command=x&output=1").await.0, StatusCode::NOT_FOUND);
}
