//! Table columns of services. Upstream: `printService`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use registry::Column;
use serde_json::json;

use super::spec;
use crate::meta::print;
use crate::optional::{Items, Text};

type C = Column<Service>;

pub(super) static COLUMNS: &[Column<Service>] = &[
    Column::NAME,
    C::string("Type", |service, _| json!(spec(service).type_.text())).describe("type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer."),
    C::string("Cluster-IP", |service, _| {
        json!(spec(service).cluster_ips.items().first().map_or("<none>", String::as_str))
    })
    .describe("clusterIP is the IP address of the service and is usually assigned randomly."),
    C::string("External-IP", |service, _| json!(external_ip(service))).describe("externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service. These IPs are not managed by Kubernetes. The user is responsible for ensuring that traffic arrives at a node with this IP."),
    C::string("Port(s)", |service, _| json!(ports(service)))
        .describe("The list of ports that are exposed by this service."),
    Column::AGE,
    C::string("Selector", |service, _| json!(print::labels(spec(service).selector.as_ref())))
        .wide()
        .describe("Route service traffic to pods with label keys and values matching this selector."),
];

fn external_ip(service: &Service) -> String {
    let spec = spec(service);
    let external = spec.external_ips.items();
    match spec.type_.text() {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let balancer = balancer_addresses(service);
            let all: Vec<&str> = balancer.into_iter().chain(external.iter().map(String::as_str)).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => spec.external_name.text().to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Sorted, each once.
fn balancer_addresses(service: &Service) -> BTreeSet<&str> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.map_or(&[][..], |balancer| balancer.ingress.items());
    points
        .iter()
        .map(|point| if point.ip.text().is_empty() { point.hostname.text() } else { point.ip.text() })
        .filter(|address| !address.is_empty())
        .collect()
}

fn ports(service: &Service) -> String {
    let parts: Vec<String> = spec(service)
        .ports
        .items()
        .iter()
        .map(|port| {
            let node_port = port.node_port.filter(|port| *port > 0).map_or_else(String::new, |port| format!(":{port}"));
            format!("{}{node_port}/{}", port.port, port.protocol.text())
        })
        .collect();
    if parts.is_empty() { "<none>".to_owned() } else { parts.join(",") }
}
