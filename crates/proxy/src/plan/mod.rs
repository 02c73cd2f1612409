//! What the kernel has to hold for one Service. Pure.
//!
//! Everything is a function of the Service, its endpoints and the node, and of the numbers its endpoints already have:
//! those are kept, so that one endpoint more or less is a few elements.

mod endpoints;
mod pools;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use netlink::nft::{Key, Value, Verdict};

pub(crate) use pools::{Endpoint, Ids, PoolKey, assign};

use crate::chains::{self, Choice, Masquerade, Pool, Route};
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
    pub(crate) choices: BTreeSet<Choice>,
    /// Pools with their endpoints in the order of their numbers.
    pub(crate) pools: BTreeMap<PoolKey, Vec<Endpoint>>,
    /// Pools that have a number, with endpoints or without.
    pub(crate) numbered: BTreeSet<PoolKey>,
    pub(crate) health: Option<Health>,
    pub(crate) udp: BTreeMap<UdpFront, BTreeSet<Endpoint>>,
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

/// Plans the Service; `ids` numbers its pools, `previous` says which numbers its endpoints have.
pub(crate) fn plan(view: &ServiceView, config: &Config, ids: &mut Ids, previous: Option<&Plan>) -> Plan {
    let mut plan = Plan { created: view.created, ..Plan::default() };
    let mut local_addresses = BTreeSet::new();
    for ipv6 in config.families() {
        for port in &view.ports {
            let chosen = Chosen::of(view, port, config, ipv6);
            let mut planner = Planner { view, port, config, ipv6, chosen: &chosen, plan: &mut plan };
            planner.port(ids, previous);
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
    chosen: &'a Chosen,
    plan: &'a mut Plan,
}

/// A front and who is answered how.
enum Answer {
    Choice(Choice),
    /// Nobody is there at all.
    Reject,
    /// Nobody is there for this kind of traffic.
    Drop,
}

impl Planner<'_> {
    fn port(&mut self, ids: &mut Ids, previous: Option<&Plan>) {
        let key = PoolKey {
            service: self.view.key.clone(),
            port: self.port.name.clone(),
            protocol: self.port.protocol,
            ipv6: self.ipv6,
            local: false,
        };
        let id = ids.of(&key);
        self.plan.numbered.insert(key.clone());
        self.pool(&key, id, &self.chosen.cluster, previous);
        self.pool(&PoolKey { local: true, ..key }, id | 1, &self.chosen.local, previous);

        let view = self.view;
        for address in &view.cluster_ips {
            self.front(*address, id, &self.internal());
        }
        let external = self.external();
        for address in view.external_ips.iter().chain(&view.load_balancer_ips) {
            self.front(*address, id, &external);
        }
        for address in &view.load_balancer_ips {
            self.firewall(*address);
        }
        if !self.ipv6 && view.load_balancer_ips.iter().any(|address| self.config.node_addresses.contains(address)) {
            // The node is the load balancer: its own users say `localhost`.
            self.front(Ipv4Addr::LOCALHOST.into(), id, &external);
        }
        if let Some(port) = self.port.node_port
            && view.cluster_ips.iter().any(|ip| ip.is_ipv6() == self.ipv6)
        {
            self.node_port(port, id, &external);
        }
    }

    fn pool(&mut self, key: &PoolKey, id: u32, wanted: &BTreeSet<Endpoint>, previous: Option<&Plan>) {
        if wanted.is_empty() {
            return;
        }
        let old = previous.and_then(|plan| plan.pools.get(key)).map(Vec::as_slice).unwrap_or_default();
        let numbered = assign(old, wanted);
        for (number, endpoint) in (0_u32..).zip(&numbered) {
            let value = Key::new().address(endpoint.address).port(endpoint.port);
            self.put(SetKind::Endpoints, Key::new().mark(id).mark(number), Value::Data(value));
            if self.view.affinity.is_some() {
                let live = Key::new().mark(id).address(endpoint.address).port(endpoint.port);
                self.put(SetKind::Live, live, Value::None);
            }
            if self.chosen.local_addresses.contains(&endpoint.address) {
                let both = Key::new().address(endpoint.address).address(endpoint.address);
                self.put(SetKind::Hairpin, both, Value::None);
            }
        }
        self.plan.pools.insert(key.clone(), numbered);
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
        let count = if local { self.chosen.local.len() } else { self.chosen.cluster.len() };
        match (self.chosen.any, count) {
            (false, _) => Answer::Reject,
            (true, 0) => Answer::Drop,
            (true, _) => self.choice(masquerade, Route::Pool(self.pool_of(count, local))),
        }
    }

    /// How traffic from outside is answered.
    fn external(&self) -> Answer {
        if !self.chosen.any {
            return Answer::Reject;
        }
        if self.view.external_local {
            let (cluster, local) = (count(&self.chosen.cluster), count(&self.chosen.local));
            let route = Route::External { cluster, local, affinity: self.view.affinity };
            return self.choice(Masquerade::Nobody, route);
        }
        match self.chosen.cluster.len() {
            0 => Answer::Drop,
            count => self.choice(Masquerade::Everybody, Route::Pool(self.pool_of(count, false))),
        }
    }

    fn choice(&self, masquerade: Masquerade, route: Route) -> Answer {
        Answer::Choice(Choice { ipv6: self.ipv6, node_port: false, masquerade, route })
    }

    fn pool_of(&self, count: usize, local: bool) -> Pool {
        Pool { count: u32::try_from(count).unwrap_or(u32::MAX), local, affinity: self.view.affinity }
    }

    fn front(&mut self, address: IpAddr, id: u32, answer: &Answer) {
        if address.is_ipv6() != self.ipv6 {
            return;
        }
        let key = Key::new().address(address).protocol(self.port.protocol.number()).port(self.port.port);
        let sets = [SetKind::Services, SetKind::ServicePools, SetKind::NoEndpoints];
        self.answer(key, sets, id, answer, |choice| choice);
        self.udp(UdpFront { address: Some(address), port: self.port.port });
    }

    fn node_port(&mut self, port: u16, id: u32, answer: &Answer) {
        let key = Key::new().protocol(self.port.protocol.number()).port(port);
        let sets = [SetKind::NodePorts, SetKind::NodePortPools, SetKind::NoEndpointNodePorts];
        self.answer(key, sets, id, answer, |choice| Choice { node_port: true, ..choice });
        self.udp(UdpFront { address: None, port });
    }

    fn answer(
        &mut self,
        key: Key,
        [chains, pools, none]: [SetKind; 3],
        id: u32,
        answer: &Answer,
        shape: impl FnOnce(Choice) -> Choice,
    ) {
        let goto = |chain: &str| Value::Verdict(Verdict::Goto(chain.to_owned()));
        match answer {
            Answer::Reject => self.put(none, key, goto(chains::REJECT)),
            Answer::Drop => self.put(none, key, goto(chains::DROP)),
            Answer::Choice(choice) => {
                let choice = shape(*choice);
                self.put(chains, key.clone(), goto(&choice.name()));
                self.put(pools, key.clone(), Value::Data(Key::new().mark(id)));
                if let Route::External { local: 0, .. } = choice.route {
                    // What was not sent elsewhere short of the policy has nobody here.
                    self.put(none, key, goto(chains::DROP));
                }
                self.plan.choices.extend(choice.dependency());
                self.plan.choices.insert(choice);
            }
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
            let endpoints = self.chosen.cluster.union(&self.chosen.local).copied();
            self.plan.udp.entry(front).or_default().extend(endpoints);
        }
    }

    fn put(&mut self, kind: SetKind, key: Key, value: Value) {
        self.plan.put(SetId { ipv6: self.ipv6, kind }, key, value);
    }
}

fn count(endpoints: &BTreeSet<Endpoint>) -> u32 {
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
