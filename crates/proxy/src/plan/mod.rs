//! What the kernel has to hold for one Service. Pure.
//!
//! Everything is a function of the Service, its endpoints and the node, and of the numbers its endpoints already have:
//! those are kept, so that one endpoint more or less is a few elements.

mod endpoints;
mod pools;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use netlink::nft::{Key, Value, Verdict};

use pools::assign;
pub(crate) use pools::{Endpoint, PoolKey};

use crate::chains::{Draw, Memory, SharedChain};
use crate::config::Config;
use crate::tables::{Front, LOCAL_NUMBERS, SetId, SetKind, Size};
use crate::view::{PortView, Protocol, ServiceView};
use endpoints::Chosen;

/// A place in a set. `end` is the last key of a range.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) set: SetId,
    pub(crate) key: Key,
    pub(crate) end: Option<Key>,
}

/// What one Service wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) created: i64,
    pub(crate) entries: BTreeMap<Entry, Value>,
    pub(crate) chains: BTreeSet<SharedChain>,
    /// Pools with their endpoints in the order of their numbers.
    pub(crate) pools: BTreeMap<PoolKey, Vec<Endpoint>>,
    pub(crate) health: Option<Health>,
    pub(crate) udp: BTreeMap<UdpFront, BTreeSet<Endpoint>>,
    /// Fronts with session affinity and whom their clients may be remembered with.
    pub(crate) sticky: BTreeMap<StickyFront, BTreeSet<Endpoint>>,
}

/// What a load balancer's health check is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) port: u16,
    pub(crate) local_endpoints: usize,
}

/// Where datagrams come in; without an address, on every one of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UdpFront {
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

/// A front in the map that remembers its clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StickyFront {
    pub(crate) map: SetId,
    pub(crate) key: Key,
}

/// Plans the Service; `previous` says which numbers its endpoints have.
pub(crate) fn plan(view: &ServiceView, config: &Config, previous: Option<&Plan>) -> Plan {
    let mut plan = Plan { created: view.created, ..Plan::default() };
    let mut local_addresses = BTreeSet::new();
    for ipv6 in config.families() {
        let fronts = Front { ipv6, node_port: false };
        for port in &view.ports {
            let chosen = Chosen::of(view, port, config, ipv6);
            let number = |wanted: &BTreeSet<Endpoint>, local| {
                let key = PoolKey { port: port.name.clone(), protocol: port.protocol, ipv6, local };
                let old = previous.and_then(|plan| plan.pools.get(&key)).map(Vec::as_slice).unwrap_or_default();
                (assign(old, wanted), key)
            };
            let (cluster, cluster_key) = number(&chosen.cluster, false);
            let (local, local_key) = number(&chosen.local, true);
            Planner { view, port, config, ipv6, any: chosen.any, cluster: &cluster, local: &local, plan: &mut plan }
                .port();
            for address in &chosen.local_addresses {
                let both = Key::new().address(*address).address(*address);
                plan.put(fronts.set(SetKind::Hairpin), both, Value::None);
            }
            plan.pools.insert(cluster_key, cluster);
            plan.pools.insert(local_key, local);
            local_addresses.extend(chosen.local_addresses);
        }
        for address in view.cluster_ips.iter().filter(|ip| ip.is_ipv6() == ipv6) {
            plan.put(fronts.set(SetKind::ClusterIps), Key::new().address(*address), Value::None);
        }
    }
    plan.health = view.health_check_port.map(|port| Health { port, local_endpoints: local_addresses.len() });
    plan
}

impl Plan {
    fn put(&mut self, set: SetId, key: Key, value: Value) {
        self.entries.insert(Entry { set, key, end: None }, value);
    }
}

/// One port of the Service in one family.
struct Planner<'a> {
    view: &'a ServiceView,
    port: &'a PortView,
    config: &'a Config,
    ipv6: bool,
    /// Some node has an endpoint.
    any: bool,
    cluster: &'a [Endpoint],
    local: &'a [Endpoint],
    plan: &'a mut Plan,
}

/// How a front is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// By all endpoints.
    Cluster { masquerade: bool },
    /// By this node's endpoints.
    Local,
    /// From outside by this node's endpoints, else by all.
    External,
    /// Nobody is there at all.
    Reject,
    /// Nobody is there for this kind of traffic.
    Drop,
}

