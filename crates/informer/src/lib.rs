//! Shared caches of API objects, keyed work queues and the frame a controller runs in. Upstream: client-go
//! `tools/cache`, `util/workqueue`, `tools/record`, `tools/leaderelection`.
//!
//! Invariants:
//! - One cache per resource and selection in a process, fed by one watch; nobody relists to look something up.
//! - A change is never lost: a slow subscriber sees the changes of one object coalesced, never skipped.
//! - Nothing here polls. What waits, waits for a watch event, a queue or a timer somebody asked for.
//! - No kind is known by name here.

mod backoff;
mod cache;
mod caches;
mod changes;
mod controller;
mod events;
mod expectations;
mod leader;
mod object;
mod queue;
mod reflector;

pub use backoff::Backoff;
pub use cache::{Cache, Index};
pub use caches::{Caches, Selection};
pub use changes::{Change, Changes};
pub use controller::{Controller, Next, Reconcile, ReconcileError};
pub use events::{EventKind, Recorder, reference};
pub use expectations::Expectations;
pub use leader::{Elector, ElectorConfig, Leadership};
pub use object::{Object, PartialObject, revision_of, uid_of};
pub use queue::Queue;

pub use apimachinery::ObjectKey;
