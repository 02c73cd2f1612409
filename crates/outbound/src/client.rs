//! One server's client: connections that are kept, and calls with a time and a size.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

use crate::{
    AddressRule, CallError, Credentials, Place, Protocols, ResolveService, ServiceReference, Trust,
    connect::{ConnectError, Connector},
    error::go_duration,
    tls,
};

/// How long a connection is kept without use. Upstream: `http.Transport.IdleConnTimeout`.
const IDLE: Duration = Duration::from_secs(90);
/// Connections to one address that are kept without use. Upstream: `MaxIdleConnsPerHost` of client-go.
const MAX_IDLE: usize = 25;
/// How often a server may ask to be called again within the time of one call. Upstream: client-go's `maxRetries`.
const MAX_TRIES: usize = 10;
/// How much of an answer without success is read.
const MAX_REFUSAL: usize = 64 * 1024;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body that goes out.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of bytes at hand.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Where a client's calls go.
pub(crate) enum Base {
    /// Scheme and authority, and the path that calls begin with.
    Url {
        scheme: http::uri::Scheme,
        authority: http::uri::Authority,
        path: String,
    },
    Service {
        reference: ServiceReference,
        resolver: Arc<dyn ResolveService>,
    },
    /// Wherever the request's own URI says.
    Anywhere,
}

/// What a client is made from.
pub(crate) struct Parts {
    pub(crate) base: Base,
    pub(crate) trust: Trust,
    pub(crate) server_name: Option<String>,
    pub(crate) protocols: Protocols,
    pub(crate) rule: AddressRule,
    pub(crate) credentials: Credentials,
}

/// Calls one server. A clone is a reference count; all share the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    base: Base,
    credentials: Credentials,
    pool: legacy::Client<Connector, Body>,
    /// For upgrades, which HTTP/2 has none of; the same pool where that is not spoken anyway.
    upgrades: legacy::Client<Connector, Body>,
}

/// One call of JSON to JSON.
pub struct Post {
    pub body: Bytes,
    /// Of all, tries included; the server is told in the query.
    pub timeout: Duration,
    /// Largest answer, in bytes.
    pub max_answer: usize,
    /// Whether `?timeout=` is sent. Upstream does for admission and conversion.
    pub tell_timeout: bool,
}

impl Client {
    pub(crate) fn new(parts: Parts) -> Result<Self, CallError> {
        let pool = |protocols| {
            let config = tls::client_config(&parts.trust, parts.credentials.identity.clone(), protocols)
                .map_err(CallError::Config)?;
            let connector = Connector::new(config, parts.server_name.as_deref(), parts.rule)?;
            Ok::<_, CallError>(
                legacy::Client::builder(TokioExecutor::new())
                    .pool_idle_timeout(IDLE)
                    .pool_max_idle_per_host(MAX_IDLE)
                    .pool_timer(TokioTimer::new())
                    .timer(TokioTimer::new())
                    .build(connector),
            )
        };
        let main = pool(parts.protocols)?;
        let upgrades = if parts.protocols == Protocols::Http1 { main.clone() } else { pool(Protocols::Http1)? };
        Ok(Self { inner: Arc::new(Inner { base: parts.base, credentials: parts.credentials, pool: main, upgrades }) })
    }

    /// The URL of calls, as errors show it: with the Service's name, not with an endpoint's address.
    pub fn url(&self, query: &str) -> String {
        let question = if query.is_empty() { "" } else { "?" };
        match &self.inner.base {
            Base::Url { scheme, authority, path } => format!("{scheme}://{authority}{path}{question}{query}"),
            Base::Service { reference, .. } => {
                let ServiceReference { port, path, .. } = reference;
                format!("https://{}:{port}{path}{question}{query}", reference.server_name())
            }
            Base::Anywhere => String::new(),
        }
    }

