//! The chains that are hooked in, and the sets that are always there.

use ipnet::IpNet;
use netlink::nft::{
    BaseChain, Chain, ChainType, Cmp, CtKey, Expr, FibResult, Hook, Layout, MetaKey, Reject, Verdict, fib_flags, load,
    priority,
};

use super::memory::original_front;
use super::{R0, front, goto, jump, within};
use crate::config::Config;
use crate::tables::{Front, SetId, SetKind};

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
    let new = |target: &str| [is_new(), vec![jump(target)]].concat();
    let (before, after) = (priority::DSTNAT - 10, priority::DSTNAT + 10);
    let fronts: Vec<Front> = Front::all(config.families()).collect();
    let of_services = || fronts.iter().filter(|front| !front.node_port);
    let of_node_ports = || fronts.iter().filter(|front| front.node_port);

    let mut chains: Vec<Chain> = fronts.iter().flat_map(|front| front::chains(config, *front)).collect();
    chains.extend([
        chain("services", None, fronts.iter().map(|front| service(*front)).collect()),
        chain("endpoints-check", None, of_services().flat_map(|front| endpoints_check(*front)).collect()),
        chain("nodeports-check", None, of_node_ports().flat_map(|front| endpoints_check(*front)).collect()),
        chain("cluster-ips-check", None, of_services().flat_map(|front| cluster_ips_check(config, *front)).collect()),
        chain("firewall-check", None, of_services().flat_map(|front| firewall_check(*front)).collect()),
        chain("remember", None, fronts.iter().map(|front| remember(*front)).collect()),
        chain("nat-prerouting", nat(Hook::Prerouting, priority::DSTNAT), vec![vec![jump("services")]]),
        chain("nat-output", nat(Hook::Output, priority::DSTNAT), vec![vec![jump("services")]]),
        chain("nat-postrouting", nat(Hook::Postrouting, priority::SRCNAT), postrouting(config)),
        chain("filter-prerouting", filter(Hook::Prerouting, before), vec![new("firewall-check")]),
        chain("filter-input", filter(Hook::Input, before), {
            // Endpoints that are the node's own addresses do not come by postrouting.
            let remember = [is_new(), was_translated(), vec![jump("remember")]].concat();
            vec![new("nodeports-check"), new("endpoints-check"), remember]
        }),
        chain("filter-forward", filter(Hook::Forward, before), {
            vec![new("endpoints-check"), new("cluster-ips-check")]
        }),
        chain("filter-output", filter(Hook::Output, before), vec![new("firewall-check")]),
        // What a Service took no longer has its front's address after translation.
        chain("filter-output-after", filter(Hook::Output, after), {
            vec![new("endpoints-check"), new("cluster-ips-check")]
        }),
        chain("loopback-guard", filter(Hook::Prerouting, priority::RAW), loopback_guard(config)),
    ]);
    let sets = fronts.iter().flat_map(|front| front.sets()).map(SetId::definition).collect();
    Layout { table: config.table.clone(), sets, chains }
}

/// To an address of this machine.
fn is_local() -> [Expr; 2] {
    [
        Expr::Fib { flags: fib_flags::DESTINATION, result: FibResult::AddressType, to: R0 },
        Expr::equal(R0, 2_u32.to_ne_bytes()),
    ]
}

fn front_rule(front: Front, kind: SetKind) -> Vec<Expr> {
    let local: &[Expr] = if front.node_port { &is_local() } else { &[] };
    [local, &front.is_in(kind)].concat()
}

fn service(front: Front) -> Vec<Expr> {
    let mut rule = front_rule(front, SetKind::Fronts);
    rule.push(goto(&front::entry(front)));
    rule
}

fn endpoints_check(front: Front) -> [Vec<Expr>; 2] {
    let mut nobody = front_rule(front, SetKind::Reject);
    nobody.push(Expr::Reject(Reject::PortUnreachable));
    let mut elsewhere = front_rule(front, SetKind::Drop);
    elsewhere.push(Expr::Verdict(Verdict::Drop));
    [nobody, elsewhere]
}

fn cluster_ips_check(config: &Config, front: Front) -> Vec<Vec<Expr>> {
    let mut begin = Expr::family(front.ipv6).to_vec();
    begin.push(load::destination(front.ipv6, R0));
    let mut known = begin.clone();
    known.extend([front.in_set(SetKind::ClusterIps), Expr::Reject(Reject::PortUnreachable)]);
    let mut rules = vec![known];
    for range in config.service_ranges.iter().filter(|range| range.addr().is_ipv6() == front.ipv6) {
        let mut unused = begin.clone();
        unused.extend(within(range, false));
        unused.push(Expr::Verdict(Verdict::Drop));
        rules.push(unused);
    }
    rules
}

fn firewall_check(front: Front) -> [Vec<Expr>; 2] {
    let mut allowed = front.load();
    allowed.push(load::source(front.ipv6, front.next()));
    allowed.extend([front.in_set(SetKind::Sources), Expr::Verdict(Verdict::Return)]);
    let mut denied = front.is_in(SetKind::Firewalled);
    denied.push(Expr::Verdict(Verdict::Drop));
    [allowed, denied]
}

/// Fronts with session affinity lead to the chain that remembers.
fn remember(front: Front) -> Vec<Expr> {
    let mut rule = original_front(front);
    rule.push(Expr::VerdictMap { map: front.set(SetKind::Sticky).name(), key: R0 });
    rule
}

fn postrouting(config: &Config) -> Vec<Vec<Expr>> {
    let mark = config.masquerade_mark.to_ne_bytes().to_vec();
    let cleared = (!config.masquerade_mark).to_ne_bytes().to_vec();
    let zero = vec![0; 4];
    let masquerade = Expr::Masquerade { random_ports: true };
    let marked = vec![
        Expr::Meta { key: MetaKey::Mark, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: mark, xor: zero.clone() },
        Expr::not_equal(R0, zero.clone()),
        // A tunnel's outer packet inherits the mark and must not be masqueraded for it.
        Expr::Meta { key: MetaKey::Mark, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: cleared, xor: zero },
        Expr::SetMeta { key: MetaKey::Mark, from: R0 },
        masquerade.clone(),
    ];
    let mut rules = vec![[was_translated(), vec![jump("remember")]].concat(), marked];
    for ipv6 in config.families() {
        let front = Front { ipv6, node_port: false };
        let mut hairpin = Expr::family(ipv6).to_vec();
        hairpin.extend([load::source(ipv6, R0), load::destination(ipv6, R0.plus(front.words()))]);
        hairpin.extend([front.in_set(SetKind::Hairpin), masquerade.clone()]);
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
        rule.extend(within(&IpNet::V4(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)), false));
        rule.push(Expr::Verdict(Verdict::Drop));
        rule
    };
    if config.loopback_links.iter().any(|link| link == "all") {
        return vec![guard(Expr::interface(MetaKey::InputName, Cmp::NotEqual, "lo"))];
    }
    config.loopback_links.iter().map(|link| guard(Expr::interface(MetaKey::InputName, Cmp::Equal, link))).collect()
}

fn was_translated() -> Vec<Expr> {
    const DESTINATION_TRANSLATED: u32 = 32;
    bits(CtKey::Status, DESTINATION_TRANSLATED)
}

fn is_new() -> Vec<Expr> {
    const NEW: u32 = 8;
    bits(CtKey::State, NEW)
}

fn bits(key: CtKey, mask: u32) -> Vec<Expr> {
    vec![
        Expr::Ct { key, direction: None, to: R0 },
        Expr::Bitwise { from: R0, to: R0, mask: mask.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::not_equal(R0, vec![0; 4]),
    ]
}
