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

use crate::chains::{self, Choice, Front, LOCAL_NUMBERS, Masquerade, Memory, Pool, Route, SharedChain};
use crate::config::Config;
use crate::tables::{SetId, SetKind};
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
                plan.put(SetId { ipv6, kind: SetKind::Hairpin }, both, Value::None);
            }
            plan.pools.insert(cluster_key, cluster);
            plan.pools.insert(local_key, local);
            local_addresses.extend(chosen.local_addresses);
        }
        for address in view.cluster_ips.iter().filter(|ip| ip.is_ipv6() == ipv6) {
            plan.put(SetId { ipv6, kind: SetKind::ClusterIps }, Key::new().address(*address), Value::None);
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
#[derive(Clone, Copy)]
enum Answer {
    Choice(Masquerade, Route),
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
        for address in view.external_ips.iter().chain(&view.load_balancer_ips) {
            self.front(*address, external);
        }
        for address in &view.load_balancer_ips {
            self.firewall(*address);
        }
        if !self.ipv6 && view.load_balancer_ips.iter().any(|address| self.config.node_addresses.contains(address)) {
            // The node is the load balancer: its own users say `localhost`.
            self.front(Ipv4Addr::LOCALHOST.into(), external);
        }
        if let Some(port) = self.port.node_port
            && view.cluster_ips.iter().any(|ip| ip.is_ipv6() == self.ipv6)
        {
            let key = Key::new().protocol(self.port.protocol.number()).port(port);
            self.answer(true, key, external);
            self.udp(UdpFront { address: None, port });
        }
    }

    /// How traffic to a cluster IP is answered.
    fn internal(&self) -> Answer {
        let has_ranges = self.config.cluster_ranges.iter().any(|range| range.addr().is_ipv6() == self.ipv6);
        let masquerade = match (self.config.masquerade_all, has_ranges) {
            (true, _) => Masquerade::Everybody,
            (false, true) => Masquerade::OffCluster,
            (false, false) => Masquerade::Nobody,
        };
        let local = self.view.internal_local;
        let count = count(if local { self.local } else { self.cluster });
        match (self.any, count) {
            (false, _) => Answer::Reject,
            (true, 0) => Answer::Drop,
            (true, _) => Answer::Choice(masquerade, Route::Pool(Pool { count, local })),
        }
    }

    /// How traffic from outside is answered.
    fn external(&self) -> Answer {
        let (cluster, local) = (count(self.cluster), count(self.local));
        match (self.any, self.view.external_local, cluster) {
            (false, _, _) => Answer::Reject,
            (true, true, _) => Answer::Choice(Masquerade::Nobody, Route::External { cluster, local }),
            (true, false, 0) => Answer::Drop,
            (true, false, _) => {
                Answer::Choice(Masquerade::Everybody, Route::Pool(Pool { count: cluster, local: false }))
            }
        }
    }

    fn front(&mut self, address: IpAddr, answer: Answer) {
        if address.is_ipv6() != self.ipv6 {
            return;
        }
        let key = Key::new().address(address).protocol(self.port.protocol.number()).port(self.port.port);
        self.answer(false, key, answer);
        self.udp(UdpFront { address: Some(address), port: self.port.port });
    }

    fn answer(&mut self, node_port: bool, key: Key, answer: Answer) {
        let goto = |chain: &str| Value::Verdict(Verdict::Goto(chain.to_owned()));
        let none = if node_port { SetKind::NoEndpointNodePorts } else { SetKind::NoEndpoints };
        let (masquerade, route) = match answer {
            Answer::Reject => return self.put(none, key, goto(chains::REJECT)),
            Answer::Drop => return self.put(none, key, goto(chains::DROP)),
            Answer::Choice(masquerade, route) => (masquerade, route),
        };
        let front = Front { ipv6: self.ipv6, node_port };
        let sticky = self.view.affinity.is_some();
        let chain = SharedChain::Choice(Choice { front, masquerade, sticky, route });
        self.put(if node_port { SetKind::NodePorts } else { SetKind::Services }, key.clone(), goto(&chain.name()));
        self.plan.chains.extend(chain.dependency());
        self.plan.chains.insert(chain);

        let (cluster, local) = match route {
            Route::Pool(pool) => (!pool.local, pool.local),
            Route::External { .. } => (true, true),
        };
        let mut reachable = BTreeSet::new();
        for (used, first, endpoints) in [(cluster, 0, self.cluster), (local, LOCAL_NUMBERS, self.local)] {
            if !used {
                continue;
            }
            let map = if node_port { SetKind::NodePortEndpoints } else { SetKind::ServiceEndpoints };
            for (number, endpoint) in (first..).zip(endpoints) {
                let value = Key::new().address(endpoint.address).port(endpoint.port);
                self.put(map, key.clone().mark(number), Value::Data(value));
            }
            reachable.extend(endpoints.iter().copied());
        }
        if let Route::External { local: 0, .. } = route {
            // What was not sent elsewhere short of the policy has nobody here.
            self.put(none, key.clone(), goto(chains::DROP));
        }
        if let Some(seconds) = self.view.affinity {
            let memory = SharedChain::Memory(Memory { front, seconds });
            let (asked, map) = if node_port {
                (SetKind::StickyNodePorts, SetKind::NodePortAffinity)
            } else {
                (SetKind::StickyServices, SetKind::ServiceAffinity)
            };
            self.put(asked, key.clone(), goto(&memory.name()));
            self.plan.chains.insert(memory);
            let map = SetId { ipv6: self.ipv6, kind: map };
            self.plan.sticky.insert(StickyFront { map, key }, reachable);
        }
    }

    /// Only these sources may use the front. Upstream: `loadBalancerSourceRanges`.
    fn firewall(&mut self, address: IpAddr) {
        if self.view.source_ranges.is_empty() || address.is_ipv6() != self.ipv6 {
            return;
        }
        let front = Key::new().address(address).protocol(self.port.protocol.number()).port(self.port.port);
        self.put(SetKind::Firewalled, front.clone(), Value::None);
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
            let set = SetId { ipv6: self.ipv6, kind: SetKind::Sources };
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

    fn put(&mut self, kind: SetKind, key: Key, value: Value) {
        self.plan.put(SetId { ipv6: self.ipv6, kind }, key, value);
    }
}

fn count(endpoints: &[Endpoint]) -> u32 {
    u32::try_from(endpoints.len()).unwrap_or(u32::MAX)
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
