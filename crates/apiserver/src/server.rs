//! The API server as a value: built from its parts, asked with requests. Knows nothing of sockets.
//!
//! Order of filters as upstream: request info, authentication, impersonation, authorization, then the resource.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt as _};
use http::{HeaderValue, Request, header};
use registry::{
    Action, Registry, RequestCx, UserInfo, Verb,
    audit::AuditTrail,
    auth::{Authenticator, Authorizer, TokenIssuer},
};
use supervisor::Supervisor;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use apimachinery::ApiError;

use crate::{
    body::RequestBody,
    compress,
    connect::NodeDialer,
    discovery::Discovery,
    filters,
    handlers::{self, pace::Pace},
    metrics::{Labels, Metrics},
    openapi::OpenApi,
    options::ServerOptions,
    request_info::{RequestInfo, parse_query},
    respond::{self, Answer},
};

/// Requests answered at the same time. Upstream's `--max-requests-inflight` and its mutating sibling together.
const MAX_IN_FLIGHT: usize = 600;
/// Beyond so many, requests are refused at once instead of waiting. They wait without their bodies.
const MAX_WAITING: i64 = 10_000;
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A running API server. A clone is a reference count.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) registry: Registry,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) actions: HashMap<(String, String, String), Arc<dyn Action>>,
    pub(crate) dialer: Option<Arc<dyn NodeDialer>>,
    pub(crate) paths: HashMap<String, Arc<dyn PathHandler>>,
    pub(crate) metrics: Metrics,
    places: Semaphore,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
    pub(crate) ready: AtomicBool,
    pub(crate) shutdown: CancellationToken,
    pub(crate) supervisor: Supervisor,
    pub(crate) options: ServerOptions,
    /// The timer of all watches.
    pub(crate) pace: Pace,
}

/// Serves one path outside of the API groups, to whoever is authorised for it (`/.well-known/openid-configuration`).
pub trait PathHandler: Send + Sync {
    /// Content type and body.
    fn get(&self) -> Result<(&'static str, bytes::Bytes), ApiError>;
}

/// A document that never changes, for [`ApiServerBuilder::path`].
pub struct Document {
    pub content_type: &'static str,
    pub body: bytes::Bytes,
}

impl PathHandler for Document {
    fn get(&self) -> Result<(&'static str, bytes::Bytes), ApiError> {
        Ok((self.content_type, self.body.clone()))
    }
}

/// Collects the parts of an API server.
pub struct ApiServerBuilder {
    registry: Registry,
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    token_issuer: Option<Arc<dyn TokenIssuer>>,
    actions: HashMap<(String, String, String), Arc<dyn Action>>,
    dialer: Option<Arc<dyn NodeDialer>>,
    paths: HashMap<String, Arc<dyn PathHandler>>,
    supervisor: Supervisor,
    options: ServerOptions,
}

/// Where a request came from.
#[derive(Clone, Default)]
pub struct Peer {
    /// DER of the client's verified certificate chain, leaf first.
    pub certificates: Arc<Vec<Vec<u8>>>,
    /// Set for callers inside the process, who need not prove who they are.
    pub identity: Option<Arc<UserInfo>>,
}

/// One request on its way through the filters.
pub(crate) struct Call {
    pub(crate) info: RequestInfo,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) user: Arc<UserInfo>,
    pub(crate) parts: http::request::Parts,
    /// What is told of the request to the audit log.
    pub(crate) audit: Arc<AuditTrail>,
    /// Behind a lock only so that a call can be shared; whoever reads the body takes it.
    body: Mutex<RequestBody>,
}

// === impl ApiServerBuilder ===

impl ApiServerBuilder {
    #[must_use]
    pub fn token_issuer(mut self, issuer: Arc<dyn TokenIssuer>) -> Self {
        self.token_issuer = Some(issuer);
        self
    }

