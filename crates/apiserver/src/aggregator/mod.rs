//! Aggregation: groups that another server serves, behind this one's authentication and authorization.
//!
//! An `APIService` that names a Service hands `/apis/<group>/<version>` over to it. The extension server learns who asks
//! from headers, which it believes because of the client certificate they come with; it decides for itself what they may.
//! Upstream counterpart: `k8s.io/kube-aggregator`.

mod authentication;
mod availability;
mod merge;
mod priorities;
pub(crate) mod proxy;
mod register;
mod routes;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use apimachinery::ApiError;
use outbound::{Credentials, Outbound};
use registry::Registry;
use store::{Resource, Store};
use supervisor::Supervisor;

pub use authentication::{RequestHeaders, keep_authentication};
use merge::Documents;
pub(crate) use routes::Remote;
use routes::Routes;

use crate::server::ApiServer;

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
pub(crate) const PLURAL: &str = "apiservices";

/// How extension servers are called.
pub struct Aggregation {
    pub outbound: Outbound,
    /// The front proxy's certificate: what makes the headers believable.
    pub credentials: Credentials,
}

/// Who serves what elsewhere.
pub(crate) struct Aggregator {
    routes: Routes,
    /// Grows when discovery or OpenAPI of an extension server has changed.
    told: AtomicU64,
}

impl Aggregator {
    pub(crate) fn new(store: &Store, aggregation: Option<Aggregation>) -> Self {
        Self { routes: Routes::new(resource(store), aggregation), told: AtomicU64::new(0) }
    }

    /// The extension server of a path, if it has one. Costs two loads where there are none.
    pub(crate) fn route(&self, path: &str) -> Option<Arc<Remote>> {
        self.routes.route(path)
    }

    /// Grows with every change of an API service and of what extension servers tell.
    pub(crate) fn generation(&self) -> u64 {
        self.routes.changed().0 + self.told.load(Ordering::Acquire)
    }

    /// All extension servers, by group and version, the preferred first.
    pub(crate) fn remotes(&self) -> Arc<[Arc<Remote>]> {
        self.routes.all()
    }
}

fn resource(store: &Store) -> Resource {
    store.resource(&format!("{PLURAL}.{GROUP}"))
}

/// Registers what this server serves itself, and from then on keeps it registered and looks after extension servers.
pub async fn start(server: &ApiServer, supervisor: &Supervisor) -> Result<(), ApiError> {
    register::start(server.registry(), supervisor).await?;
    server.merge(Arc::new(merge::Others(server.clone())));
    availability::start(server, supervisor);
    Ok(())
}

fn kind(registry: &Registry) -> Result<Arc<registry::Kind>, ApiError> {
    registry.kind(GROUP, "v1", PLURAL).ok_or_else(|| ApiError::internal("API services are not registered"))
}
