//! A watch over WebSocket: one message an event, text of JSON and binary of the rest. Upstream: `WatchServer.HandleWS`.

use apimachinery::ApiError;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{
    body::{Body, BoxError},
    negotiate::Media,
    respond::Answer,
    server::{ApiServer, Call},
};

/// Bytes before a protobuf event in a stream, which say how long it is.
const LENGTH: usize = 4;

pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Switches protocols and sends the frames of `body` as messages.
pub(super) fn serve<B>(server: &ApiServer, call: &Call, body: B, media: Media) -> Result<Answer, ApiError>
where
    B: http_body::Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let key = call.parts.headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let upgrade = call.parts.extensions.get::<OnUpgrade>().cloned();
    let (Some(key), Some(upgrade)) = (key, upgrade) else {
        return Err(ApiError::bad_request("the connection cannot be upgraded to a WebSocket"));
    };
    let accept = derive_accept_key(key);
    server.inner.supervisor.spawn("websocket watch", async move {
        match upgrade.await {
            Ok(upgraded) => {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                pump(socket, body, media).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(ApiError::internal)?);
    Ok(answer)
}

async fn pump<S, B>(mut socket: WebSocketStream<S>, mut body: B, media: Media)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin,
{
    loop {
        tokio::select! {
            frame = body.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let Some(data) = frame.data_ref() else { continue };
                let message = match media {
                    Media::Json | Media::Yaml => {
                        let Ok(text) = std::str::from_utf8(data) else { break };
                        Message::text(text)
                    }
                    // A message says its length itself.
                    Media::Protobuf => Message::binary(data.slice(LENGTH.min(data.len())..)),
                    Media::Cbor => Message::binary(data.clone()),
                };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                // What a watcher says is not listened to, but for its going.
                Some(Ok(message)) if !message.is_close() => {}
                _ => break,
            },
        }
    }
    if let Err(error) = socket.close(None).await {
        tracing::debug!(%error, "websocket not closed");
    }
}
