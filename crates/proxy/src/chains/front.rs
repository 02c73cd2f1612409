//! The fixed chains of one kind of front: who is masqueraded, and from which pool an endpoint is drawn.

use ipnet::IpNet;
use netlink::nft::{Chain, Expr, FibResult, Register, fib_flags, load};

use super::draw::translate;
use super::{goto, jump, within};
use crate::config::Config;
use crate::tables::{Front, SetKind};

/// The chain for all fronts of the kind that can be answered.
pub(super) fn entry(front: Front) -> String {
    format!("{}-{}", front.family(), front.noun())
}

/// The chain that draws from all endpoints, or from this node's. The rules that lead to sizes are appended to it.
pub(super) fn choose(front: Front, local: bool) -> String {
    format!("{}-{}-choose{}", front.family(), front.noun(), if local { "-local" } else { "" })
}

fn external(front: Front) -> String {
    format!("{}-{}-external", front.family(), front.noun())
}

pub(super) fn chains(config: &Config, front: Front) -> Vec<Chain> {
    let chain = |name: String, rules| Chain { name, base: None, rules };
    vec![
        chain(choose(front, false), vec![recall(front)]),
        chain(choose(front, true), vec![recall(front)]),
        chain(external(front), external_rules(config, front)),
        chain(entry(front), entry_rules(config, front)),
    ]
}

/// Back to the endpoint the client had, if it is remembered.
fn recall(front: Front) -> Vec<Expr> {
    let mut rule = front.load();
    let client = front.next();
    rule.push(load::source(front.ipv6, client));
    translate(&mut rule, front, SetKind::Affinity, client.plus(front.words()));
    rule
}

fn entry_rules(config: &Config, front: Front) -> Vec<Vec<Expr>> {
    let mark = || Expr::or_mark(config.masquerade_mark);
    let mut rules = Vec::new();
    let mut outside = front.is_in(SetKind::External);
    outside.push(goto(&external(front)));
    rules.push(outside);
    let ranges: Vec<&IpNet> = ranges(config, front).collect();
    if config.masquerade_all {
        rules.push(mark().to_vec());
    } else if !ranges.is_empty() {
        let mut no_pod: Vec<Expr> = ranges.iter().flat_map(|range| source(front, range, true)).collect();
        no_pod.extend(mark());
        rules.push(no_pod);
    }
    let mut everybody = front.is_in(SetKind::Masquerade);
    everybody.extend(mark());
    rules.push(everybody);
    // A front has a pool of one of the two kinds.
    rules.push(vec![jump(&choose(front, false))]);
    rules.push(vec![goto(&choose(front, true))]);
    rules
}

/// From outside to this node's own endpoints with the client's address kept; pods and the node itself, who could as
/// well have used the cluster IP, to any endpoint. Upstream: `externalTrafficPolicy: Local`.
fn external_rules(config: &Config, front: Front) -> Vec<Vec<Expr>> {
    let anywhere = || goto(&choose(front, false));
    let mut rules: Vec<Vec<Expr>> = Vec::new();
    for range in ranges(config, front) {
        let mut pods = source(front, range, false);
        pods.push(anywhere());
        rules.push(pods);
    }
    let to = Register(0);
    let mut own = vec![
        Expr::Fib { flags: fib_flags::SOURCE, result: FibResult::AddressType, to },
        Expr::equal(to, 2_u32.to_ne_bytes()),
    ];
    own.extend(Expr::or_mark(config.masquerade_mark));
    own.push(anywhere());
    rules.push(own);
    rules.push(vec![goto(&choose(front, true))]);
    rules
}

fn ranges(config: &Config, front: Front) -> impl Iterator<Item = &IpNet> {
    config.cluster_ranges.iter().filter(move |range| range.addr().is_ipv6() == front.ipv6)
}

fn source(front: Front, range: &IpNet, inverted: bool) -> Vec<Expr> {
    let mut rule = Expr::family(front.ipv6).to_vec();
    rule.push(load::source(front.ipv6, Register(0)));
    rule.extend(within(range, inverted));
    rule
}
