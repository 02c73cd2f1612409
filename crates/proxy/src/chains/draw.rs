//! Chains that draw an endpoint's number: one for each size of pools.
//!
//! A number that no endpoint has finds nothing, and the next rule draws again. Between a half and all of the numbers
//! are somebody's, so the last rule, which draws from the lower half, is reached once in 256 times at most.

use netlink::nft::{Expr, NatKind, Register};

use super::goto;
use crate::tables::{Front, LOCAL_NUMBERS, SetId, SetKind, Size};

/// Draws before the last.
const TRIES: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Draw {
    pub(crate) front: Front,
    pub(crate) size: Size,
}

impl Draw {
    pub(crate) fn name(self) -> String {
        format!("{}-{}-draw{}", self.front.family(), self.front.noun(), self.size.suffix())
    }

    /// The fronts that draw here.
    pub(super) fn fronts(self) -> SetId {
        self.front.set(SetKind::Size(self.size))
    }

    /// The chain that leads here.
    pub(super) fn parent(self) -> String {
        super::front::choose(self.front, self.size.local)
    }

    pub(super) fn way_in(self) -> Vec<Expr> {
        let mut rule = self.front.is_in(SetKind::Size(self.size));
        rule.push(goto(&self.name()));
        rule
    }

    pub(super) fn rules(self) -> Vec<Vec<Expr>> {
        let all = 1 << self.size.exponent;
        // A pool of one or two has somebody at every number.
        if self.size.exponent < 2 {
            return vec![self.draw(all)];
        }
        let mut rules = vec![self.draw(all); TRIES];
        rules.push(self.draw(all / 2));
        rules
    }

    fn draw(self, modulus: u32) -> Vec<Expr> {
        let number = self.front.next();
        let offset = if self.size.local { LOCAL_NUMBERS } else { 0 };
        let mut rule = self.front.load();
        rule.push(Expr::Random { modulus, offset, to: number });
        translate(&mut rule, self.front, SetKind::Endpoints, number.plus(1));
        rule
    }
}

/// Looks the endpoint up for the key from register 0, and sends the packet there.
pub(super) fn translate(rule: &mut Vec<Expr>, front: Front, map: SetKind, endpoint: Register) {
    let port = Some(endpoint.plus(front.words()));
    rule.push(Expr::Map { map: front.set(map).name(), key: Register(0), to: endpoint });
    rule.push(Expr::Nat { kind: NatKind::Destination, ipv6: front.ipv6, address: Some(endpoint), port });
}
