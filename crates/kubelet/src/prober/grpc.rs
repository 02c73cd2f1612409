//! gRPC health probes: one unary call of `grpc.health.v1.Health/Check`, whose two messages are written and read by
//! hand. Upstream: pkg/probe/grpc.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect;
use crate::pod::Outcome;

const MAX_ANSWER: usize = 4096;

pub(super) async fn probe(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let within = crate::format::go_duration(jiff::SignedDuration::try_from(timeout).unwrap_or_default());
    let started = tokio::time::Instant::now();
    let stream = match connect(host, port, timeout).await {
        Ok(stream) => stream,
        Err(error) if error.ends_with("i/o timeout") => {
            return Outcome::Failure(format!(
                "timeout: failed to connect service {shown:?} within {within}: context deadline exceeded"
            ));
        }
        Err(error) => {
            return Outcome::Failure(format!(
                "error: failed to connect service at {shown:?}: connection error: desc = \"transport: Error while dialing: {error}\""
            ));
        }
    };
    let left = timeout.saturating_sub(started.elapsed());
    match tokio::time::timeout(left, check(stream, &shown, service)).await {
        Err(_) => Outcome::Failure(format!("timeout: health rpc did not complete within {within}")),
        Ok(Ok(1)) => Outcome::Success,
        Ok(Ok(status)) => {
            let name = match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNRECOGNIZED",
            };
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Ok(Err(error)) => Outcome::Failure(error),
    }
}

async fn check(stream: tokio::net::TcpStream, authority: &str, service: &str) -> Result<u64, String> {
    let failed = |error: String| format!("error: health rpc probe failed: {error}");
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(request_frame(service)))
        .map_err(|error| failed(error.to_string()))?;
    let ask = async move {
        let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let header_status = grpc_status(response.headers());
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let (status, message) = body.trailers().and_then(grpc_status).or(header_status).unwrap_or((0, String::new()));
        match status {
            0 => Ok(status_of(&body.to_bytes())),
            12 => Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
            )),
            _ => Err(failed(message)),
        }
    };
    let mut connection = std::pin::pin!(connection);
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        answer = &mut ask => answer,
        _ended = &mut connection => ask.await,
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some((code, message.to_owned()))
}

/// `HealthCheckRequest { service = 1 }` in a gRPC frame.
fn request_frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    frame.freeze()
}

/// `HealthCheckResponse.status`, field 1, from a gRPC frame; zero where absent.
fn status_of(frame: &[u8]) -> u64 {
    let Some(message) = frame.get(5..) else { return 0 };
    if message.first() != Some(&0x08) {
        return 0;
    }
    let mut value = 0;
    for (position, byte) in message[1..].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * position).min(63);
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&request_frame("")[..], &[0, 0, 0, 0, 0]);
        assert_eq!(&request_frame("ab")[..], &[0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(status_of(&[0, 0, 0, 0, 2, 0x08, 1]), 1);
        assert_eq!(status_of(&[0, 0, 0, 0, 0]), 0);
    }
}
