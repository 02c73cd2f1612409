//! The proxy's chains. Pure.
//!
//! Fixed ones are hooked in. Shared ones say how a front is answered or remembered, are named after that, and serve
//! every front of the same shape.

mod base;
mod choice;
mod memory;

use netlink::nft::{Expr, Key, load};

use crate::config::Config;

pub(crate) use base::{DROP, REJECT, layout, owns};
pub(crate) use choice::{Choice, Masquerade, Pool, Route};
pub(crate) use memory::Memory;

/// A chain that is there as long as some Service needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SharedChain {
    Choice(Choice),
    Memory(Memory),
}

/// What kind of front a chain answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Front {
    pub(crate) ipv6: bool,
    /// On every address of the node, instead of one address.
    pub(crate) node_port: bool,
}

/// Numbers of this node's endpoints begin here; those of all endpoints at 0.
pub(crate) const LOCAL_NUMBERS: u32 = 1 << 16;

impl SharedChain {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Choice(choice) => choice.name(),
            Self::Memory(memory) => memory.name(),
        }
    }

    /// The chain this one leads to.
    pub(crate) fn dependency(self) -> Option<Self> {
        match self {
            Self::Choice(choice) => choice.dependency().map(Self::Choice),
            Self::Memory(_) => None,
        }
    }

    pub(crate) fn rules(self, config: &Config) -> Vec<Vec<Expr>> {
        match self {
            Self::Choice(choice) => choice.rules(config),
            Self::Memory(memory) => vec![memory.rule()],
        }
    }
}

impl Front {
    fn name(self) -> String {
        let family = if self.ipv6 { "ip6" } else { "ip" };
        format!("{family}-{}", if self.node_port { "nodeport" } else { "service" })
    }

    /// Registers of an address.
    fn words(self) -> u8 {
        if self.ipv6 { 4 } else { 1 }
    }

    /// Registers of the front's key.
    fn key_words(self) -> u8 {
        if self.node_port { 2 } else { self.words() + 2 }
    }

    /// Loads the packet's destination as a front's key, from register 0.
    fn load(self) -> Vec<Expr> {
        use netlink::nft::Register;
        let mut rule = Expr::family(self.ipv6).to_vec();
        let mut next = Register(0);
        if !self.node_port {
            rule.push(load::destination(self.ipv6, next));
            next = next.plus(self.words());
        }
        rule.push(load::protocol(next));
        rule.push(load::destination_port(next.plus(1)));
        rule
    }
}

/// The bytes of an address, as rules compare them.
fn octets(address: std::net::IpAddr) -> Vec<u8> {
    Key::new().address(address).bytes().to_vec()
}
