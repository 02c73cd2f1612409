//! Chains that remember where a client was sent, for session affinity: one for each length of time.
//!
//! They run after translation, where the packet says the endpoint and its connection says the front and the client.
//! A client that is known already is known for the whole time again.

use std::time::Duration;

use netlink::nft::{CtKey, Direction, DynsetOp, Expr, Register, load};

use crate::tables::{Front, SetKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Memory {
    pub(crate) front: Front,
    pub(crate) seconds: u32,
}

impl Memory {
    pub(crate) fn name(self) -> String {
        format!("{}-{}-remember-{}", self.front.family(), self.front.noun(), self.seconds)
    }

    pub(super) fn rule(self) -> Vec<Expr> {
        let ipv6 = self.front.ipv6;
        let words = self.front.words();
        let mut rule = original_front(self.front);
        let client = self.front.next();
        let source = if ipv6 { CtKey::SourceV6 } else { CtKey::SourceV4 };
        rule.push(Expr::Ct { key: source, direction: Some(Direction::Original), to: client });
        let endpoint = client.plus(words);
        rule.push(load::destination(ipv6, endpoint));
        rule.push(load::destination_port(endpoint.plus(words)));
        rule.push(Expr::Dynset {
            set: self.front.set(SetKind::Affinity).name(),
            op: DynsetOp::Update,
            key: Register(0),
            data: Some(endpoint),
            timeout: Some(Duration::from_secs(self.seconds.into())),
        });
        rule
    }
}

/// Loads the front that the packet's connection came to, from register 0.
pub(super) fn original_front(front: Front) -> Vec<Expr> {
    let original = Some(Direction::Original);
    let mut rule = Expr::family(front.ipv6).to_vec();
    let mut next = Register(0);
    if !front.node_port {
        let key = if front.ipv6 { CtKey::DestinationV6 } else { CtKey::DestinationV4 };
        rule.push(Expr::Ct { key, direction: original, to: next });
        next = next.plus(front.words());
    }
    rule.push(load::protocol(next));
    rule.push(Expr::Ct { key: CtKey::DestinationPort, direction: original, to: next.plus(1) });
    rule
}
