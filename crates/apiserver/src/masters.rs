//! Several API servers over one store: each says every ten seconds that it is there, and the endpoints of the
//! `kubernetes` Service are those that have said so lately.
//!
//! Upstream counterpart: `controlplane/reconcilers/lease.go`. The keys are upstream's, so that its servers and these
//! keep each other in the endpoints.

use std::{net::IpAddr, time::Duration};

use apimachinery::ApiError;
use bytes::Bytes;
use registry::Registry;
use serde_json::json;
use store::{Expect, Filter, Key, StoreError, Template, Txn, WatchError};
use supervisor::Supervisor;

use crate::bootstrap::{self, ApiEndpoint};

/// What the store calls these records. They are no objects of the API.
pub const RESOURCE: &str = "masterleases";
/// A server that was not heard of for so long is none.
pub const LIFETIME: Duration = Duration::from_secs(15);
/// How often one makes itself heard.
const RENEWAL: Duration = Duration::from_secs(10);

/// Keeps this server among the endpoints until it stops.
pub fn keep(registry: &Registry, endpoint: ApiEndpoint, supervisor: &Supervisor) {
    let (registry, owner) = (registry.clone(), supervisor.clone());
    supervisor.spawn_draining("api server endpoints", async move {
        tokio::select! {
            () = renew(&registry, &endpoint) => {}
            () = follow(&registry, &endpoint) => {}
            () = owner.shutting_down() => leave(&registry, &endpoint).await,
        }
    });
}

/// Says that this server is there.
pub async fn appear(registry: &Registry, address: IpAddr) -> Result<(), StoreError> {
    let record = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": address},
        "subsets": [{"addresses": [{"ip": address}]}],
    });
    let store = registry.store();
    let Some(value) = Template::from_json(&Bytes::from(record.to_string())) else { return Ok(()) };
    let Ok(key) = Key::new("", &address.to_string()) else { return Ok(()) };
    store.commit(Txn::new().put(&store.resource(RESOURCE), key, Expect::Any, value).relaxed()).await.map(|_| ())
}

/// The servers that are there, this one too, in order.
pub fn present(registry: &Registry, own: IpAddr) -> Vec<IpAddr> {
    let others = registry.store().resource(RESOURCE).snapshot();
    let mut present: Vec<IpAddr> = others.iter().filter_map(|entry| entry.key().name().parse().ok()).collect();
    if !present.contains(&own) {
        present.push(own);
    }
    present.sort_unstable();
    present
}

async fn renew(registry: &Registry, endpoint: &ApiEndpoint) {
    loop {
        if let Err(error) = appear(registry, endpoint.address).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "this API server could not say that it is there");
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

/// Writes the endpoints when servers come and go, and when somebody else has written them.
async fn follow(registry: &Registry, endpoint: &ApiEndpoint) {
    let store = registry.store().clone();
    let masters = store.resource(RESOURCE);
    let kept = ["services", "endpoints", "endpointslices.discovery.k8s.io"].map(|name| store.resource(name));
    let filter = || Filter::in_namespace("default").named("kubernetes");
    loop {
        let from = store.revision();
        let before = present(registry, endpoint.address);
        if let Err(error) = bootstrap::kubernetes_service_at(registry, endpoint, &before).await {
            tracing::warn!(%error, "kubernetes service not written");
        }
        let watches: Result<Vec<_>, _> = kept.iter().map(|resource| resource.watch(from, filter())).collect();
        let (Ok(mut watches), Ok(mut servers)) = (watches, masters.watch(from, Filter::all())) else { continue };
        loop {
            let objects = futures::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
            let next = tokio::select! {
                (next, ..) = objects => next.map(|_| true),
                // A renewal changes nothing.
                next = servers.next() => next.map(|_| present(registry, endpoint.address) != before),
            };
            match next {
                Ok(false) => {}
                Err(WatchError::Closed) => return,
                Ok(true) | Err(WatchError::Lagged | WatchError::Compacted { .. }) => break,
            }
        }
    }
}

/// Takes this server out of the endpoints. What cannot be written any more is left to the others.
async fn leave(registry: &Registry, endpoint: &ApiEndpoint) {
    let left = async {
        let store = registry.store();
        let Ok(key) = Key::new("", &endpoint.address.to_string()) else { return Ok(()) };
        let delete = Txn::new().delete(&store.resource(RESOURCE), key, Expect::Any);
        if let Err(error) = store.commit(delete).await {
            tracing::debug!(%error, "this API server was not in the list");
        }
        let others: Vec<IpAddr> =
            present(registry, endpoint.address).into_iter().filter(|address| *address != endpoint.address).collect();
        // The last one leaves them as they are: somebody comes back most likely, and an empty list helps nobody.
        if others.is_empty() { Ok(()) } else { bootstrap::endpoints(registry, endpoint, &others).await }
    };
    let outcome: Result<Result<(), ApiError>, _> = tokio::time::timeout(Duration::from_secs(5), left).await;
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "this API server could not be taken out of the endpoints"),
        Err(_) => tracing::warn!("this API server could not be taken out of the endpoints in time"),
    }
}