    /// How the server reaches kubelets. Without one, exec and logs answer 503.
    #[must_use]
    pub fn node_dialer(mut self, dialer: Arc<dyn NodeDialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// Serves an action subresource; takes precedence over the strategy's own.
    #[must_use]
    pub fn action(mut self, group: &str, plural: &str, subresource: &str, action: Arc<dyn Action>) -> Self {
        self.actions.insert((group.to_owned(), plural.to_owned(), subresource.to_owned()), action);
        self
    }

    /// Publishes where tokens come from and what they can be checked with, as OIDC clients look for it.
    #[must_use]
    pub fn token_discovery(self, discovery: &serde_json::Value, key_set: &serde_json::Value) -> Self {
        let document = |content_type, value: &serde_json::Value| -> Arc<dyn PathHandler> {
            Arc::new(Document { content_type, body: value.to_string().into() })
        };
        self.path("/.well-known/openid-configuration", document("application/json", discovery))
            .path("/openid/v1/jwks", document("application/jwk-set+json", key_set))
    }

    #[must_use]
    pub fn path(mut self, path: &str, handler: Arc<dyn PathHandler>) -> Self {
        self.paths.insert(path.to_owned(), handler);
        self
    }

    #[must_use]
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    /// Registers the review kinds and makes the server. It answers at once; `/readyz` says no until [`ApiServer::set_ready`].
    pub fn build(mut self) -> Result<ApiServer, ApiError> {
        for resource in crate::reviews::resources(&self.authenticator, &self.authorizer) {
            self.registry.register(resource)?;
        }
        for (group, plural, subresource, action) in crate::actions::all(self.token_issuer.as_ref()) {
            self.actions.entry((group.to_owned(), plural.to_owned(), subresource.to_owned())).or_insert(action);
        }
        let pace = Pace::default();
        let store = self.registry.store().clone();
        pace.start(&self.supervisor, move || store.revision().0);
        Ok(ApiServer {
            inner: Arc::new(Inner {
                registry: self.registry,
                authenticator: self.authenticator,
                authorizer: self.authorizer,
                actions: self.actions,
                dialer: self.dialer,
                paths: self.paths,
                metrics: Metrics::default(),
                places: Semaphore::new(MAX_IN_FLIGHT),
                discovery: Discovery::default(),
                openapi: OpenApi::default(),
                ready: AtomicBool::new(false),
                shutdown: CancellationToken::new(),
                supervisor: self.supervisor,
                options: self.options,
                pace,
            }),
        })
    }
}

/// One request that is being answered. Long-running ones count only until their body begins.
struct InFlight(ApiServer);

impl InFlight {
    fn enter(server: &ApiServer) -> Self {
        server.inner.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(server.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.inner.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Peer ===

impl Peer {
    /// A client that TLS has verified these certificates of, if any.
    pub fn with_certificates(certificates: Vec<Vec<u8>>) -> Self {
        Self { certificates: Arc::new(certificates), ..Self::default() }
    }

    /// A caller inside the process.
    pub fn inside(identity: UserInfo) -> Self {
        Self { identity: Some(Arc::new(identity)), ..Self::default() }
    }
}

// === impl ApiServer ===

impl ApiServer {
    pub fn builder(
        registry: Registry,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        supervisor: &Supervisor,
    ) -> ApiServerBuilder {
        ApiServerBuilder {
            registry,
            authenticator,
            authorizer,
            token_issuer: None,
            actions: HashMap::new(),
            dialer: None,
            paths: HashMap::new(),
            supervisor: supervisor.clone(),
            options: ServerOptions::default(),
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Lets `/readyz` say yes.
    pub fn set_ready(&self) {
        self.inner.ready.store(true, Ordering::Release);
    }

    /// Ends all watches and lets `/readyz` say no. Other requests are still answered.
    pub fn begin_shutdown(&self) {
        self.inner.ready.store(false, Ordering::Release);
        self.inner.shutdown.cancel();
        self.inner.pace.close();
    }

    /// Answers one request. Never fails: errors are answers too.
    pub fn handle(&self, request: Request<RequestBody>, peer: Peer) -> BoxFuture<'static, Answer> {
        let server = self.clone();
        async move {
            // A bug in one request must not take the others with it.
            match AssertUnwindSafe(server.answer(request, peer)).catch_unwind().await {
                Ok(answer) => answer,
                Err(_) => {
                    tracing::error!("a request panicked");
                    let why = "This request caused apiserver to panic. Look in the logs for details.";
                    respond::error(&ApiError::internal(why))
                }
            }
        }
        .boxed()
    }

    async fn answer(&self, request: Request<RequestBody>, peer: Peer) -> Answer {
        let start = Instant::now();
        let in_flight = InFlight::enter(self);
        let headers = request.headers().clone();
        let (mut answer, labels) = self.filtered(request, peer).await;
        respond::negotiate_status(&mut answer, &headers, "");
        compress::apply(&mut answer, &headers);
        drop(in_flight);
        if let Some(mut labels) = labels {
            labels.code = answer.status().as_u16();
            self.inner.metrics.record(labels, start.elapsed());
        }
        let headers = answer.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        answer
    }

    async fn filtered(&self, request: Request<RequestBody>, peer: Peer) -> (Answer, Option<Labels>) {
        let (parts, body) = request.into_parts();
        let query = parse_query(parts.uri.query());
        let info = match RequestInfo::parse(&parts.method, parts.uri.path(), &query) {
            Ok(info) => info,
            Err(error) => return (respond::error(&error), None),
        };
        let labels = self.labels(&info);
        let user = match filters::identify(self, &parts.headers, &info, &peer).await {
            Ok(identity) => {
                if let Some((requestor, constraint)) = &identity.requestor {
                    tracing::debug!(requestor = requestor.name, user = identity.user.name, constraint, "impersonation");
                }
                identity.user
            }
            Err(error) => return (respond::error(&error), labels),
        };
        let _place = match self.place(&info, &peer, &user).await {
            Ok(place) => place,
            Err(error) => return (respond::error(&error), labels),
        };
        if let Err(error) = filters::authorize(self, &info, &user).await {
            return (respond::error(&error), labels);
        }
        let call = Call { info, query, user, parts, audit: Arc::default(), body: Mutex::new(body) };
        let answer = if call.info.is_resource {
            handlers::resource(self.clone(), call).await
        } else {
            handlers::non_resource(self, call).await
        };
        (answer.unwrap_or_else(|error| respond::error(&error)), labels)
    }

    /// Waits for one of the places for requests over the network. Callers inside the process, administrators and
    /// long-running requests need none: the first must not wait for the others, the last would hold theirs for hours.
    async fn place(
        &self,
        info: &RequestInfo,
        peer: &Peer,
        user: &UserInfo,
    ) -> Result<Option<SemaphorePermit<'_>>, ApiError> {
        let streams = ["attach", "exec", "log", "portforward", "proxy"];
        let long_running = matches!(info.verb, "watch" | "proxy") || streams.contains(&info.subresource.as_str());
        if peer.identity.is_some() || long_running || user.in_group(UserInfo::MASTERS_GROUP) {
            return Ok(None);
        }
        if let Ok(place) = self.inner.places.try_acquire() {
            return Ok(Some(place));
        }
        let full = || ApiError::too_many_requests("Too many requests, please try again later.", 1);
        if self.inner.metrics.in_flight.load(Ordering::Relaxed) > MAX_WAITING {
            return Err(full());
        }
        match tokio::time::timeout(LONGEST_WAIT, self.inner.places.acquire()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(full()),
        }
    }

    /// Labels only for what is registered, so that no URL makes a series.
    fn labels(&self, info: &RequestInfo) -> Option<Labels> {
        if !info.is_resource {
            return None;
        }
        let kind = self.inner.registry.kind(&info.group, &info.version, &info.resource)?;
        let subresource = kind.resource.subresources().iter().find(|known| known.name == info.subresource);
        let scope = match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let verb = match info.verb {
            "get" => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" => "POST",
            "update" => "PUT",
            "patch" => "PATCH",
            "delete" => "DELETE",
            "deletecollection" => "DELETECOLLECTION",
            _ => "OTHER",
        };
        Some(Labels {
            verb,
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: subresource.map(|known| known.name.to_owned()).unwrap_or_default(),
            scope,
            code: 0,
        })
    }
}

impl Call {
    /// The context that the registry's hooks see.
    pub(crate) fn context(&self, server: &ApiServer, verb: Verb) -> RequestCx {
        let mut cx = server.inner.registry.context(Arc::clone(&self.user), verb);
        cx.namespace.clone_from(&self.info.namespace);
        cx.name.clone_from(&self.info.name);
        cx.subresource.clone_from(&self.info.subresource);
        cx.audit = Arc::clone(&self.audit);
        cx
    }

    pub(crate) fn param(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// A flag of the query: there and not false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query.iter().any(|(key, value)| key == name && !matches!(value.as_str(), "false" | "0"))
    }

    pub(crate) fn take_body(&mut self) -> RequestBody {
        use http_body_util::BodyExt as _;
        let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(body, empty)
    }
}
