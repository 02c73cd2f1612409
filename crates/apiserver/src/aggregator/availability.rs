//! Whether extension servers are there: by what their Services say, and by asking them.
//!
//! Looked at when an API service, its Service or its endpoints change, and while there are any every half minute, sooner
//! after a failure. With none, this sleeps. What a server answers is kept as the group's discovery.
//! Upstream: `kube-aggregator/pkg/controllers/status/remote`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use apimachinery::ApiError;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _, select_all, select_ok},
    stream::FuturesUnordered,
};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceCondition};
use outbound::ResolveError;
use registry::{AnyObject, UpdateKind, UserInfo, Verb};
use resources::apiregistration::{AVAILABLE, set_condition};
use serde_json::Value;
use store::{Filter, Resource, WatchError};
use supervisor::Supervisor;
use tokio::time::Instant;

use super::{Remote, merge, proxy};
use crate::server::ApiServer;

/// Upstream's resync of API services.
const INTERVAL: Duration = Duration::from_secs(30);
/// After the first failure; twice as long with each further one, up to the interval. Upstream: the queue's rate limiter.
const RETRY: Duration = Duration::from_millis(5);
/// Upstream: `http.Client.Timeout` of the check.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a server is asked at once, when it has not answered the first time; one success is enough.
const ATTEMPTS: usize = 4;
/// Largest list of a group's resources.
const MAX_DISCOVERY: usize = 4 * 1024 * 1024;

/// What is known of an extension server between two looks.
struct Schedule {
    failures: u32,
    next: Instant,
}

struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

pub(super) fn start(server: &ApiServer, supervisor: &Supervisor) {
    let server = server.clone();
    supervisor.spawn("API service availability", async move {
        let mut schedules: HashMap<String, Schedule> = HashMap::new();
        loop {
            let from = server.registry().store().revision();
            let remotes = server.inner.aggregator.remotes();
            schedules.retain(|name, _| remotes.iter().any(|remote| remote.name == *name));
            let mut checks: FuturesUnordered<_> =
                remotes.iter().map(|remote| check(&server, remote).map(move |verdict| (remote, verdict))).collect();
            while let Some((remote, verdict)) = checks.next().await {
                let schedule =
                    schedules.entry(remote.name.clone()).or_insert(Schedule { failures: 0, next: Instant::now() });
                schedule.plan(verdict.status == "True");
                if let Err(error) = write(&server, remote, verdict).await {
                    tracing::warn!(service = %remote.name, %error, "availability not written");
                }
            }
            drop(checks);
            let next = schedules.values().map(|schedule| schedule.next).min();
            if !changed(&server, &remotes, from, next).await {
                return;
            }
        }
    });
}

impl Schedule {
    fn plan(&mut self, good: bool) {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        let wait = match self.failures {
            0 => INTERVAL,
            failures => RETRY.saturating_mul(2_u32.saturating_pow(failures - 1)).min(INTERVAL),
        };
        self.next = Instant::now() + wait;
    }
}

/// Waits for what may change a verdict. False: the store is closed.
async fn changed(server: &ApiServer, remotes: &[Arc<Remote>], from: store::Revision, next: Option<Instant>) -> bool {
    let store = server.registry().store();
    let mut waits: Vec<BoxFuture<'_, bool>> = vec![event(super::resource(store), from, Filter::all(), None)];
    for remote in remotes {
        let (namespace, name) = (remote.service.namespace.as_str(), remote.service.name.as_str());
        waits.push(event(store.resource("services"), from, Filter::in_namespace(namespace).named(name), None));
        let slices = store.resource("endpointslices.discovery.k8s.io");
        waits.push(event(slices, from, Filter::in_namespace(namespace), Some(name)));
    }
    if let Some(next) = next {
        waits.push(tokio::time::sleep_until(next).map(|()| true).boxed());
    }
    select_all(waits).await.0
}

/// The next change of a resource; with `service`, of a slice of that Service.
fn event(resource: Resource, from: store::Revision, filter: Filter, service: Option<&str>) -> BoxFuture<'_, bool> {
    async move {
        let mut watch = match resource.watch(from, filter) {
            Ok(watch) => watch,
            Err(error) => return !matches!(error, WatchError::Closed),
        };
        loop {
            match (watch.next().await, service) {
                (Err(error), _) => return !matches!(error, WatchError::Closed),
                (Ok(_), None) => return true,
                (Ok(event), Some(service)) => {
                    let label = ["metadata", "labels", "kubernetes.io/service-name"];
                    if apimachinery::scan::text(event.entry().bytes(), &label).as_deref() == Some(service) {
                        return true;
                    }
                }
            }
        }
    }
    .boxed()
}

