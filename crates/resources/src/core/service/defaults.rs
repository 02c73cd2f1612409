//! Defaults of services that follow from the object alone. Upstream: `SetDefaults_Service`.

use k8s_openapi::api::core::v1::{ClientIPConfig, Service, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::is_externally_accessible;
use crate::optional::{Items, Text, default_text};

/// Three hours.
const CLIENT_IP_SECONDS: i32 = 10_800;

pub fn set_defaults(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    default_text(&mut spec.session_affinity, "None");
    default_text(&mut spec.type_, "ClusterIP");
    match spec.session_affinity.text() {
        "None" => spec.session_affinity_config = None,
        "ClientIP" => {
            let config = spec.session_affinity_config.get_or_insert_with(SessionAffinityConfig::default);
            let client = config.client_ip.get_or_insert_with(ClientIPConfig::default);
            client.timeout_seconds.get_or_insert(CLIENT_IP_SECONDS);
        }
        _ => {}
    }
    for port in spec.ports.items_mut() {
        default_text(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
        // Zero means "none" to clients that always send the field.
        port.node_port = port.node_port.filter(|port| *port != 0);
    }
    spec.health_check_node_port = spec.health_check_node_port.filter(|port| *port != 0);
    if is_externally_accessible(spec) {
        default_text(&mut spec.external_traffic_policy, "Cluster");
    }
    if spec.internal_traffic_policy.is_none() && matches!(spec.type_.text(), "NodePort" | "LoadBalancer" | "ClusterIP")
    {
        spec.internal_traffic_policy = Some("Cluster".to_owned());
    }
    if spec.type_.text() == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
    status(service);
}

/// The status always shows a load balancer, and an address says how it is reached.
pub(super) fn status(service: &mut Service) {
    let is_load_balancer = super::kind(service) == "LoadBalancer";
    let status = service.status.get_or_insert_default();
    let balancer = status.load_balancer.get_or_insert_default();
    for ingress in balancer.ingress.items_mut() {
        if is_load_balancer && !ingress.ip.text().is_empty() {
            ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
        }
    }
}
