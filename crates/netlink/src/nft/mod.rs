//! nf_tables: tables, chains, rules, sets and maps, encoded for the kernel in atomic batches.
//!
//! What is written here is what `nft list ruleset` shows; the types of sets are given so that it shows them well.
//! Upstream counterpart: `sigs.k8s.io/knftables`, which writes text for the `nft` program instead.
//! Numbers are those of `uapi/linux/netfilter/nf_tables.h`.

mod batch;
mod expression;
mod key;
mod layout;
mod listing;

use std::time::Duration;

pub use batch::Batch;
pub use expression::{
    Base, Cmp, CtKey, Direction, DynsetOp, Expr, FibResult, LimitUnit, MetaKey, NatKind, Register, Reject, fib_flags,
    load,
};
pub use key::{Key, Type};
pub use layout::{Chain, Layout, remove};
pub use listing::{Listed, ListedSet, elements, list};

pub(crate) const SUBSYSTEM: u16 = 10 << 8;

/// Address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Inet,
    Ipv4,
    Ipv6,
    Bridge,
    Netdev,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
            Self::Netdev => 5,
            Self::Bridge => 7,
            Self::Ipv6 => 10,
        }
    }
}

/// A table's identity. Longest name: 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    pub family: Family,
    pub name: String,
}

impl Table {
    pub fn inet(name: impl Into<String>) -> Self {
        Self { family: Family::Inet, name: name.into() }
    }
}

/// Where a base chain is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    Filter,
    Nat,
    Route,
}

impl ChainType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// Well-known priorities.
pub mod priority {
    pub const RAW: i32 = -300;
    pub const MANGLE: i32 = -150;
    pub const DSTNAT: i32 = -100;
    pub const FILTER: i32 = 0;
    pub const SRCNAT: i32 = 100;
}

/// What makes a chain a base chain. Its policy is always accept: a table that only serves must not block the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseChain {
    pub kind: ChainType,
    pub hook: Hook,
    pub priority: i32,
}

/// What a rule or a verdict map decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// A set's or map's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    /// One type, or several for a concatenated key.
    pub key: Vec<Type>,
    pub value: SetValue,
    /// Elements may be ranges.
    pub interval: bool,
    /// Elements may expire; with a default or without one.
    pub timeout: Option<Option<Duration>>,
    /// Rules may add elements (`Expr::Dynset`).
    pub dynamic: bool,
    /// Most elements; a dynamic set has to have a bound.
    pub size: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetValue {
    /// A set: membership only.
    None,
    /// A verdict map.
    Verdict,
    /// A map to data, concatenated or not.
    Data(Vec<Type>),
}

impl Set {
    pub fn of(name: impl Into<String>, key: &[Type]) -> Self {
        Self {
            name: name.into(),
            key: key.to_vec(),
            value: SetValue::None,
            interval: false,
            timeout: None,
            dynamic: false,
            size: None,
        }
    }

    pub fn map(name: impl Into<String>, key: &[Type], value: &[Type]) -> Self {
        Self { value: SetValue::Data(value.to_vec()), ..Self::of(name, key) }
    }

    pub fn verdict_map(name: impl Into<String>, key: &[Type]) -> Self {
        Self { value: SetValue::Verdict, ..Self::of(name, key) }
    }

    pub fn with_intervals(mut self) -> Self {
        self.interval = true;
        self
    }

    /// Filled by rules, forgotten after a while, at most `size` elements.
    pub fn with_dynamic_elements(mut self, size: u32) -> Self {
        self.dynamic = true;
        self.timeout = Some(None);
        self.size = Some(size);
        self
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub key: Key,
    /// The last key of a range, inclusive. In a set of one type the kernel wants the first key past it instead:
    /// `Batch` sees to that.
    pub end: Option<Key>,
    pub value: Value,
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    None,
    Data(Key),
    Verdict(Verdict),
}

impl Element {
    pub fn key(key: Key) -> Self {
        Self { key, end: None, value: Value::None, timeout: None }
    }

    pub fn range(first: Key, last: Key) -> Self {
        Self { end: Some(last), ..Self::key(first) }
    }

    pub fn data(key: Key, value: Key) -> Self {
        Self { value: Value::Data(value), ..Self::key(key) }
    }

    pub fn verdict(key: Key, verdict: Verdict) -> Self {
        Self { value: Value::Verdict(verdict), ..Self::key(key) }
    }
}

#[cfg(test)]
mod tests;
