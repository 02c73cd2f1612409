//! The proxy's chains. Pure.
//!
//! Fixed ones are hooked in and sort fronts; shared ones draw an endpoint from pools of one size, or remember a client
//! for one length of time, and are there once some Service needs them.

mod base;
mod draw;
mod front;
mod memory;

use std::net::IpAddr;

use ipnet::IpNet;
use netlink::nft::{Batch, Expr, Key, Register, Set, Verdict, load};

use crate::config::Config;
use crate::tables::{Front, SetKind};

pub(crate) use base::{layout, owns};
pub(crate) use draw::Draw;
pub(crate) use memory::Memory;

/// A chain that is there once some Service needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SharedChain {
    Draw(Draw),
    Memory(Memory),
}

impl SharedChain {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Draw(draw) => draw.name(),
            Self::Memory(memory) => memory.name(),
        }
    }

    /// Whether it may go when nobody needs it. There are few sizes of pools, and rules lead to their chains.
    pub(crate) fn is_removable(self) -> bool {
        matches!(self, Self::Memory(_))
    }

    pub(crate) fn add(self, config: &Config, batch: &mut Batch) {
        let table = &config.table;
        let name = self.name();
        batch.add_chain(table, &name, None);
        match self {
            Self::Draw(draw) => {
                for rule in draw.rules() {
                    batch.add_rule(table, &name, &rule);
                }
                let fronts: Set = draw.fronts().definition();
                batch.add_set(table, &fronts);
                batch.add_rule(table, &draw.parent(), &draw.way_in());
            }
            Self::Memory(memory) => batch.add_rule(table, &name, &memory.rule()),
        }
    }
}

// === parts of rules ===

const R0: Register = Register(0);

impl Front {
    /// Registers of an address.
    fn words(self) -> u8 {
        if self.ipv6 { 4 } else { 1 }
    }

    /// The register after the front's key.
    fn next(self) -> Register {
        Register(if self.node_port { 2 } else { self.words() + 2 })
    }

    /// Loads the packet's destination as a front's key, from register 0.
    fn load(self) -> Vec<Expr> {
        let mut rule = Expr::family(self.ipv6).to_vec();
        let mut next = R0;
        if !self.node_port {
            rule.push(load::destination(self.ipv6, next));
            next = next.plus(self.words());
        }
        rule.push(load::protocol(next));
        rule.push(load::destination_port(next.plus(1)));
        rule
    }

    /// The packet's destination is one of those fronts.
    fn is_in(self, kind: SetKind) -> Vec<Expr> {
        let mut rule = self.load();
        rule.push(self.in_set(kind));
        rule
    }

    /// What is loaded from register 0 is in the set.
    fn in_set(self, kind: SetKind) -> Expr {
        Expr::InSet { set: self.set(kind).name(), key: R0, inverted: false }
    }
}

fn goto(chain: &str) -> Expr {
    Expr::Verdict(Verdict::Goto(chain.to_owned()))
}

fn jump(chain: &str) -> Expr {
    Expr::Verdict(Verdict::Jump(chain.to_owned()))
}

/// The bytes of an address, as rules compare them.
fn octets(address: IpAddr) -> Vec<u8> {
    Key::new().address(address).bytes().to_vec()
}

/// The address in register 0 is in the range, or is not.
fn within(range: &IpNet, inverted: bool) -> [Expr; 2] {
    let (mask, network) = (octets(range.netmask()), octets(range.network()));
    let xor = vec![0; mask.len()];
    let compare = if inverted { Expr::not_equal(R0, network) } else { Expr::equal(R0, network) };
    [Expr::Bitwise { from: R0, to: R0, mask, xor }, compare]
}
