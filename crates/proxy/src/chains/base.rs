//! The chains that are hooked in, and the sets they ask.

use ipnet::IpNet;
use netlink::nft::{
    BaseChain, Chain, ChainType, Cmp, CtKey, Expr, FibResult, Hook, Layout, MetaKey, Register, Reject, Verdict,
    fib_flags, load, priority,
};

use super::memory::original_front;
use super::{Front, octets};
use crate::config::Config;
use crate::tables::{KINDS, SetId, SetKind};

/// The chain for fronts without any endpoint.
pub(crate) const REJECT: &str = "reject-chain";
/// The chain for fronts whose endpoints are all elsewhere. A verdict of its own, so that it can be seen and counted.
pub(crate) const DROP: &str = "drop-chain";

const R0: Register = Register(0);

/// Whether an object of the table is the proxy's.
pub(crate) fn owns(name: &str) -> bool {
    !name.starts_with("pod-")
}

/// Everything that is there whatever Services there are.
pub(crate) fn layout(config: &Config) -> Layout {
    let base = |kind, hook, priority| Some(BaseChain { kind, hook, priority });
    let chain = |name: &str, base, rules| Chain { name: name.to_owned(), base, rules };
    let filter = |hook, priority| base(ChainType::Filter, hook, priority);
    let nat = |hook, priority| base(ChainType::Nat, hook, priority);
    let jump = |target: &str| vec![Expr::Verdict(Verdict::Jump(target.to_owned()))];
    let new = |target: &str| [is_new(), jump(target)].concat();
    let each = |rules: fn(&Config, bool) -> Vec<Vec<Expr>>| -> Vec<Vec<Expr>> {
        config.families().flat_map(|ipv6| rules(config, ipv6)).collect()
    };
    let (before, after) = (priority::DSTNAT - 10, priority::DSTNAT + 10);
    Layout {
        table: config.table.clone(),
        sets: config.families().flat_map(|ipv6| KINDS.map(|kind| SetId { ipv6, kind }.definition())).collect(),
        chains: vec![
            chain(REJECT, None, vec![vec![Expr::Reject(Reject::PortUnreachable)]]),
            chain(DROP, None, vec![vec![Expr::Verdict(Verdict::Drop)]]),
            chain("services", None, each(services)),
            chain("endpoints-check", None, each(endpoints_check)),
            chain("nodeports-check", None, each(node_ports_check)),
            chain("cluster-ips-check", None, each(cluster_ips_check)),
            chain("firewall-check", None, each(firewall_check)),
            chain("remember", None, each(remember)),
            chain("nat-prerouting", nat(Hook::Prerouting, priority::DSTNAT), vec![jump("services")]),
            chain("nat-output", nat(Hook::Output, priority::DSTNAT), vec![jump("services")]),
            chain("nat-postrouting", nat(Hook::Postrouting, priority::SRCNAT), {
                [vec![[was_translated(), jump("remember")].concat()], postrouting(config)].concat()
            }),
            chain("filter-prerouting", filter(Hook::Prerouting, before), vec![new("firewall-check")]),
            chain("filter-input", filter(Hook::Input, before), {
                // Endpoints that are the node's own addresses do not come by postrouting.
                let remember = [is_new(), was_translated(), jump("remember")].concat();
                vec![new("nodeports-check"), new("endpoints-check"), remember]
            }),
            chain(
                "filter-forward",
                filter(Hook::Forward, before),
                vec![new("endpoints-check"), new("cluster-ips-check")],
            ),
            chain("filter-output", filter(Hook::Output, before), vec![new("endpoints-check"), new("firewall-check")]),
            // Only what no Service took is left with a cluster IP after translation.
            chain("filter-output-after", filter(Hook::Output, after), vec![new("cluster-ips-check")]),
            chain("loopback-guard", filter(Hook::Prerouting, priority::RAW), loopback_guard(config)),
        ],
    }
}

fn front(ipv6: bool) -> Front {
    Front { ipv6, node_port: false }
}

fn node_port_front(ipv6: bool) -> Vec<Expr> {
    let mut rule = Expr::family(ipv6).to_vec();
    rule.extend([
        Expr::Fib { flags: fib_flags::DESTINATION, result: FibResult::AddressType, to: R0 },
        Expr::equal(R0, 2_u32.to_ne_bytes()),
        load::protocol(R0),
        load::destination_port(Register(1)),
    ]);
    rule
}

fn ask(ipv6: bool, kind: SetKind) -> Expr {
    Expr::VerdictMap { map: SetId { ipv6, kind }.name(), key: R0 }
}

fn in_set(ipv6: bool, kind: SetKind) -> Expr {
    Expr::InSet { set: SetId { ipv6, kind }.name(), key: R0, inverted: false }
}

fn services(_: &Config, ipv6: bool) -> Vec<Vec<Expr>> {
    let mut service = front(ipv6).load();
    service.push(ask(ipv6, SetKind::Services));
    let mut node_port = node_port_front(ipv6);
    node_port.push(ask(ipv6, SetKind::NodePorts));
    vec![service, node_port]
}

