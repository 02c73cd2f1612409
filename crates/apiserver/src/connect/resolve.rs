//! From a Service to an endpoint that the server dials itself.
//!
//! The server goes to endpoints, not to cluster addresses: those need the rules of a proxy on the server's own machine,
//! which a control plane without a node has not, and which come later than the first call. Upstream does so with
//! `--enable-aggregator-routing`. Upstream: `util/proxy.ResolveEndpoint`, `RandomEndpoint`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use apimachinery::scan;
use outbound::{Place, ResolveError, ResolveService};
use serde_json::Value;
use store::{Key, Resource, Store};

const SERVICE_LABEL: [&str; 3] = ["metadata", "labels", "kubernetes.io/service-name"];

/// Services and their endpoints as they are stored.
pub struct Services {
    services: Resource,
    slices: Resource,
    /// Where the search for an endpoint begins, so that they take turns.
    turn: AtomicUsize,
}

impl Services {
    pub fn new(store: &Store) -> Self {
        Self {
            services: store.resource("services"),
            slices: store.resource("endpointslices.discovery.k8s.io"),
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(namespace, name).ok()?;
        let entry = self.services.snapshot().get(&key)?;
        serde_json::from_slice(entry.bytes()).ok()
    }

    /// Whether the Service has any endpoints listed at all.
    pub(crate) fn has_slices(&self, namespace: &str, name: &str) -> bool {
        let snapshot = self.slices.snapshot();
        let mut slices = snapshot.range(namespace, None);
        slices.any(|entry| scan::text(entry.bytes(), &SERVICE_LABEL).as_deref() == Some(name))
    }

    /// A ready endpoint behind a port of the Service, of `family` if there is one, for which `is_valid` holds.
    pub(crate) fn endpoint(
        &self,
        namespace: &str,
        name: &str,
        port_name: &str,
        family: &str,
        is_valid: &dyn Fn(&Value) -> bool,
    ) -> Option<SocketAddr> {
        let snapshot = self.slices.snapshot();
        let mut slices: Vec<Value> = snapshot
            .range(namespace, None)
            .filter(|entry| scan::text(entry.bytes(), &SERVICE_LABEL).as_deref() == Some(name))
            .filter_map(|entry| serde_json::from_slice(entry.bytes()).ok())
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if !slices.is_empty() {
            let start = turn % slices.len();
            slices.rotate_left(start);
        }
        slices.sort_by_key(|slice| slice["addressType"] != family);
        slices.iter().find_map(|slice| in_slice(slice, port_name, turn, is_valid))
    }
}

fn in_slice(slice: &Value, port_name: &str, turn: usize, is_valid: &dyn Fn(&Value) -> bool) -> Option<SocketAddr> {
    let ports = slice["ports"].as_array()?;
    let port = ports.iter().find(|port| port["name"].as_str().unwrap_or_default() == port_name)?["port"].as_u64()?;
    let port = u16::try_from(port).ok()?;
    let endpoints = slice["endpoints"].as_array()?;
    (0..endpoints.len()).find_map(|step| {
        let endpoint = &endpoints[(turn + step) % endpoints.len()];
        let usable = endpoint["conditions"]["ready"] != false && is_valid(endpoint);
        let address: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
        usable.then(|| SocketAddr::new(address, port))
    })
}

impl ResolveService for Services {
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<Place, ResolveError> {
        let service = self.service(namespace, name).ok_or_else(|| ResolveError::NotFound(name.to_owned()))?;
        let spec = &service["spec"];
        match spec["type"].as_str().unwrap_or("ClusterIP") {
            "ClusterIP" | "LoadBalancer" | "NodePort" => {}
            "ExternalName" => {
                return Ok(Place::Name(spec["externalName"].as_str().unwrap_or_default().to_owned(), port));
            }
            other => return Err(ResolveError::Unsupported(other.to_owned())),
        }
        let ports = spec["ports"].as_array().into_iter().flatten();
        let found = ports.into_iter().find(|known| known["port"] == port);
        let found = found.ok_or_else(|| ResolveError::NoPort { service: name.to_owned(), port })?;
        let port_name = found["name"].as_str().unwrap_or_default();
        let family = spec["ipFamilies"][0].as_str().unwrap_or("IPv4");
        self.endpoint(namespace, name, port_name, family, &|_| true)
            .map(Place::Address)
            .ok_or_else(|| ResolveError::NoEndpoints(name.to_owned()))
    }
}
