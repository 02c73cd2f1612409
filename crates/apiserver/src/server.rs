//! The API server as a value: built from its parts, asked with requests. Knows nothing of sockets.
//!
//! What becomes of a request stands in `chain.rs`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use registry::{
    Action, Registry, RequestCx, UserInfo, Verb,
    audit::AuditTrail,
    auth::{Authenticator, Authorizer, TokenIssuer},
};
use supervisor::Supervisor;
use tokio_util::sync::CancellationToken;

use apimachinery::ApiError;

use crate::{
    aggregator::{Aggregation, Aggregator},
    audit::Auditor,
    body::RequestBody,
    chain::Held,
    connect::{NodeDialer, Services},
    discovery::Discovery,
    flow::Flow,
    handlers::pace::Pace,
    metrics::{Metrics, Probes},
    openapi::OpenApi,
    options::ServerOptions,
    others::OtherServers,
    request_info::RequestInfo,
    trace::Tracer,
};

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
    /// Where Services lead.
    pub(crate) services: Services,
    /// For pods and Services behind the proxy: anywhere but the server's own addresses.
    pub(crate) proxy: outbound::Client,
    pub(crate) aggregator: Aggregator,
    pub(crate) paths: HashMap<String, Arc<dyn PathHandler>>,
    pub(crate) metrics: Metrics,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
    /// Set once they are known, which is after the server is made: they are clients of it.
    pub(crate) others: OnceLock<Arc<dyn OtherServers>>,
    pub(crate) ready: AtomicBool,
    leaving: AtomicBool,
    pub(crate) shutdown: CancellationToken,
    /// Told when, at the end, a request has ended.
    pub(crate) drained: tokio::sync::Notify,
    pub(crate) supervisor: Supervisor,
    pub(crate) options: ServerOptions,
    /// The timer of all watches.
    pub(crate) pace: Pace,
    /// None: priority and fairness is off.
    pub(crate) flow: Option<Flow>,
    pub(crate) auditor: Option<Auditor>,
    pub(crate) tracer: Option<Tracer>,
    pub(crate) checks: Vec<Arc<dyn HealthCheck>>,
    pub(crate) probes: Probes,
    pub(crate) started: jiff::Timestamp,
}

/// Says whether a part of the server works, under a name: `/readyz/<name>`.
pub trait HealthCheck: Send + Sync {
    fn name(&self) -> &str;

    /// Whether `/livez` asks it, too: a restart would help.
    fn is_for_liveness(&self) -> bool {
        false
    }

    /// An error says what is wrong, to the log only.
    fn check(&self) -> Result<(), String>;
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
    aggregation: Option<Aggregation>,
    paths: HashMap<String, Arc<dyn PathHandler>>,
    supervisor: Supervisor,
    options: ServerOptions,
    checks: Vec<Arc<dyn HealthCheck>>,
}

/// Where a request came from.
#[derive(Clone, Default)]
pub struct Peer {
    /// DER of the client's verified certificate chain, leaf first.
    pub certificates: Arc<Vec<Vec<u8>>>,
    /// Set for callers inside the process, who need not prove who they are.
    pub identity: Option<Arc<UserInfo>>,
    /// Where the connection comes from.
    pub address: Option<IpAddr>,
}

