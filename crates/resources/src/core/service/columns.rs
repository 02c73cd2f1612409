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
    C::string("Type", |service, _| json!(spec(service).type_.text())).describe("type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types"),
    C::string("Cluster-IP", |service, _| {
        json!(spec(service).cluster_ips.items().first().map_or("<none>", String::as_str))
    })
    .describe("clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"),
    C::string("External-IP", |service, _| json!(external_ip(service))).describe("externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system."),
    C::string("Port(s)", |service, _| json!(ports(service)))
        .describe("The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"),
    Column::AGE,
    C::string("Selector", |service, _| json!(print::labels(spec(service).selector.as_ref())))
        .wide()
        .describe("Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/"),
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
