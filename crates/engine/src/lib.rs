//! Where the cluster's bytes are kept: the seam between the in-memory multi-version store and a disk (or etcd).
//!
//! The store answers every read from memory, so an engine is only asked to **order** transactions, to **keep** them,
//! and to give everything back when it is opened. It knows no object, no watch and no precondition of the API.
//!
//! Invariants every engine holds:
//! - a transaction is kept whole or not at all, under the one revision that the engine chose for it;
//! - revisions only grow, also over restarts, also after a crash that lost relaxed transactions;
//! - `commit` returns `Ok` only when every synced transaction of the batch survives a power cut;
//! - after a failure that leaves the outcome open the engine is thrown away and opened again, never used on;
//! - damage to what was acknowledged is reported when it is opened, never skipped.
//!
//! Upstream counterpart: `staging/src/k8s.io/apiserver/pkg/storage/etcd3` with the etcd server behind it.

mod contract;
pub mod disk;
pub mod etcd;
mod layout;
pub mod log;
pub mod memory;
pub mod transfer;

pub use contract::{
    Answer, Changed, Codec, CommitError, Durability, Engine, EngineError, Expected, Factory, Feed, Head, Live, Mark,
    Mutation, OpenReason, Opened, Outcome, Plain, Record, Restore, Revision, Template, Transaction, Waiting,
};
pub use layout::Layout;
