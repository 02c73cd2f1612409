//! The WebSocket handshake and a connection after it. Upstream: apimachinery/pkg/util/httpstream/wsstream.

use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{Body, Refused, full, refuse};

/// Largest message of a client.
const MAX_MESSAGE: usize = 4 << 20;

pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// A handshake that can be answered.
pub(super) struct Upgrade {
    pub protocol: String,
    pub response: Response<Body>,
    pending: hyper::upgrade::OnUpgrade,
}

/// Answers a handshake with the first of the client's protocols that is known here.
pub(super) fn accept<B>(request: Request<B>, known: &[&str]) -> Result<Upgrade, Refused> {
    let headers = request.headers();
    if !is_websocket(headers) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: only WebSocket connections are served, the client asked for another protocol",
        ));
    }
    let Some(key) = headers.get("sec-websocket-key") else {
        return Err(refuse(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key"));
    };
    let asked: Vec<String> = headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let protocol = match asked.iter().find(|name| known.contains(&name.as_str())) {
        Some(name) => name.clone(),
        None if asked.is_empty() => String::new(),
        None => {
            return Err(refuse(StatusCode::FORBIDDEN, format!("unable to upgrade: unable to negotiate protocol: client supports {asked:?}, server accepts {known:?}")));
        }
    };
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    if let Ok(value) = header::HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        answer.insert("sec-websocket-accept", value);
    }
    if !protocol.is_empty() {
        if let Ok(value) = header::HeaderValue::from_str(&protocol) {
            answer.insert("sec-websocket-protocol", value);
        }
    }
    Ok(Upgrade { protocol, response, pending: hyper::upgrade::on(request) })
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// The connection once the client has read the answer.
pub(super) async fn open(pending: Pending) -> Result<Socket, hyper::Error> {
    let upgraded = pending.0.await?;
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
}

pub(super) struct Pending(hyper::upgrade::OnUpgrade);

impl Upgrade {
    pub(super) fn split(self) -> (String, Response<Body>, Pending) {
        (self.protocol, self.response, Pending(self.pending))
    }
}