    /// Posts JSON and reads JSON.
    pub async fn post(&self, post: Post) -> Result<Bytes, CallError> {
        let deadline = Instant::now() + post.timeout;
        let query = if post.tell_timeout {
            // Part of a second counts as one.
            let whole = post.timeout.as_secs() + u64::from(post.timeout.subsec_nanos() > 0);
            format!("timeout={}", go_duration(Duration::from_secs(whole)))
        } else {
            String::new()
        };
        let url = self.url(&query);
        match tokio::time::timeout_at(deadline, self.tries(&post, &query, &url)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::timeout(&Method::POST, &url)),
        }
    }

    /// Posts again, up to `tries` times in all, after what may pass: no answer, too many requests, a server's own error.
    /// The first wait is `backoff`, each further one half as long again. Upstream: `webhook.WithExponentialBackoff`.
    pub async fn post_again(&self, post: impl Fn() -> Post, backoff: Duration, tries: u32) -> Result<Bytes, CallError> {
        let mut wait = backoff;
        for attempt in 1.. {
            let error = match self.post(post()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passes = match &error {
                CallError::Status(status) => status.code == 429 || status.code >= 500,
                CallError::Transport { .. } | CallError::Timeout { .. } => true,
                CallError::Config(_) | CallError::TooLarge(_) => false,
            };
            if !passes || attempt >= tries {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait = wait.mul_f64(1.5);
        }
        Err(CallError::Config("no try was made".to_owned()))
    }

    async fn tries(&self, post: &Post, query: &str, url: &str) -> Result<Bytes, CallError> {
        for attempt in 1.. {
            let mut request = Request::new(whole(post.body.clone()));
            *request.method_mut() = Method::POST;
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*"));
            headers.insert(header::USER_AGENT, HeaderValue::from_static("kube-apiserver-admission"));
            let answer = self.call(request, query, url).await?;
            let (status, wait) = (answer.status(), retry_after(answer.headers()));
            let success = (200..=206).contains(&status.as_u16());
            let limit = if success { post.max_answer } else { MAX_REFUSAL };
            let body = read(answer.into_body(), limit, success)
                .await
                .map_err(|error| error.unwrap_or_else(|why| CallError::transport(&Method::POST, url, why)))?;
            if success {
                return Ok(body);
            }
            let again = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            match wait.filter(|_| again && attempt < MAX_TRIES) {
                Some(wait) => tokio::time::sleep(Duration::from_secs(u64::from(wait))).await,
                None => {
                    return Err(CallError::answered(status.as_u16(), &Method::POST, &body, wait.unwrap_or_default()));
                }
            }
        }
        Err(CallError::timeout(&Method::POST, url))
    }

    async fn call(&self, mut request: Request<Body>, query: &str, url: &str) -> Result<Response<Incoming>, CallError> {
        let path = match &self.inner.base {
            Base::Url { path, .. } => path.as_str(),
            Base::Service { reference, .. } => &reference.path,
            Base::Anywhere => "/",
        };
        let path = if path.is_empty() { "/" } else { path };
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        *request.uri_mut() =
            path.parse().map_err(|error| CallError::transport(&Method::POST, url, format!("invalid path: {error}")))?;
        self.send(request).await
    }

    /// Sends any request; its URI is a path and query below nothing: the client's own path is not put before it. Of a
    /// client for anywhere ([`Client::anywhere`]) it is absolute.
    /// The answer's body is a stream; upgrades go over a connection of their own and are taken from the answer.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, CallError> {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let method = request.method().clone();
        let (scheme, authority, host) =
            self.inner.place(request.uri()).map_err(|why| CallError::transport(&method, &self.shown(&path), why))?;
        let failed = |why: &dyn std::fmt::Display| CallError::transport(&method, &self.shown(&path), why);
        *request.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path.clone())
            .build()
            .map_err(|error| failed(&error))?;
        *request.version_mut() = http::Version::HTTP_11;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::try_from(host).map_err(|error| failed(&error))?);
        self.inner.credentials.apply(headers);
        let pool = if headers.contains_key(header::UPGRADE) { &self.inner.upgrades } else { &self.inner.pool };
        pool.request(request).await.map_err(|error| failed(&words(&error)))
    }

    fn shown(&self, path: &PathAndQuery) -> String {
        match &self.inner.base {
            Base::Url { scheme, authority, .. } => format!("{scheme}://{authority}{path}"),
            Base::Service { reference, .. } => format!("https://{}:{}{path}", reference.server_name(), reference.port),
            Base::Anywhere => path.to_string(),
        }
    }
}

impl Inner {
    /// Scheme, what is dialled, and the Host header.
    fn place(&self, uri: &Uri) -> Result<(http::uri::Scheme, http::uri::Authority, String), String> {
        match &self.base {
            Base::Anywhere => match (uri.scheme(), uri.authority()) {
                (Some(scheme), Some(authority)) => Ok((scheme.clone(), authority.clone(), authority.to_string())),
                _ => Err("the URL has no scheme or host".to_owned()),
            },
            Base::Url { scheme, authority, .. } => Ok((scheme.clone(), authority.clone(), authority.to_string())),
            Base::Service { reference, resolver } => {
                let place = resolver
                    .resolve(&reference.namespace, &reference.name, reference.port)
                    .map_err(|error| error.to_string())?;
                let authority = match place {
                    Place::Address(address) => address.to_string(),
                    Place::Name(name, port) => format!("{name}:{port}"),
                };
                let authority = authority.parse().map_err(|_| format!("invalid address {authority:?}"))?;
                Ok((http::uri::Scheme::HTTPS, authority, format!("{}:{}", reference.server_name(), reference.port)))
            }
        }
    }
}

/// The innermost cause, as Go shows it.
fn words(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        if let Some(error) = inner.downcast_ref::<ConnectError>() {
            return error.to_string();
        }
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return tls::words(error);
        }
        if let Some(error) = inner.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return "EOF".to_owned();
        }
        if let Some(error) = inner.downcast_ref::<hyper::Error>()
            && error.is_parse()
        {
            return "net/http: HTTP/1.x transport connection broken: malformed HTTP response".to_owned();
        }
        cause = inner;
    }
    cause.to_string()
}

/// Reads an answer. What is beyond the limit is an error for an answer that is wanted, and cut off for a refusal.
async fn read(mut body: Incoming, limit: usize, wanted: bool) -> Result<Bytes, Result<CallError, String>> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(_) if !wanted => break,
            Err(_) => return Err(Err("unexpected EOF".to_owned())),
        };
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            if wanted {
                return Err(Ok(CallError::TooLarge(limit)));
            }
            read.extend_from_slice(&data[..limit - read.len()]);
            break;
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}
