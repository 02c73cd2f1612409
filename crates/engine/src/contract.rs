//! What an engine takes, what it gives back, and how it may fail. No engine lives here.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// A point in the total order of commits. The engine chooses it: with etcd it is the mod revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// An object's encoding with a hole in it for `metadata.resourceVersion`: the revision is known only at commit, and
/// an object is to be encoded once. The value is `head`, the decimal revision, `tail`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pub head: Bytes,
    pub tail: Bytes,
}

/// How long a transaction may be at risk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// May be lost by a power cut within the next second. For Leases and Events only. A crash of the process loses nothing.
    Relaxed,
    /// Survives a power cut from the moment it is acknowledged.
    #[default]
    Synced,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub enum Mutation {
    Put {
        resource: Arc<str>,
        path: Arc<str>,
        value: Template,
        /// Of the object being replaced; `None` when this transaction creates it.
        created: Option<Revision>,
        /// The mod revision the store saw, `None` for an absent key. An engine with other writers makes it a
        /// compare; one whose only writer is the store may ignore it.
        observed: Option<Revision>,
    },
    Delete {
        resource: Arc<str>,
        path: Arc<str>,
        observed: Option<Revision>,
    },
}

/// Mutations that are kept together under one revision. No key occurs twice.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub mutations: Vec<Mutation>,
    pub durability: Durability,
}

/// What became of one transaction of a batch that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed(Revision),
    /// Another writer was faster; nothing of this transaction was kept.
    Conflict,
}

/// One object as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub resource: Arc<str>,
    pub path: Arc<str>,
    pub value: Template,
    pub created: Revision,
    pub modified: Revision,
}

/// Keeps transactions. Called by one thread at a time; every call may block.
pub trait Engine: Send {
    /// Keeps a batch. Revisions are given in the order of the batch. If one transaction of it is synced, all are.
    fn commit(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, CommitError>;

    /// Makes durable what was committed as relaxed.
    fn sync(&mut self) -> Result<(), EngineError>;

    /// Whether a checkpoint would now pay for itself (space, and time to recover).
    fn wants_checkpoint(&self) -> bool {
        false
    }

    /// Takes every live record, as of the last commit, in any order, so that what led there can be forgotten.
    /// May go on in the background; a failure is the engine's to report at a later call, and loses nothing.
    fn checkpoint(&mut self, _live: Box<dyn Iterator<Item = Record> + Send>) -> Result<(), EngineError> {
        Ok(())
    }

    /// Syncs and lets go of everything.
    fn close(self: Box<Self>) -> Result<(), EngineError>;
}

/// Opens an engine; kept by the store, so that it can open it again after a failure.
pub trait Factory: Send + Sync + 'static {
    /// Gives everything that is kept to `restore`, then the engine, ready for commits.
    fn open(&self, reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenReason {
    Start,
    /// A write or sync failed in this process. What the kernel's page cache says about the file is not to be
    /// believed until it was written anew and synced.
    Failure,
}

pub struct Opened {
    pub engine: Box<dyn Engine>,
    /// Every later commit has a greater one.
    pub revision: Revision,
}

/// Receives what is kept. The order of calls: `live` for each record of the state at some revision, `base` with that
/// revision, then `put` and `delete` for the changes since, in order. An engine that keeps no history calls only
/// `live` and `base`.
pub trait Restore {
    fn live(&mut self, record: Record);
    fn base(&mut self, revision: Revision);
    fn put(&mut self, record: Record);
    fn delete(&mut self, resource: &str, path: &str, revision: Revision);
    /// Revisions after what was given so far, and up to this one, may have been given out and lost with relaxed
    /// transactions. They are not given out again, and nobody can resume from before here.
    fn gap(&mut self, upto: Revision);
}

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch was kept, and the engine can be used on.
    #[error("nothing was written")]
    Refused(#[source] EngineError),
    /// The batch may be kept or not. The engine must be dropped and opened again.
    #[error("whether it was written is unknown")]
    Broken(#[source] EngineError),
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no space left to extend {path}")]
    Full { path: PathBuf },
    #[error("{path} is damaged at byte {offset}: {detail}")]
    Damaged { path: PathBuf, offset: u64, detail: String },
    #[error("{path} is used by another process")]
    Locked { path: PathBuf },
    #[error("{path} was written by a newer version (format {found}, this one knows {known})")]
    Format { path: PathBuf, found: u32, known: u32 },
    #[error("{detail}")]
    Other { detail: String },
}

// === impl Revision ===

impl Revision {
    pub const ZERO: Revision = Revision(0);

    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Template ===

impl Template {
    /// Splits an encoding where the revision belongs. `at` past the end means at the end.
    #[must_use]
    pub fn split(mut bytes: Bytes, at: usize) -> Template {
        let tail = bytes.split_off(at.min(bytes.len()));
        Template { head: bytes, tail }
    }

    /// Of the two parts, without the revision.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl Mutation ===

impl Mutation {
    #[must_use]
    pub fn resource(&self) -> &Arc<str> {
        match self {
            Mutation::Put { resource, .. } | Mutation::Delete { resource, .. } => resource,
        }
    }

    #[must_use]
    pub fn path(&self) -> &Arc<str> {
        match self {
            Mutation::Put { path, .. } | Mutation::Delete { path, .. } => path,
        }
    }
}
