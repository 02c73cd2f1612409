//! Gives services of type LoadBalancer the addresses of the nodes, so that machines without a cloud answer on them;
//! the proxies do the rest. A service with a `loadBalancerClass` is somebody else's. Upstream: the service controller
//! of `cloud-provider`, for its conditions and events.

use std::sync::Arc;

use api::core::v1::{LoadBalancerIngress, Node, Service};
use apimachinery::ObjectKey;
use informer::{Cache, Change, Controller, Expectations, Next, Reconcile, ReconcileError};
use kube::{Api, Client, api::PostParams};

use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "service-lb-controller",
    service_account: "service-lb-controller",
    watches: &[Watch::of("", "services"), Watch::of("", "nodes")],
    rules: &[Rule::of("", "services/status", &["update"]), Rule::EVENTS],
    start,
};

/// Nodes that are not to be reached from outside. Upstream: `LabelNodeExcludeBalancers`.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

struct ServiceLb {
    client: Client,
    services: Cache<Service>,
    nodes: Cache<Node>,
    written: Expectations<Service>,
}

fn start(context: Context) {
    let services = context.caches.of::<Service>();
    let nodes = context.caches.of::<Node>();
    let reconciler = ServiceLb {
        client: context.client,
        services: services.clone(),
        nodes: nodes.clone(),
        written: Expectations::new(&services),
    };
    let all = services.clone();
    Controller::new(ENTRY.name, reconciler)
        .workers(1)
        .watch_for(&services, move |change, keys| {
            keys.push(change.key.clone());
            // Somebody may wait for a port that this one had.
            if let Some(had) = change.old.as_ref().filter(|service| is_ours(service)) {
                let waiting = all.list().into_iter().filter(|other| is_ours(other) && shares_port(had, other));
                keys.extend(waiting.map(|other| key(&other)));
            }
        })
        .watch_for(&nodes, move |change, keys| {
            if address_change(change) {
                let balanced = services.list().into_iter().filter(|service| is_ours(service));
                keys.extend(balanced.map(|service| key(&service)));
            }
        })
        .start(&context.supervisor);
}

fn address_change(change: &Change<Node>) -> bool {
    let addresses = |node: &Option<Arc<Node>>| node.as_ref().map(|node| internal_addresses(node));
    addresses(&change.old) != addresses(&change.new)
}

fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
}

fn key(service: &Service) -> ObjectKey {
    informer::Object::key(service)
}

/// Nodes have one address for all services: the earliest keeps a port.
fn is_taken(service: &Service, services: &[Arc<Service>]) -> bool {
    let rank = |service: &Service| (service.metadata.creation_timestamp.as_ref().map(|time| time.0), key(service));
    services.iter().any(|other| {
        is_ours(other) && key(other) != key(service) && shares_port(service, other) && rank(other) < rank(service)
    })
}

fn shares_port(one: &Service, other: &Service) -> bool {
    let ports = |service: &Service| -> Vec<(String, i32)> {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        ports.map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.port)).collect()
    };
    let others = ports(other);
    ports(one).iter().any(|port| others.contains(port))
}

fn internal_addresses(node: &Node) -> Vec<String> {
    if node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDE)) {
        return Vec::new();
    }
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    addresses
        .into_iter()
        .flatten()
        .filter(|address| address.type_ == "InternalIP")
        .map(|address| address.address.clone())
        .collect()
}

/// The addresses by which the service is reached: those of all nodes, of the service's families; one it asks for
/// alone, if a node has it.
fn ingress(service: &Service, nodes: &[Arc<Node>]) -> Vec<LoadBalancerIngress> {
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    let asked = spec.and_then(|spec| spec.load_balancer_ip.clone()).filter(|address| !address.is_empty());
    let family = |address: &str| if address.contains(':') { "IPv6" } else { "IPv4" };
    let mut addresses: Vec<_> = nodes
        .iter()
        .flat_map(|node| internal_addresses(node))
        .filter(|address| families.is_empty() || families.iter().any(|wanted| wanted == family(address)))
        .filter(|address| asked.as_ref().is_none_or(|asked| asked == address))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
        .into_iter()
        .map(|address| LoadBalancerIngress {
            ip: Some(address),
            ip_mode: Some("VIP".to_owned()),
            ..LoadBalancerIngress::default()
        })
        .collect()
}

