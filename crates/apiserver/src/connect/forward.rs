//! One request passed on over a connection that is already made. Upstream: `util/proxy.UpgradeAwareHandler`.

use apimachinery::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::NodeStream;
use crate::{
    body::Body,
    respond::Answer,
    server::{ApiServer, Call},
};

/// Headers that belong to one connection, and those that prove the client's identity to us only.
const NOT_FORWARDED: [&str; 10] = [
    "authorization",
    "connection",
    "cookie",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

pub(super) async fn forward(
    server: &ApiServer,
    mut call: Call,
    stream: Box<dyn NodeStream>,
    authority: &str,
    path: &str,
    query: &str,
) -> Result<Answer, ApiError> {
    let upgrade = call.parts.headers.get(header::UPGRADE).cloned();
    let ours = call.parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut request = Request::builder().method(call.parts.method.clone()).uri(uri).version(Version::HTTP_11);
    if let Some(headers) = request.headers_mut() {
        copy_headers(&call.parts.headers, headers);
        let host = HeaderValue::from_str(authority).map_err(ApiError::internal)?;
        headers.insert(header::HOST, host);
        if let Some(protocol) = &upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
    }
    let request = request.body(call.take_body()).map_err(|error| ApiError::bad_request(error.to_string()))?;

    let broken = |error: hyper::Error| ApiError::internal(format!("error sending request: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    server.inner.supervisor.spawn("node connection", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "node connection ended");
        }
    });
    let mut response = sender.send_request(request).await.map_err(broken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(server, ours, response);
    }
    if response.status().is_redirection() {
        return Err(ApiError::internal("the node answered with a redirect, which is not followed"));
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = response.status();
    copy_headers(&std::mem::take(response.headers_mut()), answer.headers_mut());
    *answer.body_mut() = Body::stream(response.into_body());
    Ok(answer)
}

/// Both sides have agreed to speak something else: from here on bytes are only carried.
fn switch(
    server: &ApiServer,
    ours: Option<hyper::upgrade::OnUpgrade>,
    mut response: Response<hyper::body::Incoming>,
) -> Result<Answer, ApiError> {
    let Some(ours) = ours else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let theirs = hyper::upgrade::on(&mut response);
    server.inner.supervisor.spawn("upgraded stream", async move {
        match futures::try_join!(ours, theirs) {
            Ok((ours, theirs)) => {
                let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                if let Err(error) = copy_bidirectional(&mut ours, &mut theirs).await {
                    tracing::debug!(%error, "stream ended");
                }
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    let forwarded = |name: &HeaderName| {
        !NOT_FORWARDED.contains(&name.as_str())
            && !name.as_str().starts_with("impersonate-")
            && !name.as_str().starts_with("x-remote-")
    };
    for (name, value) in from.iter().filter(|(name, _)| forwarded(name)) {
        to.append(name, value.clone());
    }
}
