//! The multi-version store: every object of the cluster, in memory, with its recent past, kept by an [`engine`].
//!
//! - Reads are snapshots: one pointer, no lock, exact at one revision ([`Resource::snapshot`], [`Resource::snapshot_at`]).
//! - Writes are compare-and-swap transactions through one sequencer with group commit ([`Store::commit`]).
//! - Watches replay history, then go on live, without gap or overlap ([`Resource::watch`]).
//!
//! Invariants:
//! - what a reader sees is kept: nothing is visible before the engine said that it is durable (of a relaxed
//!   transaction: written);
//! - a revision orders all changes of all resources, and `metadata.resourceVersion` in an object's bytes is it;
//! - an object's bytes are written once, by the caller, with a hole for the revision; nothing here parses them;
//! - nothing wakes up by itself: without requests there is no timer, no write, no thread running.
//!
//! It must not know kinds, selectors or HTTP. Upstream counterpart: `staging/src/k8s.io/apiserver/pkg/storage`
//! (`etcd3` and `cacher`).
//!
//! ```ignore
//! let store = Store::open(factory, StoreOptions::default())?;
//! let pods = store.resource("pods");
//! let key = Key::new("default", "web")?;
//! let value = Template::split(json_without_revision, where_the_revision_belongs);
//! let committed = store.commit(Txn::new().put(&pods, key, Expect::Absent, value)).await?;
//! let list = pods.snapshot();
//! let mut watch = pods.watch(list.revision(), Filter::in_namespace("default"))?;
//! let event = watch.next().await?;
//! ```

mod entry;
mod error;
mod fanout;
mod history;
mod key;
mod memo;
mod recovery;
mod resource;
mod sequencer;
mod snapshot;
mod store;
mod tree;
mod txn;
mod watch;

pub use engine::{Durability, EngineError, Factory, Revision, Template};

pub use entry::{Entry, Event, EventKind};
pub use error::{SnapshotError, StoreError, WatchError};
pub use history::HistoryLimits;
pub use key::{InvalidKey, Key};
pub use memo::Slot;
pub use resource::Resource;
pub use snapshot::{Range, Snapshot};
pub use store::{Store, StoreOptions};
pub use txn::{Committed, Expect, Txn};
pub use watch::{Filter, Watch};
