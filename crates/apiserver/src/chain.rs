//! The chain of filters that every request goes through, and what is done with every answer.
//!
//! Order as upstream (`server/config.go` `DefaultBuildHandlerChain`): request info, deadline, authentication, audit,
//! impersonation, priority and fairness, authorization, then the resource. What a request holds, its seats and its last
//! audit event, it holds until its answer was sent. Knows nothing of sockets.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use parking_lot::Mutex;
use registry::audit::AuditTrail;

use crate::{
    aggregator,
    audit::{Arrival, Record},
    body::{Body, RequestBody},
    compress, filters,
    flow::{Asking, Class, Seats},
    handlers,
    metrics::{Labels, LongRunning},
    options::go_duration,
    request_info::{RequestInfo, parse_query},
    respond::{self, Answer, KeptJson},
    server::{ApiServer, Call, Peer},
    trace::Told,
};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longest `Audit-ID` that is taken from a client.
const MAX_AUDIT_ID: usize = 64;

/// The seats of a request, for whoever knows best when they are free again.
pub(crate) type Held = Arc<Mutex<Option<Seats>>>;

/// What is found out about a request on its way in, and needed on its way out.
#[derive(Default)]
struct Passing {
    labels: Option<Labels>,
    is_long_running: bool,
    record: Option<Record>,
    seats: Held,
    class: Option<Class>,
    waited: Duration,
}

/// One that is counted as under way.
struct UnderWay<'a> {
    count: &'a AtomicI64,
    server: &'a ApiServer,
}

impl<'a> UnderWay<'a> {
    fn enter(count: &'a AtomicI64, server: &'a ApiServer) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, server }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if self.server.is_shut_down() {
            self.server.inner.drained.notify_one();
        }
    }
}

