//! A load balancer for plain machines: a Service of type LoadBalancer is answered on the nodes' own addresses.
//!
//! The controller only writes `status.loadBalancer`; the nodes' rules do the rest.
//! Upstream counterpart: `staging/src/k8s.io/cloud-provider/controllers/service`; k3s has `klipper-lb`.

mod allocate;

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::core::v1::{Node, Service};
use api::discovery::v1::EndpointSlice;
use apimachinery::ObjectKey;
use informer::{Cache, Caches, Controller, EventKind, Index, Next, Reconcile, ReconcileError, Recorder};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use supervisor::Supervisor;

pub use allocate::{Claim, NodeView, allocate};

use crate::run::service_of;
use crate::view;

/// `spec.loadBalancerClass` that this controller takes, beside none at all.
pub const CLASS: &str = "tiphys.io/node-address";

/// What the controller may do, for its role.
pub const RULES: &[(&str, &str, &[&str])] = &[
    ("", "services", &["get", "list", "watch"]),
    ("", "services/status", &["patch"]),
    ("", "nodes", &["list", "watch"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

struct LoadBalancer {
    client: kube::Client,
    services: Cache<Service>,
    nodes: Cache<Node>,
    slices: Index<EndpointSlice>,
    by_port: Index<Service>,
    recorder: Recorder,
    reserved: BTreeSet<u16>,
}

/// Starts the controller. `reserved` are TCP ports of the nodes that no Service may take, such as the API server's.
pub fn start(caches: &Caches, recorder: Recorder, reserved: impl IntoIterator<Item = u16>, supervisor: &Supervisor) {
    let services = caches.of::<Service>();
    let nodes = caches.of::<Node>();
    let slices = caches.of::<EndpointSlice>();
    let all = services.index("load-balancer", |service| if wanted(service) { vec![String::new()] } else { Vec::new() });
    let by_port = services.index("load-balancer-port", |service| {
        if wanted(service) { claim(service).ports.iter().map(port_key).collect() } else { Vec::new() }
    });
    let reconciler = LoadBalancer {
        client: caches.client().clone(),
        services: services.clone(),
        nodes: nodes.clone(),
        slices: slices.index("service", |slice| service_of(slice).iter().map(ToString::to_string).collect()),
        by_port: by_port.clone(),
        recorder,
        reserved: reserved.into_iter().collect(),
    };
    Controller::new("service-load-balancer", reconciler)
        .workers(1)
        .watch_for(&services, move |change, keys| {
            keys.push(change.key.clone());
            // Whoever waits for a port that this one had.
            for service in change.old.iter().filter(|service| wanted(service)) {
                keys.extend(claim(service).ports.iter().flat_map(|port| by_port.keys(&port_key(port))));
            }
        })
        .watch_for(&nodes, move |change, keys| {
            let views = |node: &Option<std::sync::Arc<Node>>| node.as_ref().map(|node| node_view(node));
            // Nodes report every few seconds; only what matters here makes work.
            if views(&change.old) != views(&change.new) {
                keys.extend(all.keys(""));
            }
        })
        .watch_for(&slices, |change, keys| {
            keys.extend(change.old.iter().chain(&change.new).filter_map(|slice| service_of(slice)));
        })
        .start(supervisor);
}

impl Reconcile for LoadBalancer {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(service) = self.services.get(key) else { return Ok(Next::Await) };
        let now = view::ingress_addresses(&service);
        let wanted_addresses = if wanted(&service) {
            self.addresses(key, &service)
        } else if ours_before(&service) {
            Vec::new()
        } else {
            return Ok(Next::Await);
        };
        if now == wanted_addresses {
            return Ok(Next::Await);
        }
        let ingress: Vec<_> =
            wanted_addresses.iter().map(|ip| json!({ "ip": ip.to_string(), "ipMode": "VIP" })).collect();
        let meta = &service.metadata;
        let patch = json!({
            "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version },
            "status": { "loadBalancer": { "ingress": ingress } },
        });
        let services: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        services.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        if !wanted_addresses.is_empty() {
            self.recorder.object(&*service, EventKind::Normal, "EnsuredLoadBalancer", "Ensured load balancer");
        }
        Ok(Next::Await)
    }
}

impl LoadBalancer {
    fn addresses(&self, key: &ObjectKey, service: &Service) -> Vec<IpAddr> {
        let mut own = claim(service);
        if own.local_nodes.is_some() {
            let slices = self.slices.get(&key.to_string());
            let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
            let ready = endpoints.filter(|endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
            });
            own.local_nodes = Some(ready.filter_map(|endpoint| endpoint.node_name.clone()).collect());
        }
        let mut rivals: Vec<Claim> = Vec::new();
        for port in &own.ports {
            let others = self.by_port.get(&port_key(port));
            rivals.extend(
                others.iter().filter(|other| informer::Object::key(&***other) != *key).map(|other| claim(other)),
            );
        }
        let nodes: Vec<NodeView> = self.nodes.list().iter().map(|node| node_view(node)).collect();
        let addresses = allocate(&own, &rivals, &nodes, &self.reserved);
        if addresses.is_empty() && own.local_nodes.is_none() {
            tracing::debug!(service = %key, "no address for a load balancer");
        }
        addresses
    }
}

fn wanted(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS)
        && service.metadata.deletion_timestamp.is_none()
}

/// A Service that is no longer of the type keeps no address. One of another class is that class's to write.
fn ours_before(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() != Some("LoadBalancer"))
}

fn claim(service: &Service) -> Claim {
    let spec = service.spec.clone().unwrap_or_default();
    let families = spec.ip_families.unwrap_or_default();
    let has = |family: &str| families.iter().any(|name| name == family);
    Claim {
        created: service.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        name: informer::Object::key(service),
        ports: spec
            .ports
            .unwrap_or_default()
            .iter()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((protocol, u16::try_from(port.port).ok()?))
            })
            .collect(),
        ipv4: families.is_empty() || has("IPv4"),
        ipv6: has("IPv6"),
        local_nodes: (spec.external_traffic_policy.as_deref() == Some("Local")).then(BTreeSet::new),
    }
}

fn port_key((protocol, port): &(String, u16)) -> String {
    format!("{protocol}/{port}")
}

fn node_view(node: &Node) -> NodeView {
    const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    let status = node.status.as_ref();
    let addresses = status.iter().flat_map(|status| status.addresses.iter().flatten());
    let ready = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
    NodeView {
        name: node.metadata.name.clone().unwrap_or_default(),
        addresses: addresses
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
        ready: ready && !excluded && node.metadata.deletion_timestamp.is_none(),
    }
}