fn endpoints_check(_: &Config, ipv6: bool) -> Vec<Vec<Expr>> {
    let mut rule = front(ipv6).load();
    rule.push(ask(ipv6, SetKind::NoEndpoints));
    vec![rule]
}

fn node_ports_check(_: &Config, ipv6: bool) -> Vec<Vec<Expr>> {
    let mut rule = node_port_front(ipv6);
    rule.push(ask(ipv6, SetKind::NoEndpointNodePorts));
    vec![rule]
}

fn cluster_ips_check(config: &Config, ipv6: bool) -> Vec<Vec<Expr>> {
    let mut begin = Expr::family(ipv6).to_vec();
    begin.push(load::destination(ipv6, R0));
    let mut known = begin.clone();
    known.extend([in_set(ipv6, SetKind::ClusterIps), Expr::Reject(Reject::PortUnreachable)]);
    let mut rules = vec![known];
    for range in config.service_ranges.iter().filter(|range| range.addr().is_ipv6() == ipv6) {
        let mut unused = begin.clone();
        unused.extend(within(range));
        unused.push(Expr::Verdict(Verdict::Drop));
        rules.push(unused);
    }
    rules
}

fn firewall_check(_: &Config, ipv6: bool) -> Vec<Vec<Expr>> {
    let mut allowed = front(ipv6).load();
    let next = Register(front(ipv6).key_words());
    let mut denied = allowed.clone();
    allowed.push(load::source(ipv6, next));
    allowed.extend([in_set(ipv6, SetKind::Sources), Expr::Verdict(Verdict::Return)]);
    denied.extend([in_set(ipv6, SetKind::Firewalled), Expr::Verdict(Verdict::Drop)]);
    vec![allowed, denied]
}

fn postrouting(config: &Config) -> Vec<Vec<Expr>> {
    let mark = config.masquerade_mark.to_ne_bytes().to_vec();
    let cleared = (!config.masquerade_mark).to_ne_bytes().to_vec();
    let zero = vec![0; 4];
    let masquerade = Expr::Masquerade { random_ports: true };
    let mut rules = vec![vec![
        Expr::Meta { key: MetaKey::Mark, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: mark, xor: zero.clone() },
        Expr::not_equal(R0, zero.clone()),
        // A tunnel's outer packet inherits the mark and must not be masqueraded for it.
        Expr::Meta { key: MetaKey::Mark, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: cleared, xor: zero },
        Expr::SetMeta { key: MetaKey::Mark, from: R0 },
        masquerade.clone(),
    ]];
    for ipv6 in config.families() {
        let words = if ipv6 { 4 } else { 1 };
        let mut hairpin = Expr::family(ipv6).to_vec();
        hairpin.extend([load::source(ipv6, R0), load::destination(ipv6, R0.plus(words))]);
        hairpin.extend([in_set(ipv6, SetKind::Hairpin), masquerade.clone()]);
        rules.push(hairpin);
    }
    rules
}

/// Routing loopback addresses on a link must not let its neighbours reach the machine's loopback servers.
/// Upstream: the rule against CVE-2020-8558.
fn loopback_guard(config: &Config) -> Vec<Vec<Expr>> {
    let guard = |interface: [Expr; 2]| {
        let mut rule = interface.to_vec();
        rule.extend(Expr::family(false));
        rule.push(load::destination(false, R0));
        rule.extend(within(&IpNet::V4(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8))));
        rule.push(Expr::Verdict(Verdict::Drop));
        rule
    };
    if config.loopback_links.iter().any(|link| link == "all") {
        return vec![guard(Expr::interface(MetaKey::InputName, Cmp::NotEqual, "lo"))];
    }
    config.loopback_links.iter().map(|link| guard(Expr::interface(MetaKey::InputName, Cmp::Equal, link))).collect()
}

/// The address in register 0 is in the range.
fn within(range: &IpNet) -> [Expr; 2] {
    let (mask, network) = (octets(range.netmask()), octets(range.network()));
    let zero = vec![0; mask.len()];
    [Expr::Bitwise { from: R0, to: R0, mask, xor: zero }, Expr::equal(R0, network)]
}

/// Fronts with session affinity lead to the chain that remembers.
fn remember(_: &Config, ipv6: bool) -> Vec<Vec<Expr>> {
    let rule = |node_port, kind| {
        let mut rule = original_front(Front { ipv6, node_port });
        rule.push(ask(ipv6, kind));
        rule
    };
    vec![rule(false, SetKind::StickyServices), rule(true, SetKind::StickyNodePorts)]
}

fn was_translated() -> Vec<Expr> {
    const DESTINATION_TRANSLATED: u32 = 32;
    vec![
        Expr::Ct { key: CtKey::Status, direction: None, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: DESTINATION_TRANSLATED.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::not_equal(R0, vec![0; 4]),
    ]
}

fn is_new() -> Vec<Expr> {
    const NEW: u32 = 8;
    vec![
        Expr::Ct { key: CtKey::State, direction: None, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: NEW.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::not_equal(R0, vec![0; 4]),
    ]
}