/// The service with the status to write; `None` if it is so already.
fn plan(service: &Service, services: &[Arc<Service>], nodes: &[Arc<Node>]) -> Option<Service> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let before = balancer.and_then(|balancer| balancer.ingress.clone()).unwrap_or_default();
    let typed = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let after = if is_ours(service) {
        if is_taken(service, services) { Vec::new() } else { ingress(service, nodes) }
    } else if typed {
        return None;
    } else {
        Vec::new()
    };
    if before == after {
        return None;
    }
    let mut updated = service.clone();
    let status = updated.status.get_or_insert_default();
    status.load_balancer.get_or_insert_default().ingress = (!after.is_empty()).then_some(after);
    Some(updated)
}

impl Reconcile for ServiceLb {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        let Some(service) = self.services.get(key) else { return Ok(Next::Await) };
        let (services, nodes) =
            if is_ours(&service) { (self.services.list(), self.nodes.list()) } else { (Vec::new(), Vec::new()) };
        if let Some(updated) = plan(&service, &services, &nodes) {
            let api = Api::<Service>::namespaced(self.client.clone(), &key.namespace);
            let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.written.wrote(key, &updated);
        }
        Ok(Next::Await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, ingress: &[&str], expected: Option<&[&str]>) {
        let nodes: Vec<Arc<Node>> = [("10.0.0.2", false), ("10.0.0.1", false), ("10.0.0.3", true)]
            .map(|(address, excluded)| {
                let labels = if excluded { json!({EXCLUDE: ""}) } else { json!({}) };
                let status = json!({"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": "h"}]});
                Arc::new(serde_json::from_value(json!({"metadata": {"labels": labels}, "status": status})).unwrap())
            })
            .into();
        let ingress: Vec<_> = ingress.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let status = json!({"loadBalancer": {"ingress": ingress}});
        let service: Service = serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap();
        let planned = plan(&service, &[], &nodes).map(|service| {
            let ingress = service.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
            ingress.into_iter().filter_map(|ingress| ingress.ip).collect::<Vec<_>>()
        });
        assert_eq!(planned, expected.map(|list| list.iter().map(ToString::to_string).collect()));
    }

    #[test]
    fn nodes_answer_for_a_service_without_a_class() {
        check(json!({"type": "LoadBalancer"}), &[], Some(&["10.0.0.1", "10.0.0.2"]));
        check(json!({"type": "LoadBalancer"}), &["10.0.0.1", "10.0.0.2"], None);
        check(json!({"type": "LoadBalancer", "loadBalancerIP": "10.0.0.2"}), &[], Some(&["10.0.0.2"]));
        check(json!({"type": "LoadBalancer", "loadBalancerClass": "x"}), &["1.1.1.1"], None);
        check(json!({"type": "ClusterIP"}), &["10.0.0.1"], Some(&[]));
    }

    #[test]
    fn the_earliest_service_keeps_a_port() {
        let service = |name: &str, created: &str, protocol: &str, port: i32| -> Arc<Service> {
            let metadata = json!({ "name": name, "namespace": "default", "creationTimestamp": created });
            let spec = json!({ "type": "LoadBalancer", "ports": [{ "protocol": protocol, "port": port }] });
            Arc::new(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap())
        };
        let all = [
            service("first", "2026-01-01T00:00:00Z", "TCP", 80),
            service("second", "2026-01-02T00:00:00Z", "TCP", 80),
            service("other-port", "2026-01-03T00:00:00Z", "TCP", 81),
            service("other-protocol", "2026-01-03T00:00:00Z", "UDP", 80),
        ];
        let taken: Vec<bool> = all.iter().map(|service| is_taken(service, &all)).collect();
        assert_eq!(taken, [false, true, false, false]);
        assert!(!is_taken(&all[1], &all[1..]));
    }
}
