//! Handshakes that turn a request's connection into something else: WebSocket, or SPDY for older clients.
//! Upstream: apimachinery/pkg/util/httpstream/{wsstream,spdy}, k8s.io/apimachinery `TunnelingConnection`.

use futures::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::{Body, Refused, full, refuse};

/// Largest message of a client.
const MAX_MESSAGE: usize = 4 << 20;
const TUNNEL_BUFFER: usize = 64 * 1024;

/// Names the protocols of SPDY's streams.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A handshake that was answered; the connection is there once the client has read the answer.
pub(super) struct Upgrade {
    pub transport: Transport,
    pub protocol: String,
    pub response: Response<Body>,
    pub pending: Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Spdy,
}

pub(super) struct Pending(OnUpgrade);

/// Answers a handshake with the first of the client's protocols that is known here.
pub(super) fn accept<B>(request: Request<B>, websocket: &[&str], spdy: &[&str]) -> Result<Upgrade, Refused> {
    let headers = request.headers();
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let (transport, protocol) = if asks_for(headers, "websocket") {
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key"))?;
        let protocol = negotiate(headers, header::SEC_WEBSOCKET_PROTOCOL, websocket)?;
        answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(value) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
            answer.insert(header::SEC_WEBSOCKET_ACCEPT, value);
        }
        if let Some(value) = HeaderValue::from_str(&protocol).ok().filter(|_| !protocol.is_empty()) {
            answer.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        (Transport::WebSocket, protocol)
    } else if asks_for(headers, "SPDY/3.1") {
        let protocol = negotiate(headers, STREAM_PROTOCOL, spdy)?;
        answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        if let Some(value) = HeaderValue::from_str(&protocol).ok().filter(|_| !protocol.is_empty()) {
            answer.insert(STREAM_PROTOCOL, value);
        }
        (Transport::Spdy, protocol)
    } else {
        return Err(refuse(StatusCode::BAD_REQUEST, "Upgrade request required"));
    };
    Ok(Upgrade { transport, protocol, response, pending: Pending(hyper::upgrade::on(request)) })
}

fn negotiate(headers: &HeaderMap, name: HeaderName, known: &[&str]) -> Result<String, Refused> {
    let asked = tokens(headers, &name);
    match asked.iter().find(|asked| known.contains(&asked.as_str())) {
        Some(found) => Ok(found.clone()),
        None if asked.is_empty() => Ok(String::new()),
        None => Err(refuse(
            StatusCode::FORBIDDEN,
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports {asked:?}, server accepts {known:?}"
            ),
        )),
    }
}

fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    let has =
        |name: HeaderName, wanted: &str| tokens(headers, &name).iter().any(|token| token.eq_ignore_ascii_case(wanted));
    has(header::UPGRADE, protocol) && has(header::CONNECTION, "upgrade")
}

fn tokens(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
        .collect()
}

impl Pending {
    pub(super) async fn websocket(self) -> Result<Socket, hyper::Error> {
        let upgraded = self.0.await?;
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
    }

    pub(super) async fn raw(self) -> Result<TokioIo<Upgraded>, hyper::Error> {
        self.0.await.map(TokioIo::new)
    }
}

/// The farewell of a session that ended as it should; clients take a close without a code for a broken connection.
pub(super) fn normal_closure() -> CloseFrame {
    CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") }
}

/// A byte stream carried in a WebSocket's binary messages. Moves bytes for as long as it is polled.
pub(super) fn tunnel(socket: Socket) -> (DuplexStream, impl Future<Output = ()> + Send) {
    let (outer, inner) = tokio::io::duplex(TUNNEL_BUFFER);
    let moving = async move {
        let (mut sink, mut stream) = socket.split();
        let (mut reader, mut writer) = tokio::io::split(inner);
        let inbound = async {
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Binary(data) if writer.write_all(&data).await.is_err() => break,
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            let _closed = writer.shutdown().await;
        };
        let outbound = async {
            let mut buffer = vec![0; TUNNEL_BUFFER];
            while let Ok(count) = reader.read(&mut buffer).await {
                if count == 0 || sink.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                    break;
                }
            }
            // A client that has gone needs no farewell.
            let _gone = sink.send(Message::Close(Some(normal_closure()))).await;
            let _closed = sink.close().await;
        };
        tokio::join!(inbound, outbound);
    };
    (outer, moving)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<(Transport, String), u16> {
        let mut request = Request::get("/");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        let known = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
        accept(request.body(()).unwrap(), &known, &known)
            .map(|done| (done.transport, done.protocol))
            .map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn handshakes() {
        let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "x")];
        let with = |protocols| check(&[&websocket[..], &[("sec-websocket-protocol", protocols)]].concat());
        assert_eq!(with("v9, v4.channel.k8s.io"), Ok((Transport::WebSocket, "v4.channel.k8s.io".to_owned())));
        assert_eq!(with("v9"), Err(403));
        assert_eq!(check(&websocket), Ok((Transport::WebSocket, String::new())));
        let spdy =
            [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v5.channel.k8s.io")];
        assert_eq!(check(&spdy), Ok((Transport::Spdy, "v5.channel.k8s.io".to_owned())));
        assert_eq!(check(&[]), Err(400));
        assert_eq!(check(&[("connection", "Upgrade"), ("upgrade", "websocket")]), Err(400), "no key");
    }
}
