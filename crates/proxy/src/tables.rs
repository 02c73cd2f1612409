//! The sets and maps of the Service rules, by family. Pure.
//!
//! Names never begin with `pod-`: those are the pod network's. A key is always a front and what comes after it: a
//! looked-up value inside a key would save elements, but versions of `nft` that are in use cannot print that.

use netlink::nft::{Set, Type};

/// One of the proxy's sets or maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId {
    pub(crate) ipv6: bool,
    pub(crate) kind: SetKind,
}

/// A front is (address, protocol, port), or (protocol, port) on every address of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SetKind {
    /// Front: to the chain that chooses an endpoint.
    Services,
    NodePorts,
    /// Front and number: to an endpoint.
    ServiceEndpoints,
    NodePortEndpoints,
    /// Front and client: the endpoint it was sent to. Filled by the rules.
    ServiceAffinity,
    NodePortAffinity,
    /// Front with session affinity: to the chain that remembers.
    StickyServices,
    StickyNodePorts,
    /// Front without a usable endpoint: to the chain that says so.
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

pub(crate) const KINDS: [SetKind; 14] = [
    SetKind::Services,
    SetKind::NodePorts,
    SetKind::ServiceEndpoints,
    SetKind::NodePortEndpoints,
    SetKind::ServiceAffinity,
    SetKind::NodePortAffinity,
    SetKind::StickyServices,
    SetKind::StickyNodePorts,
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
            SetKind::NodePorts => "nodeports",
            SetKind::ServiceEndpoints => "service-endpoints",
            SetKind::NodePortEndpoints => "nodeport-endpoints",
            SetKind::ServiceAffinity => "service-affinity",
            SetKind::NodePortAffinity => "nodeport-affinity",
            SetKind::StickyServices => "sticky-services",
            SetKind::StickyNodePorts => "sticky-nodeports",
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
        let endpoint = [ip, Service];
        let front = [ip, Protocol, Service];
        let node_port = [Protocol, Service];
        let and = |front: &[Type], more| [front, &[more]].concat();
        match self.kind {
            SetKind::Services | SetKind::StickyServices | SetKind::NoEndpoints => Set::verdict_map(name, &front),
            SetKind::NodePorts | SetKind::StickyNodePorts | SetKind::NoEndpointNodePorts => {
                Set::verdict_map(name, &node_port)
            }
            SetKind::ServiceEndpoints => Set::map(name, &and(&front, Mark), &endpoint),
            SetKind::NodePortEndpoints => Set::map(name, &and(&node_port, Mark), &endpoint),
            SetKind::ServiceAffinity => {
                Set::map(name, &and(&front, ip), &endpoint).with_dynamic_elements(AFFINITY_LIMIT)
            }
            SetKind::NodePortAffinity => {
                Set::map(name, &and(&node_port, ip), &endpoint).with_dynamic_elements(AFFINITY_LIMIT)
            }
            SetKind::ClusterIps => Set::of(name, &[ip]),
            SetKind::Hairpin => Set::of(name, &[ip, ip]),
            SetKind::Firewalled => Set::of(name, &front),
            SetKind::Sources => Set::of(name, &and(&front, ip)).with_intervals(),
        }
    }
}