/// One request on its way through the filters.
pub(crate) struct Call {
    pub(crate) info: RequestInfo,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) user: Arc<UserInfo>,
    pub(crate) parts: http::request::Parts,
    /// What is told of the request to the audit log.
    pub(crate) audit: Arc<AuditTrail>,
    /// The request's seats, until its handler or its answer lets go of them.
    pub(crate) seats: Held,
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

    /// How extension servers are called, and as whom. Without it, API services that name one stay unavailable.
    #[must_use]
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = Some(aggregation);
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

    /// Adds a check to `/readyz`, and to `/livez` where it says so.
    #[must_use]
    pub fn health_check(mut self, check: Arc<dyn HealthCheck>) -> Self {
        self.checks.push(check);
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
            self.registry.register(resource);
        }
        for (group, plural, subresource, action) in crate::actions::all(self.token_issuer.as_ref()) {
            self.actions.entry((group.to_owned(), plural.to_owned(), subresource.to_owned())).or_insert(action);
        }
        let pace = Pace::default();
        let store = self.registry.store().clone();
        pace.start(&self.supervisor, move || store.revision().0);
        let flow = self.options.priority_and_fairness.then(|| {
            let patience = self.options.request_timeout / 4;
            let flow = Flow::new(self.options.concurrency(), patience, &self.supervisor);
            flow.follow(&self.registry);
            flow
        });
        let services = Services::new(self.registry.store());
        let aggregator = Aggregator::new(self.registry.store(), self.aggregation);
        Ok(ApiServer {
            inner: Arc::new(Inner {
                registry: self.registry,
                authenticator: self.authenticator,
                authorizer: self.authorizer,
                actions: self.actions,
                dialer: self.dialer,
                services,
                proxy: proxy_client()?,
                aggregator,
                paths: self.paths,
                metrics: Metrics::default(),
                discovery: Discovery::default(),
                openapi: OpenApi::default(),
                others: OnceLock::new(),
                ready: AtomicBool::new(false),
                leaving: AtomicBool::new(false),
                shutdown: CancellationToken::new(),
                drained: tokio::sync::Notify::new(),
                probes: Probes::default(),
                flow,
                tracer: match &self.options.tracing_config {
                    Some(path) => Some(Tracer::open(path, &self.supervisor)?),
                    None => None,
                },
                auditor: Auditor::open(&self.options.audit, &self.supervisor)?,
                checks: self.checks,
                started: jiff::Timestamp::now(),
                options: self.options,
                supervisor: self.supervisor,
                pace,
            }),
        })
    }
}

/// For pods and Services, whose certificates nobody has promised anything about.
fn proxy_client() -> Result<outbound::Client, ApiError> {
    let settings = outbound::Settings {
        trust: outbound::Trust::Anybody,
        rule: outbound::AddressRule::Proxyable,
        ..outbound::Settings::default()
    };
    outbound::Client::anywhere(settings).map_err(ApiError::internal)
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
            aggregation: None,
            paths: HashMap::new(),
            supervisor: supervisor.clone(),
            options: ServerOptions::default(),
            checks: Vec::new(),
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Merges what other servers serve into discovery and OpenAPI. The first one said stays.
    pub fn merge(&self, others: Arc<dyn OtherServers>) {
        self.inner.others.get_or_init(|| others);
    }

    /// Lets `/readyz` say yes.
    pub fn set_ready(&self) {
        self.inner.ready.store(true, Ordering::Release);
    }

    /// Lets `/readyz` say no, so that nobody sends more; everything is still answered.
    pub fn begin_leaving(&self) {
        self.inner.leaving.store(true, Ordering::Release);
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.inner.shutdown.is_cancelled()
    }

    /// Returns once the end was asked for and no request but those that last is under way.
    pub(crate) async fn drained(&self) {
        self.inner.shutdown.cancelled().await;
        while self.inner.metrics.under_way() > 0 {
            self.inner.drained.notified().await;
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::Acquire)
    }

    /// Ends all watches and lets `/readyz` say no. Other requests are still answered.
    pub fn begin_shutdown(&self) {
        self.inner.ready.store(false, Ordering::Release);
        self.inner.shutdown.cancel();
        self.inner.pace.close();
    }
}

impl Call {
    pub(crate) fn new(
        info: RequestInfo,
        query: Vec<(String, String)>,
        user: Arc<UserInfo>,
        parts: http::request::Parts,
        audit: Arc<AuditTrail>,
        seats: Held,
        body: RequestBody,
    ) -> Self {
        Self { info, query, user, parts, audit, seats, body: Mutex::new(body) }
    }

    /// The context that the registry's hooks see.
    pub(crate) fn context(&self, server: &ApiServer, verb: Verb) -> RequestCx {
        let mut cx = server.inner.registry.context(Arc::clone(&self.user), verb);
        cx.namespace.clone_from(&self.info.namespace);
        cx.name.clone_from(&self.info.name);
        cx.subresource.clone_from(&self.info.subresource);
        cx.audit = Arc::clone(&self.audit);
        cx.field_manager = self.field_manager();
        cx
    }

    /// Whose the fields are that the request sets.
    fn field_manager(&self) -> String {
        match self.param("fieldManager") {
            "" => {
                let user_agent = self.parts.headers.get(http::header::USER_AGENT);
                let user_agent = user_agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
                registry::options::manager_of_user_agent(user_agent)
            }
            named => named.to_owned(),
        }
    }

    pub(crate) fn param(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// A flag of the query: there and not false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        registry::options::flag(&self.query, name).unwrap_or_default()
    }

    pub(crate) fn take_body(&mut self) -> RequestBody {
        use http_body_util::BodyExt as _;
        let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(body, empty)
    }
}