impl ApiServer {
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
        let (parts, body) = request.into_parts();
        let is_inside = peer.identity.is_some();
        // What the end needs of the head, which the handler takes.
        let wishes = wishes(&parts.headers);
        let is_told = !is_inside || self.inner.auditor.is_some();
        let audit_id = is_told.then(|| audit_id(&parts.headers));
        let span = self.inner.tracer.as_ref().filter(|_| !is_inside).and_then(|tracer| tracer.begin(&parts.headers));
        let traced = span.map(|span| (span, parts.method.clone(), parts.uri.path().to_owned()));
        let mut passing = Passing::default();
        let outcome = self.pass(parts, body, peer, audit_id.as_deref(), &mut passing).await;
        let mut answer = outcome.unwrap_or_else(|error| respond::error(&error));
        passing.note(&mut answer);
        respond::negotiate_status(&mut answer, &wishes, "");
        if let (Some((span, method, path)), Some(tracer)) = (traced, &self.inner.tracer) {
            let agent = wishes.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
            let (method, code) = (method.as_str(), answer.status().as_u16());
            let audit_id = audit_id.as_deref().unwrap_or_default();
            tracer.end(span, &Told { method, path: &path, agent, audit_id, code });
        }
        let headers = answer.headers_mut();
        if !is_inside && let Ok(value) = HeaderValue::from_str(&self.inner.options.strict_transport_security) {
            // An empty one says nothing.
            if !value.is_empty() {
                headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
            }
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if let Some(id) = audit_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
            headers.insert(AUDIT_ID, id);
        }
        if let Some(class) = &passing.class {
            class.write_headers(headers);
        }
        if let Some(labels) = passing.labels {
            let size = answer.body().bytes().map(bytes::Bytes::len);
            self.inner.metrics.record(labels, answer.status().as_u16(), start.elapsed(), passing.waited, size);
        }
        compress::apply(&mut answer, &wishes);
        passing.leave(&mut answer);
        answer
    }

    async fn pass(
        &self,
        parts: http::request::Parts,
        body: RequestBody,
        peer: Peer,
        audit_id: Option<&str>,
        passing: &mut Passing,
    ) -> Result<Answer, ApiError> {
        let is_refused = self.inner.options.shutdown_send_retry_after && self.is_shut_down();
        if is_refused && peer.identity.is_none() && !is_served_to_the_end(&parts) {
            return Ok(respond::leaving(parts.version));
        }
        let query = parse_query(parts.uri.query());
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query)?;
        passing.is_long_running = is_long_running(&info);
        passing.labels = self.labels(&info, &query, &parts.headers);
        let deadline = if passing.is_long_running { None } else { Some(self.deadline(&query)?) };
        let counters = &self.inner.metrics;
        let is_reading = matches!(info.verb, "get" | "list" | "watch" | "head" | "options" | "proxy");
        let _under_way = UnderWay::enter(if is_reading { &counters.reading } else { &counters.writing }, self);

        let sender = filters::authenticate(self, &parts.headers, &info, &peer).await;
        let unknown = Arc::default();
        if let Some(auditor) = &self.inner.auditor {
            let user = sender.as_ref().unwrap_or(&unknown);
            let address = peer.address;
            let arrival = Arrival { info: &info, user, uri: &parts.uri, headers: &parts.headers, address };
            passing.record = auditor.begin(&arrival, audit_id.unwrap_or_default().to_owned());
        }
        if let Some(record) = &passing.record {
            record.received().await?;
        }
        let identity = filters::impersonate(self, &parts.headers, &info, sender?).await?;
        let user = identity.user;
        if let (Some((_, constraint)), Some(record)) = (&identity.requestor, &mut passing.record) {
            record.impersonate(&user, constraint);
        }

        if peer.identity.is_none() && (!passing.is_long_running || info.verb == "watch") {
            let asking = Asking { info: &info, query: &query, user: &user, registry: self.registry() };
            if let Some(flow) = &self.inner.flow {
                let start = Instant::now();
                match flow.enter(asking).await {
                    Ok(seats) => {
                        passing.waited = start.elapsed();
                        passing.class = Some(seats.class().clone());
                        *passing.seats.lock() = Some(seats);
                    }
                    Err(refused) => {
                        passing.class = Some(refused.class);
                        counters.terminated(passing.labels, 429);
                        return Ok(respond::too_many_requests(refused.retry_after));
                    }
                }
            }
        }

        let allowed = filters::authorize(self, &info, &user).await;
        let trail = passing.record.as_ref().map(|record| Arc::clone(&record.trail));
        let trail = trail.unwrap_or_else(|| match audit_id {
            Some(id) => Arc::new(AuditTrail::new(id.to_owned(), Default::default())),
            None => Arc::default(),
        });
        trail.annotate("authorization.k8s.io/decision", if allowed.is_ok() { "allow" } else { "forbid" });
        if let Err(error) = &allowed {
            trail.annotate("authorization.k8s.io/reason", error.message.clone());
        }
        allowed?;

        let call = Call::new(info, query, user, parts, trail, Arc::clone(&passing.seats), body);
        let answering = async {
            if let Some(remote) = self.inner.aggregator.route(&call.info.path) {
                aggregator::proxy::serve(self, call, &remote).await
            } else if call.info.is_resource {
                handlers::resource(self.clone(), call).await
            } else {
                handlers::non_resource(self, call).await
            }
        };
        let Some(deadline) = deadline else { return answering.await };
        match tokio::time::timeout(deadline, answering).await {
            Ok(answer) => answer,
            Err(_) => {
                counters.terminated(passing.labels, 504);
                Err(ApiError::timeout(
                    "request did not complete within requested timeout - context deadline exceeded",
                    0,
                ))
            }
        }
    }

    /// How long the request may take. Upstream: `filters/request_deadline.go`.
    fn deadline(&self, query: &registry::options::Query) -> Result<Duration, ApiError> {
        let longest = self.inner.options.request_timeout;
        let Some((_, text)) = query.iter().find(|(name, value)| name == "timeout" && !value.is_empty()) else {
            return Ok(longest);
        };
        let asked = go_duration(text).ok_or_else(|| {
            let quoted = apimachinery::field::go_quote(text);
            ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {quoted}"
            ))
        })?;
        Ok(if asked.is_zero() { longest } else { asked.min(longest) })
    }

    /// Labels only for what is registered, so that no URL makes a series.
    fn labels(&self, info: &RequestInfo, query: &registry::options::Query, headers: &HeaderMap) -> Option<Labels> {
        let is_apply = headers.get(header::CONTENT_TYPE).is_some_and(|value| *value == "application/apply-patch+yaml");
        let dry_run = if query.iter().any(|(name, _)| name == "dryRun") { "All" } else { "" };
        if !info.is_resource {
            let path = [
                "/livez",
                "/readyz",
                "/healthz",
                "/version",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/api",
                "/apis",
            ]
            .into_iter()
            .find(|known| *known == info.path.trim_end_matches('/'))?;
            let verb = if info.verb == "get" { "GET" } else { "OTHER" };
            let empty = Labels { verb, dry_run, group: "", version: "", resource: "", subresource: "", scope: "" };
            return Some(Labels { subresource: path, ..empty });
        }
        let kind = self.inner.registry.kind(&info.group, &info.version, &info.resource)?;
        let subresource = kind.resource.subresources().iter().find(|known| known.name == info.subresource);
        // Upstream: `CleanScope`.
        let scope = match (info.name.is_empty() && info.verb != "create", info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let verb = match info.verb {
            _ if STREAMS.contains(&info.subresource.as_str()) => "CONNECT",
            "get" => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" => "POST",
            "update" => "PUT",
            "patch" if is_apply => "APPLY",
            "patch" => "PATCH",
            "delete" | "deletecollection" => "DELETE",
            _ => "OTHER",
        };
        let known = kind.info();
        Some(Labels {
            verb,
            dry_run,
            group: known.group,
            version: known.version,
            resource: known.plural,
            subresource: subresource.map_or("", |known| known.name),
            scope,
        })
    }
}