async fn check(server: &ApiServer, remote: &Remote) -> Verdict {
    let (namespace, name) = (remote.service.namespace.as_str(), remote.service.name.as_str());
    let no = |reason, message| Verdict { status: "False", reason, message };
    let services = &server.inner.services;
    let Some(service) = services.service(namespace, name) else {
        return no("ServiceNotFound", format!("service/{name} in \"{namespace}\" is not present"));
    };
    if service["spec"]["type"].as_str().unwrap_or("ClusterIP") == "ClusterIP" {
        let number = remote.service.port;
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let Some(port) = ports.find(|port| port["port"] == number) else {
            let message = format!("service/{name} in \"{namespace}\" is not listening on port {number}");
            return no("ServicePortError", message);
        };
        let port_name = port["name"].as_str().unwrap_or_default();
        if !services.has_slices(namespace, name) {
            let message = format!("cannot find endpointslices for service/{name} in \"{namespace}\"");
            return no("EndpointsNotFound", message);
        }
        if services.endpoint(namespace, name, port_name, "", &|_| true).is_none() {
            let message = format!(
                "endpointslices for service/{name} in \"{namespace}\" have no addresses with port name \"{port_name}\""
            );
            return no("MissingEndpoints", message);
        }
    }
    let mut answer = ask(remote).await;
    if answer.is_err() {
        // One bad endpoint among good ones does not make the group unavailable.
        let again = (0..ATTEMPTS).map(|_| ask(remote).boxed());
        answer = select_ok(again).await.map(|(body, _)| body);
    }
    match answer {
        Ok(body) => {
            let listed = serde_json::from_slice::<Value>(&body).is_ok_and(|list| list["kind"] == "APIResourceList");
            if listed && remote.resources.load().as_deref() != Some(&body) {
                remote.resources.store(Some(Arc::new(body)));
                server.inner.aggregator.tell();
            }
            if !remote.is_available || remote.documents.load().is_none() {
                let documents = tokio::time::timeout(TIMEOUT, merge::documents(remote)).await.unwrap_or_default();
                remote.documents.store(Some(Arc::new(documents)));
                server.inner.aggregator.tell();
            }
            Verdict { status: "True", reason: "Passed", message: "all checks passed".to_owned() }
        }
        Err(why) => no("FailedDiscoveryCheck", why),
    }
}

/// The server's own list of what it serves.
async fn ask(remote: &Remote) -> Result<Bytes, String> {
    let path = remote.discovery_path();
    let url = format!("https://{}:{}{path}", remote.service.server_name(), remote.service.port);
    let client = remote.client.as_ref().map_err(|why| format!("failing or missing response from {url}: {why}"))?;
    // As somebody who may always look.
    let user = UserInfo::new("system:kube-aggregator", [UserInfo::MASTERS_GROUP]);
    let headers = proxy::identity_headers(&user).map_err(|error| error.to_string())?;
    let mut request = Request::new(outbound::empty());
    *request.uri_mut() = path.parse().map_err(|error| format!("failing or missing response from {url}: {error}"))?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answered = async {
        let answer = client.send(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("bad status from {url}: {}", status.as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_DISCOVERY).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    };
    match tokio::time::timeout(TIMEOUT, answered).await {
        Ok(answer) => answer.map_err(|why| format!("failing or missing response from {url}: {why}")),
        Err(_) => Err(format!("failing or missing response from {url}: Get \"{url}\": context deadline exceeded")),
    }
}

/// Writes the condition, if it says anything new.
async fn write(server: &ApiServer, remote: &Remote, verdict: Verdict) -> Result<(), ApiError> {
    let registry = server.registry();
    let kind = super::kind(registry)?;
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), Verb::Update);
    remote.name.clone_into(&mut cx.name);
    let condition = APIServiceCondition {
        type_: AVAILABLE.to_owned(),
        status: verdict.status.to_owned(),
        last_transition_time: Some(cx.time()),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message),
    };
    let mutate = |object: &mut dyn AnyObject| -> Result<(), ApiError> {
        if let Some(service) = object.downcast_mut::<APIService>()
            && service.spec.as_ref().is_some_and(|spec| spec.service.is_some())
        {
            set_condition(service, condition.clone());
        }
        Ok(())
    };
    match registry.mutate(&kind, &cx, UpdateKind::Status, &mutate).await {
        Err(error) if error.is("NotFound") => Ok(()),
        other => other.map(drop),
    }
}

impl super::Aggregator {
    /// An extension server has told something new of itself.
    fn tell(&self) {
        self.told.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
    }

    /// Whether the Service leads anywhere at this moment.
    pub(crate) fn reachable(&self, remote: &Remote) -> Result<(), ResolveError> {
        let Some(resolver) = self.routes.resolver() else { return Ok(()) };
        resolver.resolve(&remote.service.namespace, &remote.service.name, remote.service.port).map(drop)
    }
}
