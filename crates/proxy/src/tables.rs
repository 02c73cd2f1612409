//! The sets and maps of the Service rules. Pure.
//!
//! Names never begin with `pod-`: those are the pod network's. Two facts about the kernel and its tool shape them:
//! whoever changes a verdict map has the kernel walk all verdict maps of the table, so fronts lead to chains by being
//! in sets instead; and versions of `nft` that are in use cannot print a looked-up value inside a key, so a key is
//! always a front and what comes after it.

use netlink::nft::{Set, Type};

/// What kind of front: (address, protocol, port), or (protocol, port) on every address of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Front {
    pub(crate) ipv6: bool,
    pub(crate) node_port: bool,
}

/// One of the proxy's sets or maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId {
    pub(crate) front: Front,
    pub(crate) kind: SetKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SetKind {
    /// Every front that can be answered.
    Fronts,
    /// Those whose outside traffic stays on the node, with the client's address.
    External,
    /// Those whose clients all get the node's address.
    Masquerade,
    /// Those that choose from pools of that size.
    Size(Size),
    /// Front and number: to an endpoint.
    Endpoints,
    /// Front and client: the endpoint it was sent to. Filled by the rules.
    Affinity,
    /// Front with session affinity: to the chain that remembers. The only verdict map, and a small one.
    Sticky,
    /// Those without any endpoint …
    Reject,
    /// … and those without one for this node.
    Drop,
    /// Every cluster IP: other ports of it are refused.
    ClusterIps,
    /// (address, address) of this node's endpoints: their own traffic comes back to them masqueraded.
    Hairpin,
    /// Fronts that only some sources may use …
    Firewalled,
    /// … and which: the front and a range of sources.
    Sources,
}

/// How many numbers are drawn from: the next power of two, so that most changes of a pool change nothing but the
/// pool. A number that nobody has is drawn again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Size {
    /// This node's endpoints, which have numbers of their own.
    pub(crate) local: bool,
    /// Exponent of two.
    pub(crate) exponent: u32,
}

/// Numbers of this node's endpoints begin here; those of all endpoints at 0.
pub(crate) const LOCAL_NUMBERS: u32 = 1 << 16;

/// Most clients remembered: about 30 MB of kernel memory when it is full, and nobody is refused then, only spread.
const AFFINITY_LIMIT: u32 = 1 << 18;

impl Front {
    /// All kinds of the families.
    pub(crate) fn all(families: impl Iterator<Item = bool>) -> impl Iterator<Item = Self> {
        families.flat_map(|ipv6| [false, true].map(|node_port| Self { ipv6, node_port }))
    }

    pub(crate) fn family(self) -> &'static str {
        if self.ipv6 { "ip6" } else { "ip" }
    }

    pub(crate) fn noun(self) -> &'static str {
        if self.node_port { "nodeport" } else { "service" }
    }

    pub(crate) fn set(self, kind: SetKind) -> SetId {
        SetId { front: self, kind }
    }

    /// The sets that are always there.
    pub(crate) fn sets(self) -> Vec<SetId> {
        use SetKind::{
            Affinity, ClusterIps, Drop, Endpoints, External, Firewalled, Fronts, Hairpin, Masquerade, Reject, Sources,
            Sticky,
        };
        let mut kinds = vec![Fronts, External, Masquerade, Endpoints, Affinity, Sticky, Reject, Drop];
        if !self.node_port {
            kinds.extend([ClusterIps, Hairpin, Firewalled, Sources]);
        }
        kinds.into_iter().map(|kind| self.set(kind)).collect()
    }
}

impl Size {
    pub(crate) fn of(count: usize, local: bool) -> Self {
        Self { local, exponent: count.max(1).next_power_of_two().trailing_zeros().min(16) }
    }

    pub(crate) fn suffix(self) -> String {
        format!("{}-{}", if self.local { "-local" } else { "" }, 1_u32 << self.exponent)
    }
}

impl SetId {
    pub(crate) fn name(self) -> String {
        let (family, noun) = (self.front.family(), self.front.noun());
        match self.kind {
            SetKind::Fronts => format!("{family}-{noun}s"),
            SetKind::External => format!("{family}-external-{noun}s"),
            SetKind::Masquerade => format!("{family}-masquerade-{noun}s"),
            SetKind::Size(size) => format!("{family}-{noun}s-of{}", size.suffix()),
            SetKind::Endpoints => format!("{family}-{noun}-endpoints"),
            SetKind::Affinity => format!("{family}-{noun}-affinity"),
            SetKind::Sticky => format!("{family}-sticky-{noun}s"),
            SetKind::Reject => format!("{family}-no-endpoint-{noun}s"),
            SetKind::Drop => format!("{family}-no-local-endpoint-{noun}s"),
            SetKind::ClusterIps => format!("{family}-cluster-ips"),
            SetKind::Hairpin => format!("{family}-hairpin"),
            SetKind::Firewalled => format!("{family}-firewall-ips"),
            SetKind::Sources => format!("{family}-firewall-sources"),
        }
    }

    pub(crate) fn definition(self) -> Set {
        let ip = if self.front.ipv6 { Type::Ipv6 } else { Type::Ipv4 };
        let name = self.name();
        let endpoint = [ip, Type::Service];
        let front: &[Type] =
            if self.front.node_port { &[Type::Protocol, Type::Service] } else { &[ip, Type::Protocol, Type::Service] };
        let and = |more| [front, &[more]].concat();
        match self.kind {
            SetKind::Fronts
            | SetKind::External
            | SetKind::Masquerade
            | SetKind::Size(_)
            | SetKind::Reject
            | SetKind::Drop
            | SetKind::Firewalled => Set::of(name, front),
            SetKind::Endpoints => Set::map(name, &and(Type::Mark), &endpoint),
            SetKind::Affinity => Set::map(name, &and(ip), &endpoint).with_dynamic_elements(AFFINITY_LIMIT),
            SetKind::Sticky => Set::verdict_map(name, front),
            SetKind::ClusterIps => Set::of(name, &[ip]),
            SetKind::Hairpin => Set::of(name, &[ip, ip]),
            SetKind::Sources => Set::of(name, &and(ip)).with_intervals(),
        }
    }
}
