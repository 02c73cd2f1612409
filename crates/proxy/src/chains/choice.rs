//! Chains that choose an endpoint: one for each shape of front that some Service has.
//!
//! Registers: the front's key is loaded from 0 and becomes the pool's number at `POOL`; the client's address goes
//! right before it, the number drawn or the remembered endpoint right after it, so that each key lies in one piece.

use std::time::Duration;

use ipnet::IpNet;
use netlink::nft::{DynsetOp, Expr, FibResult, Key, NatKind, Register, Verdict, fib_flags, load};

use crate::config::Config;
use crate::tables::{SetId, SetKind};

/// How a front is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Choice {
    pub(crate) ipv6: bool,
    /// A front on every address of the node, instead of one address.
    pub(crate) node_port: bool,
    pub(crate) masquerade: Masquerade,
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
        affinity: Option<u32>,
    },
}

/// So many endpoints, to be chosen from at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pool {
    pub(crate) count: u32,
    /// Only this node's endpoints: a pool of its own, numbered one higher.
    pub(crate) local: bool,
    /// Seconds a client stays with its endpoint.
    pub(crate) affinity: Option<u32>,
}

// === impl Choice ===

impl Choice {
    pub(crate) fn name(self) -> String {
        let family = if self.ipv6 { "ip6" } else { "ip" };
        let front = if self.node_port { "nodeport" } else { "service" };
        let masquerade = match self.masquerade {
            Masquerade::Nobody => "",
            Masquerade::OffCluster => "-offcluster",
            Masquerade::Everybody => "-masquerade",
        };
        let (route, affinity) = match self.route {
            Route::Pool(pool) => (format!("{}{}", if pool.local { "local-" } else { "" }, pool.count), pool.affinity),
            Route::External { cluster, local, affinity } => (format!("external-{cluster}-local-{local}"), affinity),
        };
        let affinity = affinity.map(|seconds| format!("-sticky-{seconds}")).unwrap_or_default();
        format!("{family}-{front}{masquerade}-{route}{affinity}")
    }

    /// Chains this one leads to.
    pub(crate) fn dependency(self) -> Option<Self> {
        match self.route {
            Route::External { cluster, affinity, .. } if cluster > 0 => {
                let route = Route::Pool(Pool { count: cluster, local: false, affinity });
                Some(Self { masquerade: Masquerade::Nobody, route, ..self })
            }
            _ => None,
        }
    }

    pub(crate) fn rules(self, config: &Config) -> Vec<Vec<Expr>> {
        let frame = Frame { choice: self, words: if self.ipv6 { 4 } else { 1 } };
        let mut rules = Vec::new();
        match self.masquerade {
            Masquerade::Nobody => {}
            Masquerade::Everybody => rules.push(Expr::or_mark(config.masquerade_mark).to_vec()),
            Masquerade::OffCluster => rules.push(frame.mark_off_cluster(config)),
        }
        match self.route {
            Route::Pool(pool) => rules.extend(frame.pool(pool)),
            Route::External { local, affinity, .. } => {
                if let Some(anywhere) = self.dependency() {
                    let anywhere = Expr::Verdict(Verdict::Goto(anywhere.name()));
                    for range in frame.ranges(config) {
                        let mut short = frame.source_in(range, false);
                        short.push(anywhere.clone());
                        rules.push(short);
                    }
                    let mut own = frame.from_this_machine();
                    own.extend(Expr::or_mark(config.masquerade_mark));
                    own.push(anywhere);
                    rules.push(own);
                }
                if local > 0 {
                    rules.extend(frame.pool(Pool { count: local, local: true, affinity }));
                }
            }
        }
        rules
    }
}

/// Where things lie in the registers, for one family.
struct Frame {
    choice: Choice,
    /// Registers of an address.
    words: u8,
}

impl Frame {
    fn pool_register(&self) -> Register {
        Register(2 * self.words + 1)
    }

    /// (client, pool) in one piece.
    fn client(&self) -> Register {
        Register(self.words + 1)
    }

    fn set(&self, kind: SetKind) -> String {
        SetId { ipv6: self.choice.ipv6, kind }.name()
    }

