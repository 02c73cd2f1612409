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
//! What it costs (`cargo run --release -p store --example bench DIRECTORY`, two cores that do other work as well, 1 KB
//! objects, CPU of the whole process, sync of an ext4 disk included):
//!
//! | | CPU |
//! |---|---|
//! | commit, one at a time | 58 us |
//! | commit, 16 at a time | 33 us |
//! | commit, 256 at a time | 14 us |
//! | an event to each of 100 watchers, the commit included | 1.7 us |
//! | an event to each of 5,000 watchers, the commit included | 0.55 us |
//! | an event to each of 5,000 watchers of other names | 0.04 us |
//! | list of 10,000 objects (15 MB), walked | 0.19 ms |
//! | the same copied through a buffer | 1.0 ms |
//! | snapshot and get | 0.6 us |
//! | snapshot 1,000 revisions back | 65 us |
//!
//! 100,000 objects of 1,024 bytes take 1,455 bytes each with their history; an idle watch takes 170.
//!
//! What proves it, with counts that were run through once (`tests/it`, and `log/tests.rs` of the engine; environment
//! variables there give the counts): crash images of a disk that loses and tears what was not synced, also while it is
//! being opened; every one of some 1,850 calls of 1,000 transactions failing, by power and by process; every bit of a
//! log and its checkpoint flipped (137,472); 300 histories with the same answers in memory, over the log and over etcd;
//! 48,000 operations of concurrent clients, syncs failing and etcd or a server killed, in one order; processes killed.
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
mod feed;
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

pub use engine::{Codec, Durability, EngineError, Factory, Mark, Plain, Revision, Template};

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
