//! The pod network's chains and maps in the cluster's table. Pure.
//!
//! Every name begins with `pod-`: the Service rules have the other names of the table.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink::nft::{
    BaseChain, Chain, ChainType, Cmp, Element, Expr, FibResult, Hook, Key, Layout, MetaKey, NatKind, Register, Set,
    Type, Verdict, fib_flags, load, priority,
};

use crate::config::Config;
use crate::ports::PortMap;

const PREFIX: &str = "pod-";

/// Whether an object of the table is the pod network's.
pub(crate) fn owns(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The sets of one address family.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    pub(crate) any_address: Set,
    pub(crate) one_address: Set,
    pub(crate) hairpin: Set,
    pub(crate) cluster: Set,
}

impl Sets {
    pub(crate) fn of(ipv6: bool) -> Self {
        let (suffix, address) = if ipv6 { ("-ip6", Type::Ipv6) } else { ("", Type::Ipv4) };
        let to = [address, Type::Service];
        Self {
            any_address: Set::map(format!("pod-host-ports{suffix}"), &[Type::Protocol, Type::Service], &to),
            one_address: Set::map(format!("pod-host-ports-at{suffix}"), &[address, Type::Protocol, Type::Service], &to),
            hairpin: Set::of(format!("pod-hairpin{suffix}"), &[address, address]),
            cluster: Set::of(format!("pod-cluster{suffix}"), &[address]).with_intervals(),
        }
    }

    pub(crate) fn get(&self, map: PortMap) -> &Set {
        match map {
            PortMap::AnyAddress => &self.any_address,
            PortMap::OneAddress => &self.one_address,
            PortMap::Hairpin => &self.hairpin,
        }
    }

    /// Where pods' traffic goes with its own source address.
    pub(crate) fn cluster_elements(config: &Config, ipv6: bool) -> Vec<Element> {
        let multicast: IpNet = if ipv6 {
            ipnet::Ipv6Net::new_assert(MULTICAST6, 8).into()
        } else {
            ipnet::Ipv4Net::new_assert(MULTICAST4, 4).into()
        };
        let ranges = config.cluster_ranges.iter().copied().filter(|range| range.addr().is_ipv6() == ipv6);
        let mut ranges: Vec<IpNet> = IpNet::aggregate(&ranges.chain([multicast]).collect());
        ranges.sort();
        let bounds = |range: &IpNet| match range {
            IpNet::V4(range) => (IpAddr::V4(range.network()), IpAddr::V4(range.broadcast())),
            IpNet::V6(range) => (IpAddr::V6(range.network()), IpAddr::V6(range.broadcast())),
        };
        let element = |range: &IpNet| {
            let (first, last) = bounds(range);
            Element::range(Key::new().address(first), Key::new().address(last))
        };
        ranges.iter().map(element).collect()
    }
}

const MULTICAST4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(224, 0, 0, 0);
const MULTICAST6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);
const R: [Register; 8] =
    [Register(0), Register(1), Register(2), Register(3), Register(4), Register(5), Register(6), Register(7)];

/// All chains and sets, for the node's ranges.
pub(crate) fn layout(config: &Config, ranges: &[IpNet]) -> Layout {
    let base = |kind, hook, priority| Some(BaseChain { kind, hook, priority });
    let mut sets = Vec::new();
    let mut ports = Vec::new();
    let mut post = Vec::new();
    let mut guard = Vec::new();
    for range in ranges {
        let ipv6 = range.addr().is_ipv6();
        let family = Sets::of(ipv6);
        ports.extend(port_rules(&family, ipv6));
        post.extend(post_rules(config, range, &family));
        if !ipv6 {
            guard.push(loopback_guard(config));
        }
        sets.extend([family.any_address, family.one_address, family.hairpin, family.cluster]);
    }
    let to_ports =
        vec![[local_destination().as_slice(), &[Expr::Verdict(Verdict::Jump("pod-host-ports".to_owned()))]].concat()];
    let chain = |name: &str, base, rules| Chain { name: name.to_owned(), base, rules };
    // Before the Service rules: a host port is the more special of the two.
    let before = priority::DSTNAT - 1;
    Layout {
        table: config.table.clone(),
        sets,
        chains: vec![
            chain("pod-host-ports", None, ports),
            chain("pod-prerouting", base(ChainType::Nat, Hook::Prerouting, before), to_ports.clone()),
            chain("pod-output", base(ChainType::Nat, Hook::Output, before), to_ports),
            chain("pod-postrouting", base(ChainType::Nat, Hook::Postrouting, priority::SRCNAT), post),
            chain("pod-guard", base(ChainType::Filter, Hook::Prerouting, priority::RAW), guard),
        ],
    }
}

