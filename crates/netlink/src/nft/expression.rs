//! The expressions a rule is made of.
//!
//! Registers are the sixteen of four bytes; a part of a key takes one, an IPv6 address takes four. An expression
//! that finds nothing (a lookup, a comparison, a payload that is not there) ends the rule, and the next one is tried.

use std::time::Duration;

use super::{Key, Verdict};
use crate::wire::Writer;

/// A four-byte register, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

impl Register {
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }

    /// The register `words` further on.
    pub fn plus(self, words: u8) -> Self {
        Self(self.0 + words)
    }
}

/// Which header a payload is loaded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Link,
    Network,
    Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    Mark,
    InputIndex,
    OutputIndex,
    InputName,
    OutputName,
    /// 2 is IPv4, 10 is IPv6.
    NetworkProtocol,
    TransportProtocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtKey {
    /// Bits: 1 invalid, 2 established, 4 related, 8 new, 64 untracked.
    State,
    /// Bits of `enum ip_conntrack_status`: 16 source translated, 32 destination translated.
    Status,
    Mark,
    /// IPv4 source address; needs a direction.
    SourceV4,
    DestinationV4,
    SourceV6,
    DestinationV6,
    Protocol,
    SourcePort,
    DestinationPort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Original,
    Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    Source,
    Destination,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynsetOp {
    /// Adds; an element that is there is left as it is.
    Add,
    /// Adds, or begins its timeout anew.
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibResult {
    OutputIndex,
    /// 2 is an address of this machine.
    AddressType,
}

/// Flags of a routing lookup.
pub mod fib_flags {
    pub const SOURCE: u32 = 1;
    pub const DESTINATION: u32 = 2;
    pub const MARK: u32 = 4;
    pub const INPUT: u32 = 8;
    pub const OUTPUT: u32 = 16;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitUnit {
    Second,
    Minute,
    Hour,
}

/// How a rejected sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// "Port unreachable" of the packet's own family.
    PortUnreachable,
    AdministrativelyProhibited,
    TcpReset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// Loads bytes of the packet.
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        to: Register,
    },
    Meta {
        key: MetaKey,
        to: Register,
    },
    SetMeta {
        key: MetaKey,
        from: Register,
    },
    Ct {
        key: CtKey,
        direction: Option<Direction>,
        to: Register,
    },
    SetCt {
        key: CtKey,
        from: Register,
    },
    Compare {
        op: Cmp,
        register: Register,
        with: Vec<u8>,
    },
    /// `to = (from & mask) ^ xor`
    Bitwise {
        from: Register,
        to: Register,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Immediate {
        value: Vec<u8>,
        to: Register,
    },
    Verdict(Verdict),
    /// Is the key in the set?
    InSet {
        set: String,
        key: Register,
        inverted: bool,
    },
    /// The map's value for the key, into registers.
    Map {
        map: String,
        key: Register,
        to: Register,
    },
    /// The verdict map's verdict for the key.
    VerdictMap {
        map: String,
        key: Register,
    },
    Dynset {
        set: String,
        op: DynsetOp,
        key: Register,
        data: Option<Register>,
        timeout: Option<Duration>,
    },
    /// A random number below the modulus, plus the offset.
    Random {
        modulus: u32,
        offset: u32,
        to: Register,
    },
    /// 0, 1, 2, … below the modulus.
    Increment {
        modulus: u32,
        to: Register,
    },
    /// A hash of `length` bytes below the modulus.
    Hash {
        from: Register,
        length: u32,
        modulus: u32,
        seed: u32,
        to: Register,
    },
    /// `ipv6` says which family's address is in the register; the port is optional.
    Nat {
        kind: NatKind,
        ipv6: bool,
        address: Option<Register>,
        port: Option<Register>,
    },
    Masquerade {
        random_ports: bool,
    },
    Redirect {
        port: Option<Register>,
    },
    Fib {
        flags: u32,
        result: FibResult,
        to: Register,
    },
    Reject(Reject),
    Limit {
        rate: u64,
        unit: LimitUnit,
        burst: u32,
    },
    Log {
        prefix: String,
    },
    Counter,
}

// === loads ===

/// What most rules begin with.
pub mod load {
    use super::{Base, Expr, MetaKey, Register};

    pub fn source(ipv6: bool, to: Register) -> Expr {
        let (offset, length) = if ipv6 { (8, 16) } else { (12, 4) };
        Expr::Payload { base: Base::Network, offset, length, to }
    }

    pub fn destination(ipv6: bool, to: Register) -> Expr {
        let (offset, length) = if ipv6 { (24, 16) } else { (16, 4) };
        Expr::Payload { base: Base::Network, offset, length, to }
    }

    pub fn protocol(to: Register) -> Expr {
        Expr::Meta { key: MetaKey::TransportProtocol, to }
    }

    /// The destination port of TCP, UDP and SCTP.
    pub fn destination_port(to: Register) -> Expr {
        Expr::Payload { base: Base::Transport, offset: 2, length: 2, to }
    }
}

// === impl Expr ===

const NAME: u16 = 1;
const DATA: u16 = 2;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
const REG_VERDICT: u32 = 0;

impl Expr {
    pub fn equal(register: Register, with: impl Into<Vec<u8>>) -> Self {
        Self::Compare { op: Cmp::Equal, register, with: with.into() }
    }

    pub fn not_equal(register: Register, with: impl Into<Vec<u8>>) -> Self {
        Self::Compare { op: Cmp::NotEqual, register, with: with.into() }
    }

    /// Only packets of that family go on.
    pub fn family(ipv6: bool) -> [Self; 2] {
        let to = Register(0);
        [Self::Meta { key: MetaKey::NetworkProtocol, to }, Self::equal(to, [if ipv6 { 10 } else { 2 }])]
    }

    /// Compares an interface name exactly.
    pub fn interface(key: MetaKey, op: Cmp, name: &str) -> [Self; 2] {
        let to = Register(0);
        [Self::Meta { key, to }, Self::Compare { op, register: to, with: Key::new().interface(name).bytes().to_vec() }]
    }

    /// Sets the bits of `mark` in the packet's mark.
    pub fn or_mark(mark: u32) -> [Self; 3] {
        let to = Register(0);
        [
            Self::Meta { key: MetaKey::Mark, to },
            Self::Bitwise { from: to, to, mask: (!mark).to_ne_bytes().to_vec(), xor: mark.to_ne_bytes().to_vec() },
            Self::SetMeta { key: MetaKey::Mark, from: to },
        ]
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Ct { .. } | Self::SetCt { .. } => "ct",
            Self::Compare { .. } => "cmp",
            Self::Bitwise { .. } => "bitwise",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::InSet { .. } | Self::Map { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Dynset { .. } => "dynset",
            Self::Random { .. } | Self::Increment { .. } => "numgen",
            Self::Hash { .. } => "hash",
            Self::Nat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Redirect { .. } => "redir",
            Self::Fib { .. } => "fib",
            Self::Reject(_) => "reject",
            Self::Limit { .. } => "limit",
            Self::Log { .. } => "log",
            Self::Counter => "counter",
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.string(NAME, self.name());
        writer.nested(DATA, |writer| self.encode_data(writer));
    }

    fn encode_data(&self, writer: &mut Writer) {
        match self {
            Self::Payload { base, offset, length, to } => {
                writer.be32(1, to.number());
                writer.be32(2, base.number());
                writer.be32(3, *offset);
                writer.be32(4, *length);
            }
            Self::Meta { key, to } => {
                writer.be32(2, key.number());
                writer.be32(1, to.number());
            }
            Self::SetMeta { key, from } => {
                writer.be32(2, key.number());
                writer.be32(3, from.number());
            }
            Self::Ct { key, direction, to } => {
                writer.be32(2, key.number());
                writer.be32(1, to.number());
                if let Some(direction) = direction {
                    writer.u8(3, u8::from(*direction == Direction::Reply));
                }
            }
            Self::SetCt { key, from } => {
                writer.be32(2, key.number());
                writer.be32(4, from.number());
            }
            Self::Compare { op, register, with } => {
                writer.be32(1, register.number());
                writer.be32(2, op.number());
                writer.nested(3, |writer| writer.attribute(DATA_VALUE, with));
            }
            Self::Bitwise { from, to, mask, xor } => {
                writer.be32(1, from.number());
                writer.be32(2, to.number());
                writer.be32(3, length_of(mask));
                writer.nested(4, |writer| writer.attribute(DATA_VALUE, mask));
                writer.nested(5, |writer| writer.attribute(DATA_VALUE, xor));
            }
            Self::Immediate { value, to } => {
                writer.be32(1, to.number());
                writer.nested(2, |writer| writer.attribute(DATA_VALUE, value));
            }
            Self::Verdict(verdict) => {
                writer.be32(1, REG_VERDICT);
                writer.nested(2, |writer| verdict.encode(writer));
            }
            Self::InSet { set, key, inverted } => {
                writer.string(1, set);
                writer.be32(2, key.number());
                if *inverted {
                    writer.be32(5, 1);
                }
            }
            Self::Map { map, key, to } => {
                writer.string(1, map);
                writer.be32(2, key.number());
                writer.be32(3, to.number());
            }
            Self::VerdictMap { map, key } => {
                writer.string(1, map);
                writer.be32(2, key.number());
                writer.be32(3, REG_VERDICT);
            }
            Self::Dynset { set, op, key, data, timeout } => {
                writer.string(1, set);
                writer.be32(3, op.number());
                writer.be32(4, key.number());
                if let Some(data) = data {
                    writer.be32(5, data.number());
                }
                if let Some(timeout) = timeout {
                    writer.be64(6, milliseconds(*timeout));
                }
            }
            Self::Random { modulus, offset, to } => numgen(writer, *modulus, 1, *offset, *to),
            Self::Increment { modulus, to } => numgen(writer, *modulus, 0, 0, *to),
            Self::Hash { from, length, modulus, seed, to } => {
                writer.be32(1, from.number());
                writer.be32(2, to.number());
                writer.be32(3, *length);
                writer.be32(4, *modulus);
                writer.be32(5, *seed);
                writer.be32(7, 0);
            }
            Self::Nat { kind, ipv6, address, port } => {
                writer.be32(1, u32::from(*kind == NatKind::Destination));
                writer.be32(2, if *ipv6 { 10 } else { 2 });
                if let Some(address) = address {
                    writer.be32(3, address.number());
                }
                if let Some(port) = port {
                    writer.be32(5, port.number());
                }
            }
            Self::Masquerade { random_ports } => {
                if *random_ports {
                    // NF_NAT_RANGE_PROTO_RANDOM_FULLY
                    writer.be32(1, 1 << 4);
                }
            }
            Self::Redirect { port } => {
                if let Some(port) = port {
                    writer.be32(1, port.number());
                }
            }
            Self::Fib { flags, result, to } => {
                writer.be32(3, *flags);
                writer.be32(2, if *result == FibResult::OutputIndex { 1 } else { 3 });
                writer.be32(1, to.number());
            }
            Self::Reject(reject) => {
                let (kind, code) = match reject {
                    Reject::TcpReset => (1, 0),
                    Reject::PortUnreachable => (2, 1),
                    Reject::AdministrativelyProhibited => (2, 3),
                };
                writer.be32(1, kind);
                writer.u8(2, code);
            }
            Self::Limit { rate, unit, burst } => {
                writer.be64(1, *rate);
                writer.be64(2, unit.seconds());
                writer.be32(3, *burst);
                writer.be32(4, 0);
            }
            Self::Log { prefix } => writer.string(2, prefix),
            Self::Counter => {
                writer.be64(1, 0);
                writer.be64(2, 0);
            }
        }
    }
}

fn numgen(writer: &mut Writer, modulus: u32, kind: u32, offset: u32, to: Register) {
    writer.be32(1, to.number());
    writer.be32(2, modulus);
    writer.be32(3, kind);
    writer.be32(4, offset);
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Verdict {
    pub(super) fn encode(&self, writer: &mut Writer) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Accept => (1, None),
            Self::Return => (-5_i32, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        writer.nested(DATA_VERDICT, |writer| {
            writer.attribute(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                writer.string(2, chain);
            }
        });
    }
}

impl Base {
    fn number(self) -> u32 {
        match self {
            Self::Link => 0,
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}

impl MetaKey {
    fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::InputIndex => 4,
            Self::OutputIndex => 5,
            Self::InputName => 6,
            Self::OutputName => 7,
            Self::NetworkProtocol => 15,
            Self::TransportProtocol => 16,
        }
    }
}

impl CtKey {
    fn number(self) -> u32 {
        match self {
            Self::State => 0,
            Self::Status => 2,
            Self::Mark => 3,
            Self::Protocol => 10,
            Self::SourcePort => 11,
            Self::DestinationPort => 12,
            Self::SourceV4 => 19,
            Self::DestinationV4 => 20,
            Self::SourceV6 => 21,
            Self::DestinationV6 => 22,
        }
    }
}

impl Cmp {
    fn number(self) -> u32 {
        match self {
            Self::Equal => 0,
            Self::NotEqual => 1,
            Self::Less => 2,
            Self::LessOrEqual => 3,
            Self::Greater => 4,
            Self::GreaterOrEqual => 5,
        }
    }
}

impl DynsetOp {
    fn number(self) -> u32 {
        match self {
            Self::Add => 0,
            Self::Update => 1,
            Self::Delete => 2,
        }
    }
}

impl LimitUnit {
    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}