impl Planner<'_> {
    fn port(&mut self) {
        let view = self.view;
        let (internal, external) = (self.internal(), self.external());
        for address in &view.cluster_ips {
            self.front(*address, internal);
        }
        let reserved = self.is_reserved();
        let on_node = |address: &IpAddr| self.config.node_addresses.contains(address);
        let outside = view.external_ips.iter().chain(&view.load_balancer_ips);
        let free: Vec<IpAddr> = outside.copied().filter(|address| !(reserved && on_node(address))).collect();
        let is_localhost = !self.ipv6 && view.load_balancer_ips.iter().any(|address| !reserved && on_node(address));
        for address in free {
            self.front(address, external);
        }
        for address in &view.load_balancer_ips {
            self.firewall(*address);
        }
        if is_localhost {
            // The node is the load balancer: its own users say `localhost`.
            self.front(Ipv4Addr::LOCALHOST.into(), external);
        }
        if let Some(port) = self.port.node_port
            && view.cluster_ips.iter().any(|ip| ip.is_ipv6() == self.ipv6)
        {
            let key = Key::new().protocol(self.port.protocol.number()).port(port);
            self.answer(Front { ipv6: self.ipv6, node_port: true }, key, external);
            self.udp(UdpFront { address: None, port });
        }
    }

    /// The node keeps the port on its own addresses.
    fn is_reserved(&self) -> bool {
        self.port.protocol == Protocol::Tcp && self.config.reserved_ports.contains(&self.port.port)
    }

    /// How traffic to a cluster IP is answered.
    fn internal(&self) -> Answer {
        let (pool, answer) = if self.view.internal_local {
            (self.local, Answer::Local)
        } else {
            (self.cluster, Answer::Cluster { masquerade: false })
        };
        match (self.any, pool.is_empty()) {
            (false, _) => Answer::Reject,
            (true, true) => Answer::Drop,
            (true, false) => answer,
        }
    }

    /// How traffic from outside is answered.
    fn external(&self) -> Answer {
        match (self.any, self.view.external_local, self.cluster.is_empty()) {
            (false, _, _) => Answer::Reject,
            (true, true, _) => Answer::External,
            (true, false, true) => Answer::Drop,
            (true, false, false) => Answer::Cluster { masquerade: true },
        }
    }

    fn front(&mut self, address: IpAddr, answer: Answer) {
        if address.is_ipv6() != self.ipv6 {
            return;
        }
        let key = Key::new().address(address).protocol(self.port.protocol.number()).port(self.port.port);
        self.answer(Front { ipv6: self.ipv6, node_port: false }, key, answer);
        self.udp(UdpFront { address: Some(address), port: self.port.port });
    }

    fn answer(&mut self, front: Front, key: Key, answer: Answer) {
        match answer {
            Answer::Reject => return self.put(front, SetKind::Reject, key),
            Answer::Drop => return self.put(front, SetKind::Drop, key),
            Answer::Cluster { masquerade: true } => self.put(front, SetKind::Masquerade, key.clone()),
            Answer::External => self.put(front, SetKind::External, key.clone()),
            Answer::Cluster { masquerade: false } | Answer::Local => {}
        }
        self.put(front, SetKind::Fronts, key.clone());
        let mut reachable = BTreeSet::new();
        for (local, endpoints) in [(false, self.cluster), (true, self.local)] {
            let other = if local { Answer::Cluster { masquerade: false } } else { Answer::Local };
            let unused = answer == other || local && answer == (Answer::Cluster { masquerade: true });
            if endpoints.is_empty() || unused {
                continue;
            }
            let size = Size::of(endpoints.len(), local);
            self.put(front, SetKind::Size(size), key.clone());
            self.plan.chains.insert(SharedChain::Draw(Draw { front, size }));
            let first = if local { LOCAL_NUMBERS } else { 0 };
            for (number, endpoint) in (first..).zip(endpoints) {
                let value = Key::new().address(endpoint.address).port(endpoint.port);
                self.plan.put(front.set(SetKind::Endpoints), key.clone().mark(number), Value::Data(value));
            }
            reachable.extend(endpoints.iter().copied());
        }
        if answer == Answer::External && self.local.is_empty() {
            // What was not sent elsewhere short of the policy has nobody here.
            self.put(front, SetKind::Drop, key.clone());
        }
        if let Some(seconds) = self.view.affinity {
            let memory = SharedChain::Memory(Memory { front, seconds });
            let remember = Value::Verdict(Verdict::Goto(memory.name()));
            self.plan.put(front.set(SetKind::Sticky), key.clone(), remember);
            self.plan.chains.insert(memory);
            self.plan.sticky.insert(StickyFront { map: front.set(SetKind::Affinity), key }, reachable);
        }
    }

    /// Only these sources may use the front. Upstream: `loadBalancerSourceRanges`.
    fn firewall(&mut self, address: IpAddr) {
        if self.view.source_ranges.is_empty() || address.is_ipv6() != self.ipv6 {
            return;
        }
        let front = Key::new().address(address).protocol(self.port.protocol.number()).port(self.port.port);
        let fronts = Front { ipv6: self.ipv6, node_port: false };
        self.put(fronts, SetKind::Firewalled, front.clone());
        let mut ranges: Vec<(IpAddr, IpAddr)> = self
            .view
            .source_ranges
            .iter()
            .filter(|range| range.addr().is_ipv6() == self.ipv6)
            .map(|range| (range.network(), range.broadcast()))
            .collect();
        // The load balancer itself may check its own health through the front, and it is this node's kernel.
        ranges.push((address, address));
        for (first, last) in without_overlap(ranges) {
            let set = fronts.set(SetKind::Sources);
            let (key, end) = (front.clone().address(first), front.clone().address(last));
            self.plan.entries.insert(Entry { set, key, end: Some(end) }, Value::None);
        }
    }

    fn udp(&mut self, front: UdpFront) {
        if self.port.protocol == Protocol::Udp {
            let endpoints = self.cluster.iter().chain(self.local).copied();
            self.plan.udp.entry(front).or_default().extend(endpoints);
        }
    }

    fn put(&mut self, front: Front, kind: SetKind, key: Key) {
        self.plan.put(front.set(kind), key, Value::None);
    }
}

/// The kernel refuses ranges that overlap; ranges of networks only ever contain each other.
fn without_overlap(mut ranges: Vec<(IpAddr, IpAddr)>) -> Vec<(IpAddr, IpAddr)> {
    ranges.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    let mut kept: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if kept.last().is_none_or(|last| range.0 > last.1) {
            kept.push(range);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
