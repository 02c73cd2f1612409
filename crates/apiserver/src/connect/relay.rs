//! One request passed on, and its answer passed back: which headers go, what is rewritten, how upgrades switch.
//!
//! Credentials of the client never go on. A redirect of the backend is never followed here: it is passed back with its
//! place rewritten to go through the proxy, or refused. Upstream: `util/proxy.UpgradeAwareHandler` and `Transport`.

use std::time::Duration;

use apimachinery::ApiError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use outbound::Client;
use tokio::io::copy_bidirectional;

use super::rewrite::{self, Rewriter};
use crate::{
    body::Body,
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// Headers that belong to one connection, and those that prove the client's identity to us only.
const NOT_FORWARDED: [&str; 11] = [
    "authorization",
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What a backend says to browsers about its own origin is not true of ours. Upstream: `removeCORSHeaders`.
const CORS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// What is done with an answer that points elsewhere.
pub(crate) enum Redirects {
    /// Passed back through the rewriter, with links in HTML.
    Rewrite(Rewriter),
    /// Refused. Upstream: `RejectForwardingRedirects`.
    Reject,
}

/// How one call is passed on.
pub(crate) struct Relay<'a> {
    pub(crate) client: &'a Client,
    /// As [`Client::send`] takes it.
    pub(crate) uri: Uri,
    /// Beside those of the call.
    pub(crate) headers: HeaderMap,
    pub(crate) redirects: Redirects,
    /// Until the head of the answer is there.
    pub(crate) timeout: Option<Duration>,
}

impl Relay<'_> {
    pub(crate) async fn run(self, server: &ApiServer, mut call: Call) -> Result<Answer, ApiError> {
        let ours = call.parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let upgrade = is_upgrade(&call.parts.headers);
        let request = self.request(&mut call, upgrade)?;
        let sent = self.client.send(request);
        let unreachable = |why: &str| ApiError::service_unavailable(format!("error trying to reach service: {why}"));
        let answer = match self.timeout.filter(|_| !upgrade) {
            Some(timeout) => match tokio::time::timeout(timeout, sent).await {
                Ok(answer) => answer,
                Err(_) => return Err(unreachable("context deadline exceeded")),
            },
            None => sent.await,
        };
        let answer = answer.map_err(|error| match error.cause() {
            refused if refused == "address not allowed" => ApiError::bad_request(refused),
            why if upgrade => ApiError::internal(format!("error dialing backend: {why}")),
            why => unreachable(&why),
        })?;
        finish(server, ours, upgrade, answer, &self.redirects).await
    }

    fn request(&self, call: &mut Call, upgrade: bool) -> Result<Request<outbound::Body>, ApiError> {
        let mut request = Request::new(call.take_body());
        *request.method_mut() = call.parts.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        copy_headers(&call.parts.headers, headers);
        if let Redirects::Rewrite(rewriter) = &self.redirects
            && !upgrade
        {
            rewriter.announce(headers);
        }
        headers.extend(self.headers.clone());
        if upgrade {
            keep_upgrade(&call.parts.headers, headers);
        }
        Ok(request)
    }
}

/// Upstream: `httpstream.IsUpgradeRequest`.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(header::UPGRADE)
        && connection.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// An upgrade is asked for of the backend, too.
pub(super) fn keep_upgrade(from: &HeaderMap, to: &mut HeaderMap) {
    if let Some(protocol) = from.get(header::UPGRADE) {
        to.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        to.insert(header::UPGRADE, protocol.clone());
    }
}

/// Makes the answer to the client out of the backend's.
pub(super) async fn finish(
    server: &ApiServer,
    ours: Option<hyper::upgrade::OnUpgrade>,
    upgrade: bool,
    mut answer: Response<Incoming>,
    redirects: &Redirects,
) -> Result<Answer, ApiError> {
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return switch(server, ours, answer);
    }
    if upgrade && !(status.is_client_error() || status.is_server_error()) {
        let why = format!("invalid upgrade response: status code {}", status.as_u16());
        return Err(ApiError::internal(why));
    }
    let mut passed = Response::new(Body::empty());
    *passed.status_mut() = status;
    copy_headers(&std::mem::take(answer.headers_mut()), passed.headers_mut());
    for name in CORS {
        passed.headers_mut().remove(name);
    }
    match redirects {
        Redirects::Reject if status.is_redirection() && passed.headers().contains_key(header::LOCATION) => {
            let why = "the backend attempted to redirect this request, which is not permitted";
            return Ok(respond::text(502, why));
        }
        Redirects::Reject => *passed.body_mut() = Body::stream(answer.into_body()),
        Redirects::Rewrite(rewriter) => {
            rewriter.location(passed.headers_mut())?;
            let body = if rewriter.is_page(passed.headers()) {
                rewrite::page(rewriter, passed.headers_mut(), answer.into_body()).await
            } else {
                Body::stream(answer.into_body())
            };
            *passed.body_mut() = body;
        }
    }
    Ok(passed)
}

/// Both sides have agreed to speak something else: from here on bytes are only carried.
fn switch(
    server: &ApiServer,
    ours: Option<hyper::upgrade::OnUpgrade>,
    mut answer: Response<Incoming>,
) -> Result<Answer, ApiError> {
    let Some(ours) = ours else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let theirs = hyper::upgrade::on(&mut answer);
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
    let mut switched = Response::new(Body::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(switched)
}

pub(super) fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    // What the Connection header names belongs to the connection as well.
    let named: Vec<HeaderName> = from
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    let forwarded = |name: &HeaderName| {
        !NOT_FORWARDED.contains(&name.as_str())
            && !named.contains(name)
            && !name.as_str().starts_with("impersonate-")
            && !name.as_str().starts_with("x-remote-")
    };
    for (name, value) in from.iter().filter(|(name, _)| forwarded(name)) {
        to.append(name, value.clone());
    }
}

/// A path that is empty but for the proxy's own end gets its slash by a redirect, as relative links need it.
/// Upstream: `proxyRedirectsforRootPath`.
pub(super) fn root_redirect(call: &Call, path: &str) -> Option<Answer> {
    if !path.is_empty() || !matches!(call.parts.method, Method::GET | Method::HEAD) || is_upgrade(&call.parts.headers) {
        return None;
    }
    let query = call.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = HeaderValue::try_from(format!("{}/{query}", call.parts.uri.path())).ok()?;
    let mut answer = respond::with_type(301, "text/plain; charset=utf-8", Body::whole(Bytes::new()));
    answer.headers_mut().insert(header::LOCATION, place);
    Some(answer)
}
