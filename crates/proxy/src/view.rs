//! Services and EndpointSlices, reduced to what rules depend on. Pure; what does not parse is left out, as upstream
//! does: the API server validated it, and one bad entry must not take a Service away.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use apimachinery::ObjectKey;
use ipnet::IpNet;

/// Label that names the Service of a slice.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label that gives a Service to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
const LONGEST_AFFINITY_SECONDS: u32 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceView {
    pub(crate) key: ObjectKey,
    /// Earlier Services keep what later ones also claim. Seconds since the epoch.
    pub(crate) created: i64,
    pub(crate) ports: Vec<PortView>,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) load_balancer_ips: Vec<IpAddr>,
    pub(crate) source_ranges: Vec<IpNet>,
    pub(crate) internal_local: bool,
    pub(crate) external_local: bool,
    /// Seconds a client stays with its endpoint.
    pub(crate) affinity: Option<u32>,
    pub(crate) health_check_port: Option<u16>,
    pub(crate) distribution: Distribution,
    pub(crate) endpoints: Vec<EndpointView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortView {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
}

/// `spec.trafficDistribution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distribution {
    Everywhere,
    SameZone,
    SameNode,
}

/// An endpoint of one named port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointView {
    pub(crate) port_name: String,
    pub(crate) protocol: Protocol,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    pub(crate) node: Option<String>,
    pub(crate) zone_hints: BTreeSet<String>,
    pub(crate) node_hints: BTreeSet<String>,
}

// === impl ServiceView ===

impl ServiceView {
    /// `None` when there is nothing to do for the Service: headless, an external name, or another proxy's.
    pub(crate) fn of<'a>(
        key: &ObjectKey,
        service: &Service,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        external_ips: bool,
    ) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        let labels = service.metadata.labels.as_ref();
        if kind == "ExternalName" || labels.is_some_and(|labels| labels.contains_key(PROXY_NAME)) {
            return None;
        }
        let single = spec.cluster_ip.iter().cloned().collect();
        let cluster_ips = spec.cluster_ips.clone().filter(|ips| !ips.is_empty()).unwrap_or(single);
        let cluster_ips: Vec<IpAddr> = cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
        if cluster_ips.is_empty() {
            return None;
        }
        let external = kind == "NodePort" || kind == "LoadBalancer";
        let load_balancer_ips = if kind == "LoadBalancer" { ingress_addresses(service) } else { Vec::new() };
        let external_ips = match &spec.external_ips {
            Some(ips) if external_ips => ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
            _ => Vec::new(),
        };
        let ports = spec.ports.iter().flatten().filter_map(PortView::of).collect();
        let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let configured = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            let seconds =
                configured.and_then(|config| config.timeout_seconds).and_then(|seconds| seconds.try_into().ok());
            seconds.unwrap_or(DEFAULT_AFFINITY_SECONDS).clamp(1, LONGEST_AFFINITY_SECONDS)
        });
        let external_local = external && spec.external_traffic_policy.as_deref() == Some("Local")
            || !external_ips.is_empty() && spec.external_traffic_policy.as_deref() == Some("Local");
        Some(Self {
            key: key.clone(),
            created: service.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            ports,
            cluster_ips,
            external_ips,
            load_balancer_ips,
            source_ranges: source_ranges(service),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local,
            affinity,
            health_check_port: spec
                .health_check_node_port
                .filter(|_| kind == "LoadBalancer" && external_local)
                .and_then(port_number),
            distribution: match spec.traffic_distribution.as_deref() {
                Some("PreferSameNode") => Distribution::SameNode,
                Some("PreferClose" | "PreferSameZone") => Distribution::SameZone,
                _ => Distribution::Everywhere,
            },
            endpoints: slices.into_iter().flat_map(endpoints).collect(),
        })
    }

    /// Whether anything from outside of the cluster can reach the Service.
    pub(crate) fn externally_accessible(&self) -> bool {
        !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
            || self.ports.iter().any(|port| port.node_port.is_some())
    }
}

impl PortView {
    fn of(port: &api::core::v1::ServicePort) -> Option<Self> {
        Some(Self {
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::of(port.protocol.as_deref())?,
            port: port_number(port.port)?,
            node_port: port.node_port.and_then(port_number),
        })
    }
}

impl Protocol {
    fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("TCP" | "") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// The addresses a load balancer announces and leaves to the nodes to answer.
pub(crate) fn ingress_addresses(service: &Service) -> Vec<IpAddr> {
    let ingress = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    ingress
        .flat_map(|status| status.ingress.iter().flatten())
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect()
}

fn source_ranges(service: &Service) -> Vec<IpNet> {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let listed = service.spec.as_ref().and_then(|spec| spec.load_balancer_source_ranges.clone());
    let listed = listed.filter(|ranges| !ranges.is_empty()).or_else(|| {
        let annotation = service.metadata.annotations.as_ref()?.get(ANNOTATION)?.trim();
        (!annotation.is_empty()).then(|| annotation.split(',').map(|range| range.trim().to_owned()).collect())
    });
    listed
        .unwrap_or_default()
        .iter()
        .filter_map(|range| range.trim().parse::<IpNet>().ok())
        .map(|net| net.trunc())
        .collect()
}

fn endpoints(slice: &EndpointSlice) -> Vec<EndpointView> {
    let mut views = Vec::new();
    for port in slice.ports.iter().flatten() {
        let (Some(number), Some(protocol)) = (port.port.and_then(port_number), Protocol::of(port.protocol.as_deref()))
        else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            // Only the first address is used: upstream, KEP-752.
            let Some(address) = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok()) else {
                continue;
            };
            if address.is_ipv6() != (slice.address_type == "IPv6") {
                continue;
            }
            let conditions = endpoint.conditions.as_ref();
            let condition = |get: fn(&api::discovery::v1::EndpointConditions) -> Option<bool>| conditions.and_then(get);
            let hints = endpoint.hints.as_ref();
            views.push(EndpointView {
                port_name: port.name.clone().unwrap_or_default(),
                protocol,
                address,
                port: number,
                ready: condition(|conditions| conditions.ready).unwrap_or(true),
                serving: condition(|conditions| conditions.serving).unwrap_or(true),
                terminating: condition(|conditions| conditions.terminating).unwrap_or(false),
                node: endpoint.node_name.clone(),
                zone_hints: hints
                    .iter()
                    .flat_map(|hints| hints.for_zones.iter().flatten())
                    .map(|zone| zone.name.clone())
                    .collect(),
                node_hints: hints
                    .iter()
                    .flat_map(|hints| hints.for_nodes.iter().flatten())
                    .map(|node| node.name.clone())
                    .collect(),
            });
        }
    }
    views
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}