/// Who looks after the server is answered to its end. Upstream: `isRequestExemptFromRetryAfter`.
fn is_served_to_the_end(parts: &http::request::Parts) -> bool {
    const PATHS: [&str; 4] = ["/readyz", "/livez", "/healthz", "/metrics"];
    PATHS.iter().any(|path| parts.uri.path().starts_with(path))
}

/// Subresources whose requests last as long as somebody talks.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Upstream: `BasicLongRunningRequestCheck` with kube-apiserver's verbs and subresources.
fn is_long_running(info: &RequestInfo) -> bool {
    matches!(info.verb, "watch" | "proxy")
        || (info.is_resource && STREAMS.contains(&info.subresource.as_str()))
        || (!info.is_resource && info.path.starts_with("/debug/pprof/"))
}

/// The headers that say how the answer is wanted.
fn wishes(headers: &HeaderMap) -> HeaderMap {
    let mut wishes = HeaderMap::new();
    for name in [header::ACCEPT, header::ACCEPT_ENCODING, header::USER_AGENT] {
        if let Some(value) = headers.get(&name) {
            wishes.insert(name, value.clone());
        }
    }
    wishes
}

/// The client's own id for the request, or a new one. Upstream: `filters/audit_init.go`.
fn audit_id(headers: &HeaderMap) -> String {
    let given = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    match given {
        Some(id) => id.chars().take(MAX_AUDIT_ID).collect(),
        None => AuditTrail::default().id().to_owned(),
    }
}

impl Passing {
    /// Tells the audit what is answered.
    fn note(&mut self, answer: &mut Answer) {
        let Some(record) = &mut self.record else { return };
        if let Some(KeptJson(json)) = answer.extensions_mut().remove::<KeptJson>() {
            record.trail.set_response(&json);
        }
        let code = answer.status();
        let status = answer.body().bytes().filter(|_| code.is_client_error() || code.is_server_error());
        record.answered(code.as_u16(), status.and_then(|json| serde_json::from_slice(json).ok()));
    }

    /// Lets go of what the request held, or ties it to an answer that is still being made.
    fn leave(self, answer: &mut Answer) {
        if answer.body().is_made_while_sent() {
            let long_running = self.labels.filter(|_| self.is_long_running).map(|labels| LongRunning::begin(&labels));
            if let Some(record) = self.record.as_ref().filter(|_| self.is_long_running) {
                record.started();
            }
            let body = std::mem::replace(answer.body_mut(), Body::empty());
            *answer.body_mut() = body.holding((self.record, self.seats, long_running));
        }
    }
}
