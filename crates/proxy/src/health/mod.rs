//! Health checks of load balancers: one small HTTP server for each `healthCheckNodePort`.
//! Upstream: `pkg/proxy/healthcheck/service_health.go`.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::ObjectKey;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use informer::Backoff;
use parking_lot::Mutex;
use supervisor::{Supervisor, TaskGuard};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::plan::Health;

/// Connections a port answers at a time; a health check is one request.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The servers of a node, by Service.
pub(crate) struct HealthServers {
    address: IpAddr,
    supervisor: Supervisor,
    servers: HashMap<ObjectKey, Server>,
}

struct Server {
    port: u16,
    local_endpoints: Arc<Mutex<usize>>,
    _task: TaskGuard,
}

impl HealthServers {
    pub(crate) fn new(address: IpAddr, supervisor: Supervisor) -> Self {
        Self { address, supervisor, servers: HashMap::new() }
    }

    /// Takes in what the changed Services want now: `wanted` looks each up.
    pub(crate) fn set(&mut self, changed: &BTreeSet<ObjectKey>, wanted: impl Fn(&ObjectKey) -> Option<Health>) {
        for service in changed {
            let health = wanted(service);
            let known =
                self.servers.get(service).filter(|server| health.is_some_and(|health| health.port == server.port));
            match (health, known) {
                (Some(health), Some(server)) => *server.local_endpoints.lock() = health.local_endpoints,
                (Some(health), None) => {
                    let server = self.start(service, health);
                    self.servers.insert(service.clone(), server);
                }
                (None, _) => drop(self.servers.remove(service)),
            }
        }
    }

    fn start(&self, service: &ObjectKey, health: Health) -> Server {
        let local_endpoints = Arc::new(Mutex::new(health.local_endpoints));
        let task =
            serve((self.address, health.port), service.clone(), local_endpoints.clone(), self.supervisor.clone());
        let task = self.supervisor.spawn_guarded("service-health", task);
        Server { port: health.port, local_endpoints, _task: task }
    }
}

async fn serve(address: (IpAddr, u16), service: ObjectKey, local_endpoints: Arc<Mutex<usize>>, supervisor: Supervisor) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                // Somebody else's port: they may leave.
                let delay = backoff.next_delay();
                tracing::warn!(port = address.1, %service, %error, ?delay, "cannot open a health check port");
                tokio::time::sleep(delay).await;
            }
        }
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a health check connection was not accepted");
                tokio::time::sleep(backoff.next_delay()).await;
                continue;
            }
        };
        backoff.reset();
        let (service, local_endpoints) = (service.clone(), local_endpoints.clone());
        supervisor.spawn("service-health-connection", async move {
            answer(stream, &service, &local_endpoints).await;
            drop(permit);
        });
    }
}

async fn answer(stream: TcpStream, service: &ObjectKey, local_endpoints: &Mutex<usize>) {
    let respond = service_fn(|_| async { Ok::<_, Infallible>(response(service, *local_endpoints.lock())) });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), respond);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a health check ended early");
    }
}

fn response(service: &ObjectKey, local_endpoints: usize) -> Response<Full<Bytes>> {
    let (namespace, name) = (&service.namespace, &service.name);
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": true\n}}"
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if local_endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert("X-Load-Balancing-Endpoint-Weight", local_endpoints.into());
    response
}