    fn ranges<'a>(&self, config: &'a Config) -> impl Iterator<Item = &'a IpNet> + use<'a> {
        let ipv6 = self.choice.ipv6;
        config.cluster_ranges.iter().filter(move |range| range.addr().is_ipv6() == ipv6)
    }

    /// Looks the front's pool up.
    fn load_pool(&self, local: bool) -> Vec<Expr> {
        let ipv6 = self.choice.ipv6;
        let mut rule = Expr::family(ipv6).to_vec();
        let (key, map) = if self.choice.node_port {
            (vec![load::protocol(Register(0)), load::destination_port(Register(1))], SetKind::NodePortPools)
        } else {
            let after = Register(self.words);
            let key = vec![
                load::destination(ipv6, Register(0)),
                load::protocol(after),
                load::destination_port(after.plus(1)),
            ];
            (key, SetKind::ServicePools)
        };
        rule.extend(key);
        let pool = self.pool_register();
        rule.push(Expr::Map { map: self.set(map), key: Register(0), to: pool });
        if local {
            let one = 1_u32;
            let (mask, xor) = ((!one).to_ne_bytes().to_vec(), one.to_ne_bytes().to_vec());
            rule.push(Expr::Bitwise { from: pool, to: pool, mask, xor });
        }
        rule
    }

    /// Draws a number and looks its endpoint up; answers where that is.
    fn draw(&self, rule: &mut Vec<Expr>, count: u32) -> Register {
        let number = self.pool_register().plus(1);
        rule.push(match count {
            0 | 1 => Expr::Immediate { value: 0_u32.to_ne_bytes().to_vec(), to: number },
            several => Expr::Random { modulus: several, to: number },
        });
        let endpoint = number.plus(1);
        rule.push(Expr::Map { map: self.set(SetKind::Endpoints), key: self.pool_register(), to: endpoint });
        endpoint
    }

    fn translate(&self, endpoint: Register) -> Expr {
        Expr::Nat {
            kind: NatKind::Destination,
            ipv6: self.choice.ipv6,
            address: Some(endpoint),
            port: Some(endpoint.plus(self.words)),
        }
    }

    fn pool(&self, pool: Pool) -> Vec<Vec<Expr>> {
        let mut plain = self.load_pool(pool.local);
        let endpoint = self.draw(&mut plain, pool.count);
        plain.push(self.translate(endpoint));
        match pool.affinity {
            Some(seconds) => {
                let mut rules = self.sticky(pool, Duration::from_secs(seconds.into()));
                rules.push(plain);
                rules
            }
            None => vec![plain],
        }
    }

    /// Before the draw: back to the endpoint the client had, if that still counts; else forget it, draw, remember.
    fn sticky(&self, pool: Pool, timeout: Duration) -> Vec<Vec<Expr>> {
        let ipv6 = self.choice.ipv6;
        let map = self.set(SetKind::Affinity);
        let known = self.pool_register().plus(1);
        let dynset = |op, data| Expr::Dynset {
            set: map.clone(),
            op,
            key: self.client(),
            data: Some(data),
            timeout: Some(timeout),
        };
        let mut begin = self.load_pool(pool.local);
        begin.push(load::source(ipv6, self.client()));
        let recall = Expr::Map { map: map.clone(), key: self.client(), to: known };

        let mut back = begin.clone();
        back.push(recall.clone());
        back.push(Expr::InSet { set: self.set(SetKind::Live), key: self.pool_register(), inverted: false });
        back.push(dynset(DynsetOp::Update, known));
        back.push(self.translate(known));

        let mut forget = begin.clone();
        forget.push(recall);
        forget.push(dynset(DynsetOp::Delete, known));

        let mut anew = begin;
        let endpoint = self.draw(&mut anew, pool.count);
        anew.push(dynset(DynsetOp::Add, endpoint));
        anew.push(self.translate(endpoint));
        vec![back, forget, anew]
    }

    fn mark_off_cluster(&self, config: &Config) -> Vec<Expr> {
        let mut rule: Vec<Expr> = self.ranges(config).flat_map(|range| self.source_in(range, true)).collect();
        rule.extend(Expr::or_mark(config.masquerade_mark));
        rule
    }

    fn source_in(&self, range: &IpNet, inverted: bool) -> Vec<Expr> {
        let octets = |address| Key::new().address(address).bytes().to_vec();
        let (mask, network) = (octets(range.netmask()), octets(range.network()));
        let zero = vec![0; mask.len()];
        let mut rule = Expr::family(self.choice.ipv6).to_vec();
        rule.push(load::source(self.choice.ipv6, Register(0)));
        rule.push(Expr::Bitwise { from: Register(0), to: Register(0), mask, xor: zero });
        rule.push(if inverted { Expr::not_equal(Register(0), network) } else { Expr::equal(Register(0), network) });
        rule
    }

    fn from_this_machine(&self) -> Vec<Expr> {
        let to = Register(0);
        vec![
            Expr::Fib { flags: fib_flags::SOURCE, result: FibResult::AddressType, to },
            Expr::equal(to, 2_u32.to_ne_bytes()),
        ]
    }
}
