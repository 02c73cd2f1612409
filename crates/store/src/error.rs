//! How the store says no. What becomes of it in the API is said once, where `StoreError` turns into a Status.

use std::sync::Arc;

use engine::{EngineError, Revision};

use crate::entry::Entry;
use crate::key::Key;

/// Why a transaction was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold. Nothing was written.
    #[error("{key} is not as expected")]
    Conflict {
        /// Which operation of the transaction.
        op: usize,
        key: Key,
        /// What is there instead.
        current: Option<Arc<Entry>>,
    },
    /// Nothing was written, and nothing can be at the moment: disk full, or the engine cannot be opened again yet.
    #[error("the store takes no writes at the moment")]
    Unavailable(#[source] Arc<EngineError>),
    /// The write or its sync failed half-way: it may be found written later, or not.
    #[error("whether the write was kept is unknown")]
    Unknown(#[source] Arc<EngineError>),
    /// The same key twice, no operation at all, or a value beyond the limit. Nothing was written.
    #[error("malformed transaction: {0}")]
    Malformed(&'static str),
    #[error("the store is shut down")]
    Closed,
}

/// Why there is no snapshot of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// History begins later. Upstream: 410 Gone, reason Expired.
    #[error("revision {asked} is compacted, history begins at {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    /// Upstream: 504 Timeout with the cause ResourceVersionTooLarge.
    #[error("revision {asked} is not there yet, the store is at {current}")]
    Future { asked: Revision, current: Revision },
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// History begins after the revision to resume from. Upstream: 410 Gone, reason Expired.
    #[error("revision {asked} is compacted, history begins at {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    /// The watcher read so slowly that what it would have seen next is forgotten. It can list and watch again.
    #[error("the watcher fell behind what is kept for it")]
    Lagged,
    #[error("the store is shut down")]
    Closed,
}
