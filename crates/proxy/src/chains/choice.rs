//! Chains that choose an endpoint: one for each way in which some front is answered.

use ipnet::IpNet;
use netlink::nft::{Expr, FibResult, NatKind, Register, Verdict, fib_flags, load};

use super::{Front, LOCAL_NUMBERS, octets};
use crate::config::Config;
use crate::tables::{SetId, SetKind};

/// How a front is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Choice {
    pub(crate) front: Front,
    pub(crate) masquerade: Masquerade,
    /// Clients go back to the endpoint they had.
    pub(crate) sticky: bool,
    pub(crate) route: Route,
}

/// Whose traffic gets the node's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Masquerade {
    Nobody,
    /// Whoever is no pod.
    OffCluster,
    Everybody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Route {
    Pool(Pool),
    /// From outside to this node's own endpoints with the client's address kept; pods and the node itself, who could
    /// as well have used the cluster IP, to any endpoint. Upstream: `externalTrafficPolicy: Local`.
    External {
        cluster: u32,
        local: u32,
    },
}

/// So many endpoints, to be chosen from at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pool {
    pub(crate) count: u32,
    /// Only this node's endpoints, which have numbers of their own.
    pub(crate) local: bool,
}

// === impl Choice ===

impl Choice {
    pub(crate) fn name(self) -> String {
        let front = self.front.name();
        let masquerade = match self.masquerade {
            Masquerade::Nobody => "",
            Masquerade::OffCluster => "-offcluster",
            Masquerade::Everybody => "-masquerade",
        };
        let sticky = if self.sticky { "-sticky" } else { "" };
        let route = match self.route {
            Route::Pool(Pool { count, local: false }) => count.to_string(),
            Route::Pool(Pool { count, local: true }) => format!("local-{count}"),
            Route::External { cluster, local } => format!("external-{cluster}-local-{local}"),
        };
        format!("{front}{masquerade}{sticky}-{route}")
    }

    pub(super) fn dependency(self) -> Option<Self> {
        match self.route {
            Route::External { cluster, .. } if cluster > 0 => {
                let route = Route::Pool(Pool { count: cluster, local: false });
                Some(Self { masquerade: Masquerade::Nobody, route, ..self })
            }
            _ => None,
        }
    }

    pub(super) fn rules(self, config: &Config) -> Vec<Vec<Expr>> {
        let mut rules = Vec::new();
        match self.masquerade {
            Masquerade::Nobody => {}
            Masquerade::Everybody => rules.push(Expr::or_mark(config.masquerade_mark).to_vec()),
            Masquerade::OffCluster => rules.push(self.mark_off_cluster(config)),
        }
        match self.route {
            Route::Pool(pool) => rules.extend(self.pool(pool)),
            Route::External { local, .. } => {
                rules.extend(self.short_of_policy(config));
                if local > 0 {
                    rules.extend(self.pool(Pool { count: local, local: true }));
                }
            }
        }
        rules
    }

    /// Back to the endpoint the client had, if it is remembered; else a number is drawn.
    fn pool(self, pool: Pool) -> Vec<Vec<Expr>> {
        let Front { ipv6, node_port } = self.front;
        let next = Register(self.front.key_words());
        let of = |service, for_node_port| SetId { ipv6, kind: if node_port { for_node_port } else { service } }.name();
        let mut rules = Vec::new();
        if self.sticky {
            let map = of(SetKind::ServiceAffinity, SetKind::NodePortAffinity);
            let mut back = self.front.load();
            back.push(load::source(ipv6, next));
            self.translate(&mut back, map, next.plus(self.front.words()));
            rules.push(back);
        }
        let map = of(SetKind::ServiceEndpoints, SetKind::NodePortEndpoints);
        let mut draw = self.front.load();
        let offset = if pool.local { LOCAL_NUMBERS } else { 0 };
        draw.push(Expr::Random { modulus: pool.count.max(1), offset, to: next });
        self.translate(&mut draw, map, next.plus(1));
        rules.push(draw);
        rules
    }

    fn translate(self, rule: &mut Vec<Expr>, map: String, endpoint: Register) {
        let port = Some(endpoint.plus(self.front.words()));
        rule.push(Expr::Map { map, key: Register(0), to: endpoint });
        rule.push(Expr::Nat { kind: NatKind::Destination, ipv6: self.front.ipv6, address: Some(endpoint), port });
    }

    fn short_of_policy(self, config: &Config) -> Vec<Vec<Expr>> {
        let Some(anywhere) = self.dependency() else { return Vec::new() };
        let anywhere = Expr::Verdict(Verdict::Goto(anywhere.name()));
        let from_pods = self.ranges(config).map(|range| {
            let mut rule = self.source_in(range, false);
            rule.push(anywhere.clone());
            rule
        });
        let mut rules: Vec<Vec<Expr>> = from_pods.collect();
        let to = Register(0);
        let mut own = vec![
            Expr::Fib { flags: fib_flags::SOURCE, result: FibResult::AddressType, to },
            Expr::equal(to, 2_u32.to_ne_bytes()),
        ];
        own.extend(Expr::or_mark(config.masquerade_mark));
        own.push(anywhere);
        rules.push(own);
        rules
    }

    fn mark_off_cluster(self, config: &Config) -> Vec<Expr> {
        let mut rule: Vec<Expr> = self.ranges(config).flat_map(|range| self.source_in(range, true)).collect();
        rule.extend(Expr::or_mark(config.masquerade_mark));
        rule
    }

    fn ranges(self, config: &Config) -> impl Iterator<Item = &IpNet> {
        config.cluster_ranges.iter().filter(move |range| range.addr().is_ipv6() == self.front.ipv6)
    }

    fn source_in(self, range: &IpNet, inverted: bool) -> Vec<Expr> {
        let ipv6 = self.front.ipv6;
        let (mask, network) = (octets(range.netmask()), octets(range.network()));
        let (at, xor) = (Register(0), vec![0; mask.len()]);
        let mut rule = Expr::family(ipv6).to_vec();
        rule.extend([load::source(ipv6, at), Expr::Bitwise { from: at, to: at, mask, xor }]);
        rule.push(if inverted { Expr::not_equal(at, network) } else { Expr::equal(at, network) });
        rule
    }
}
