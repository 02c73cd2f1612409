//! `/portForward`. Upstream: kubelet/pkg/cri/streaming/portforward/websocket.go.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::channels::{Codec, Incoming};
use super::spdy::{self, Stream};
use super::upgrade::{self, Pending, Transport};
use super::{Body, Query, Refused, refuse};
use crate::shared::{Shared, View};

const PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
/// SPDY inside the messages of a WebSocket, as clients since 1.31 ask.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocol of SPDY's streams.
const SPDY: &str = "portforward.k8s.io";
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
    let ports = ports(query)?;
    let known: Vec<&str> = PROTOCOLS.iter().copied().chain([TUNNEL]).collect();
    let upgrade = upgrade::accept(request, &known, &[SPDY])?;
    let tunnelled = upgrade.protocol == TUNNEL;
    let messages = upgrade.transport == Transport::WebSocket && !tunnelled;
    if messages && ports.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, "query parameter \"port\" is required"));
    }
    let codec = Codec::of(&upgrade.protocol);
    let pending = upgrade.pending;
    let shared = shared.clone();
    let supervisor = shared.supervisor.clone();
    supervisor.spawn("port-forward", async move {
        let served = if messages {
            serve(shared, pending, codec, sandbox, ports).await
        } else {
            serve_spdy(shared, pending, tunnelled, sandbox).await
        };
        if let Err(error) = served {
            tracing::debug!(%error, "port forward ended early");
        }
    });
    Ok(upgrade.response)
}

fn ports(query: &Query) -> Result<Vec<u16>, Refused> {
    let mut ports = Vec::new();
    for (_, value) in query.iter().filter(|(name, _)| name == "port" || name == "ports") {
        for text in value.split(',').filter(|text| !text.is_empty()) {
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            ports.push(port.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, format!("invalid port {text:?}")))?);
        }
    }
    if ports.len() > MAX_PORTS {
        return Err(refuse(StatusCode::BAD_REQUEST, "too many ports"));
    }
    Ok(ports)
}

/// Streams in pairs, one for data and one for errors, which a request number ties together.
async fn serve_spdy(
    shared: Arc<Shared>,
    pending: Pending,
    tunnelled: bool,
    sandbox: String,
) -> Result<(), ForwardError> {
    let (opened, mut streams) = mpsc::channel::<Stream>(QUEUE);
    let pairing = async {
        let mut waiting: HashMap<String, Stream> = HashMap::new();
        let mut guards = Vec::new();
        while let Some(stream) = streams.recv().await {
            let header = |name: &str| stream.headers.get(name).cloned().unwrap_or_default();
            // Old clients have no numbers: their streams come one after the other.
            let number = header("requestid");
            let Some(other) = waiting.remove(&number) else {
                if waiting.len() >= MAX_PORTS {
                    return;
                }
                waiting.insert(number, stream);
                continue;
            };
            let (data, error) = if header("streamtype") == "data" { (stream, other) } else { (other, stream) };
            let connection = forward_stream(shared.clone(), sandbox.clone(), data, error);
            guards.push(shared.supervisor.spawn_guarded("forwarded-port", connection));
        }
    };
    if tunnelled {
        let (stream, moving) = upgrade::tunnel(pending.websocket().await?);
        let (served, (), ()) = tokio::join!(spdy::serve(stream, opened), pairing, moving);
        return Ok(served?);
    }
    let (served, ()) = tokio::join!(spdy::serve(pending.raw().await?, opened), pairing);
    Ok(served?)
}

/// One connection into the pod.
async fn forward_stream(shared: Arc<Shared>, sandbox: String, mut data: Stream, error: Stream) {
    let port = data.headers.get("port").and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    match shared.runtime.port_forward(&sandbox, port).await {
        Ok(connection) => {
            let (mut reader, mut writer) = tokio::io::split(connection);
            let inbound = async {
                while let Some(bytes) = data.reader.recv().await {
                    if writer.write_all(&bytes).await.is_err() {
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
                    if count == 0 || !data.writer.write(&buffer[..count]).await {
                        break;
                    }
                }
            };
            tokio::select! {
                () = inbound => {}
                () = outbound => {}
            }
        }
        Err(failed) => {
            let text = format!("error forwarding port {port} to pod: {failed}");
            error.writer.write(text.as_bytes()).await;
        }
    }
    data.writer.close().await;
    error.writer.close().await;
}

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("upgrade of the connection")]
    Upgrade(#[from] hyper::Error),
    #[error("the client's connection")]
    Socket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error(transparent)]
    Spdy(#[from] spdy::SpdyError),
}

async fn serve(
    shared: Arc<Shared>,
    pending: Pending,
    codec: Codec,
    sandbox: String,
    ports: Vec<u16>,
) -> Result<(), ForwardError> {
    let socket = pending.websocket().await?;
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
            if let Incoming::Data { channel, data } = codec.decode(message)
                && let Some(input) = inputs.get(&channel)
            {
                // A port whose connection has ended takes no more.
                let _ended = input.send(data).await;
            }
        }
        Ok::<(), ForwardError>(())
    };
    let outbound = async {
        while let Some(message) = messages.recv().await {
            sink.send(message).await?;
        }
        sink.send(Message::Close(Some(upgrade::normal_closure()))).await?;
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
