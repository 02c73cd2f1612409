//! The sets and maps of the Service rules, by family. Pure.
//!
//! Names never begin with `pod-`: those are the pod network's.

use netlink::nft::{Set, Type};

/// One of the proxy's sets or maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId {
    pub(crate) ipv6: bool,
    pub(crate) kind: SetKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SetKind {
    /// Fronts with an address: to a chain.
    Services,
    /// The same fronts: to their pool.
    ServicePools,
    /// Fronts on every address of the node: to a chain.
    NodePorts,
    NodePortPools,
    /// (pool, number): to an endpoint.
    Endpoints,
    /// (pool, endpoint) of pools with session affinity: which remembered endpoints still count.
    Live,
    /// (client, pool): the endpoint it was sent to. Filled by the rules.
    Affinity,
    /// Fronts without a usable endpoint: to the chain that says so.
    NoEndpoints,
    NoEndpointNodePorts,
    /// Every cluster IP: other ports of it are refused.
    ClusterIps,
    /// (address, address) of this node's endpoints: their own traffic comes back to them masqueraded.
    Hairpin,
    /// Fronts that only some sources may use …
    Firewalled,
    /// … and which: the front and a range of sources.
    Sources,
}

pub(crate) const KINDS: [SetKind; 13] = [
    SetKind::Services,
    SetKind::ServicePools,
    SetKind::NodePorts,
    SetKind::NodePortPools,
    SetKind::Endpoints,
    SetKind::Live,
    SetKind::Affinity,
    SetKind::NoEndpoints,
    SetKind::NoEndpointNodePorts,
    SetKind::ClusterIps,
    SetKind::Hairpin,
    SetKind::Firewalled,
    SetKind::Sources,
];

/// Most clients remembered: about 30 MB of kernel memory when it is full, and nobody is refused then, only spread.
const AFFINITY_LIMIT: u32 = 1 << 18;

impl SetId {
    pub(crate) fn name(self) -> String {
        let family = if self.ipv6 { "ip6" } else { "ip" };
        let kind = match self.kind {
            SetKind::Services => "services",
            SetKind::ServicePools => "service-pools",
            SetKind::NodePorts => "nodeports",
            SetKind::NodePortPools => "nodeport-pools",
            SetKind::Endpoints => "endpoints",
            SetKind::Live => "live-endpoints",
            SetKind::Affinity => "affinity",
            SetKind::NoEndpoints => "no-endpoint-services",
            SetKind::NoEndpointNodePorts => "no-endpoint-nodeports",
            SetKind::ClusterIps => "cluster-ips",
            SetKind::Hairpin => "hairpin",
            SetKind::Firewalled => "firewall-ips",
            SetKind::Sources => "firewall-sources",
        };
        format!("{family}-{kind}")
    }

    pub(crate) fn definition(self) -> Set {
        use Type::{Mark, Protocol, Service};
        let ip = if self.ipv6 { Type::Ipv6 } else { Type::Ipv4 };
        let name = self.name();
        let front = [ip, Protocol, Service];
        match self.kind {
            SetKind::Services | SetKind::NoEndpoints => Set::verdict_map(name, &front),
            SetKind::ServicePools => Set::map(name, &front, &[Mark]),
            SetKind::NodePorts | SetKind::NoEndpointNodePorts => Set::verdict_map(name, &front[1..]),
            SetKind::NodePortPools => Set::map(name, &front[1..], &[Mark]),
            SetKind::Endpoints => Set::map(name, &[Mark, Mark], &[ip, Service]),
            SetKind::Live => Set::of(name, &[Mark, ip, Service]),
            SetKind::Affinity => Set::map(name, &[ip, Mark], &[ip, Service]).with_dynamic_elements(AFFINITY_LIMIT),
            SetKind::ClusterIps => Set::of(name, &[ip]),
            SetKind::Hairpin => Set::of(name, &[ip, ip]),
            SetKind::Firewalled => Set::of(name, &front),
            SetKind::Sources => Set::of(name, &[ip, Protocol, Service, ip]).with_intervals(),
        }
    }
}