fn local_destination() -> [Expr; 2] {
    [
        Expr::Fib { flags: fib_flags::DESTINATION, result: FibResult::AddressType, to: R[0] },
        Expr::equal(R[0], 2_u32.to_ne_bytes()),
    ]
}

fn port_rules(sets: &Sets, ipv6: bool) -> [Vec<Expr>; 2] {
    let words: u8 = if ipv6 { 4 } else { 1 };
    let translate = |map: &Set, key: &[Expr]| {
        let found = Register(8);
        let mut rule = Expr::family(ipv6).to_vec();
        rule.extend_from_slice(key);
        rule.extend([
            Expr::Map { map: map.name.clone(), key: R[0], to: found },
            Expr::Nat { kind: NatKind::Destination, ipv6, address: Some(found), port: Some(found.plus(words)) },
        ]);
        rule
    };
    let with_address =
        [load::destination(ipv6, R[0]), load::protocol(R[0].plus(words)), load::destination_port(R[0].plus(words + 1))];
    let without = [load::protocol(R[0]), load::destination_port(R[1])];
    [translate(&sets.one_address, &with_address), translate(&sets.any_address, &without)]
}

fn post_rules(config: &Config, range: &IpNet, sets: &Sets) -> Vec<Vec<Expr>> {
    let ipv6 = range.addr().is_ipv6();
    let words: u8 = if ipv6 { 4 } else { 1 };
    let masquerade = Expr::Masquerade { random_ports: true };
    let mut rules = Vec::new();
    if !ipv6 {
        // The machine's own loopback address means nothing in a pod.
        let mut loopback = Expr::interface(MetaKey::OutputName, Cmp::Equal, &config.bridge).to_vec();
        loopback.extend(Expr::family(false));
        loopback.extend([load::source(false, R[0]), mask(R[0], &[255, 0, 0, 0]), Expr::equal(R[0], [127, 0, 0, 0])]);
        loopback.push(masquerade.clone());
        rules.push(loopback);
    }
    let mut hairpin = Expr::family(ipv6).to_vec();
    hairpin.extend([
        load::source(ipv6, R[0]),
        load::destination(ipv6, R[0].plus(words)),
        Expr::InSet { set: sets.hairpin.name.clone(), key: R[0], inverted: false },
        masquerade.clone(),
    ]);
    rules.push(hairpin);
    if config.masquerade {
        let mut leaving = Expr::interface(MetaKey::OutputName, Cmp::NotEqual, &config.bridge).to_vec();
        leaving.extend(Expr::family(ipv6));
        let octets = |address| Key::new().address(address).bytes().to_vec();
        leaving.extend([
            load::source(ipv6, R[0]),
            mask(R[0], &octets(range.netmask())),
            Expr::equal(R[0], octets(range.network())),
            load::destination(ipv6, R[0]),
            Expr::InSet { set: sets.cluster.name.clone(), key: R[0], inverted: true },
            masquerade,
        ]);
        rules.push(leaving);
    }
    rules
}

/// The bridge routes loopback addresses so that `localhost` reaches pods; nothing may come in by that.
fn loopback_guard(config: &Config) -> Vec<Expr> {
    let mut guard = Expr::interface(MetaKey::InputName, Cmp::Equal, &config.bridge).to_vec();
    guard.extend(Expr::family(false));
    guard.extend([load::destination(false, R[0]), mask(R[0], &[255, 0, 0, 0]), Expr::equal(R[0], [127, 0, 0, 0])]);
    guard.push(Expr::Verdict(Verdict::Drop));
    guard
}

fn mask(register: Register, mask: &[u8]) -> Expr {
    Expr::Bitwise { from: register, to: register, mask: mask.to_vec(), xor: vec![0; mask.len()] }
}
