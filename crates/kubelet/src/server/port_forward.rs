//! `/portForward`. Upstream: kubelet/pkg/cri/streaming/portforward/websocket.go.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::channels::{Codec, Incoming};
use super::websocket::{self, Pending};
use super::{Body, Query, Refused, refuse};
use crate::shared::{Shared, View};

const PROTOCOLS: [&str; 4] = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
/// Two channels a port, and a channel's number is one byte.
const MAX_PORTS: usize = 127;
const CHUNK: usize = 32 * 1024;
/// Messages of one port that may wait.
const QUEUE: usize = 16;

pub(super) fn answer<B: Send + 'static>(
    shared: &Arc<Shared>,
    request: Request<B>,
    view: &View,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    let Some(sandbox) = view.sandbox.clone() else {
        return Err(refuse(StatusCode::NOT_FOUND, "unable to forward: the pod is not running"));
    };
    let mut ports = Vec::new();
    for (_, value) in query.iter().filter(|(name, _)| name == "port" || name == "ports") {
        for text in value.split(',').filter(|text| !text.is_empty()) {
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            ports.push(port.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, format!("invalid port {text:?}")))?);
        }
    }
    if ports.is_empty() || ports.len() > MAX_PORTS {
        return Err(refuse(StatusCode::BAD_REQUEST, "query parameter \"port\" is required"));
    }
    let (protocol, response, pending) = websocket::accept(request, &PROTOCOLS)?.split();
    let codec = Codec::of(&protocol);
    let shared = shared.clone();
    let supervisor = shared.supervisor.clone();
    supervisor.spawn("port-forward", async move {
        if let Err(error) = serve(shared, pending, codec, sandbox, ports).await {
            tracing::debug!(%error, "port forward ended early");
        }
    });
    Ok(response)
}

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("upgrade of the connection")]
    Upgrade(#[from] hyper::Error),
    #[error("the client's connection")]
    Socket(#[from] tokio_tungstenite::tungstenite::Error),
}

async fn serve(shared: Arc<Shared>, pending: Pending, codec: Codec, sandbox: String, ports: Vec<u16>) -> Result<(), ForwardError> {
    let socket = websocket::open(pending).await?;
    let (mut sink, mut stream) = socket.split();
    let (outgoing, mut messages) = mpsc::channel::<Message>(QUEUE);
    let mut inputs = HashMap::new();
    let mut guards = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let channel = u8::try_from(index * 2).unwrap_or(u8::MAX - 1);
        // The first message of each channel names its port.
        for channel in [channel, channel + 1] {
            sink.send(codec.encode(channel, &port.to_le_bytes())).await?;
        }
        let (input, received) = mpsc::channel::<bytes::Bytes>(QUEUE);
        inputs.insert(channel, input);
        let connection = forward(shared.clone(), sandbox.clone(), port, channel, codec, received, outgoing.clone());
        guards.push(shared.supervisor.spawn_guarded("forwarded-port", connection));
    }
    drop(outgoing);
    let inbound = async {
        while let Some(message) = stream.next().await {
            let message = message?;
            if matches!(message, Message::Close(_)) {
                break;
            }
            if let Incoming::Data { channel, data } = codec.decode(message) {
                if let Some(input) = inputs.get(&channel) {
                    // A port whose connection has ended takes no more.
                    let _ended = input.send(data).await;
                }
            }
        }
        Ok::<(), ForwardError>(())
    };
    let outbound = async {
        while let Some(message) = messages.recv().await {
            sink.send(message).await?;
        }
        sink.close().await?;
        Ok::<(), ForwardError>(())
    };
    tokio::select! {
        sent = outbound => sent,
        received = inbound => received,
    }
}

/// One port's connection into the pod.
async fn forward(
    shared: Arc<Shared>,
    sandbox: String,
    port: u16,
    channel: u8,
    codec: Codec,
    mut received: mpsc::Receiver<bytes::Bytes>,
    outgoing: mpsc::Sender<Message>,
) {
    let connection = match shared.runtime.port_forward(&sandbox, port).await {
        Ok(connection) => connection,
        Err(error) => {
            let text = format!("error forwarding port {port} to pod: {error}");
            let _gone = outgoing.send(codec.encode(channel + 1, text.as_bytes())).await;
            return;
        }
    };
    let (mut reader, mut writer) = tokio::io::split(connection);
    let inbound = async {
        while let Some(data) = received.recv().await {
            if writer.write_all(&data).await.is_err() {
                break;
            }
        }
        let _closed = writer.shutdown().await;
        // The answer may still come.
        std::future::pending::<()>().await;
    };
    let outbound = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count) = reader.read(&mut buffer).await {
            if count == 0 || outgoing.send(codec.encode(channel, &buffer[..count])).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = inbound => {}
        () = outbound => {}
    }
}
