//! What an engine takes, what it gives back, and how it may fail. No engine lives here.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

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
        /// An engine with other writers makes it a compare; one whose only writer is the store, which has looked
        /// already, may ignore it.
        expected: Expected,
    },
    Delete {
        resource: Arc<str>,
        path: Arc<str>,
        expected: Expected,
    },
}

/// What a key must be like for its mutation to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    #[default]
    Any,
    Absent,
    Present,
    At(Revision),
}

/// Mutations that are kept together under one revision. No key occurs twice.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub mutations: Vec<Mutation>,
    pub durability: Durability,
    /// What it puts goes by itself after so long. Only an engine that is shared does so; for the others somebody
    /// above deletes what is old.
    pub lifetime: Option<Duration>,
}

/// What became of one transaction of a batch that did not fail.
#[derive(Clone, Debug)]
pub enum Outcome {
    Committed(Revision),
    /// Another writer was faster; nothing of this transaction was kept. Who has seen this revision knows by whom.
    Conflict(Revision),
    /// Of this transaction alone; the engine can be used on.
    Failed {
        error: Arc<EngineError>,
        /// It may be kept after all.
        unknown: bool,
    },
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
    fn checkpoint(&mut self, _live: Live) -> Result<(), EngineError> {
        Ok(())
    }

    /// Of an engine with other writers: from now on every change after the revision it was opened at goes to
    /// `feed`, those of this process too. Called once, before the first commit.
    fn follow(&mut self, _feed: Box<dyn Feed>) {}

    /// Of an engine with other writers: how to ask how far they are.
    fn head(&self) -> Option<Arc<dyn Head>> {
        None
    }

    /// Syncs and lets go of everything.
    fn close(self: Box<Self>) -> Result<(), EngineError>;
}

/// Every live record, with what it took to encode it.
pub type Live = Box<dyn Iterator<Item = Result<Record, EngineError>> + Send>;

/// Takes what happened in an engine with other writers: in order, whole revisions only, each once.
pub trait Feed: Send {
    /// All changes up to `revision` that were not given yet. Waits while there is no room for them. `false`: nobody
    /// listens any more.
    fn changes(&mut self, changes: Vec<Changed>, revision: Revision) -> Waiting<'_>;

    /// The feed has a gap; the engine must be opened again. Nothing comes after it.
    fn lost(&mut self, error: EngineError);
}

pub type Waiting<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// One change that was kept.
#[derive(Clone, Debug)]
pub enum Changed {
    Put(Record),
    Delete { resource: Arc<str>, path: Arc<str>, revision: Revision },
}

/// Asks an engine with other writers for the last revision, as of after the question.
pub trait Head: Send + Sync {
    fn revision(&self, answer: Answer);
}

pub type Answer = Box<dyn FnOnce(Result<Revision, EngineError>) + Send>;

/// Opens an engine; kept by the store, so that it can open it again after a failure.
pub trait Factory: Send + Sync + 'static {
    /// Gives everything that is kept to `restore`, then the engine, ready for commits.
    fn open(&self, reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError>;

    /// Whether others write to the same place. Then every change is seen by the feed alone, one's own too, and
    /// preconditions are the engine's to check.
    fn is_shared(&self) -> bool {
        false
    }
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
    #[error("{resource} {path} cannot be read")]
    Sealed {
        resource: Arc<str>,
        path: Arc<str>,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another server has written it, in a version of the API that is older or newer than any that is known here.
    #[error("{resource} {path} is kept in a version that is not known here")]
    OtherVersion { resource: Arc<str>, path: Arc<str> },
    /// What keeps the store says no, and why, and has done nothing. A try later may be as vain.
    #[error("{detail}")]
    Refused { detail: String },
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

    /// Bytes that are not split: the form in which they are kept elsewhere, not that of an object of the store.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Template {
        Template { head: bytes, tail: Bytes::new() }
    }

    /// The object as it is kept outside of the store: JSON without `metadata.resourceVersion`.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let head = self.head.strip_suffix(HOLE).unwrap_or(&self.head);
        let tail = match (head.len() < self.head.len(), &*self.tail) {
            (true, [b'"', b',', rest @ ..] | [b'"', rest @ ..]) => rest,
            (_, tail) => tail,
        };
        [head, tail].concat().into()
    }

    /// Makes room for the revision again. `None` when `metadata` is not within the first fields of the object, or
    /// what is there is no such JSON at all: then somebody has to parse it.
    #[must_use]
    pub fn from_json(bytes: &Bytes) -> Option<Template> {
        let mut at = 0;
        let mut rest: &[u8] = bytes.strip_prefix(b"{")?;
        for _ in 0..3 {
            if let Some(fields) = rest.strip_prefix(b"\"metadata\":{") {
                at += bytes.len() - fields.len();
                if fields.starts_with(b"\"resourceVersion\"") {
                    return None;
                }
                let comma: &[u8] = if fields.starts_with(b"}") { b"" } else { b"," };
                let head = [&bytes[..at], HOLE].concat();
                let tail = [b"\"", comma, &bytes[at..]].concat();
                return Some(Template { head: head.into(), tail: tail.into() });
            }
            // A field of type metadata, whose value is a plain string.
            let named = rest.strip_prefix(b"\"kind\":\"").or_else(|| rest.strip_prefix(b"\"apiVersion\":\""))?;
            let end = named.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            rest = named[end..].strip_prefix(b"\",")?;
        }
        None
    }
}

/// How a value that goes to an engine is written, and read when it comes back: encryption at rest, and the forms in
/// which others may have written it.
pub trait Codec: Send + Sync + 'static {
    /// What is kept of a value, and how it was written.
    fn seal(&self, resource: &str, path: &str, value: &Template) -> Result<(Template, Mark), EngineError>;

    /// The value again.
    fn open(&self, resource: &Arc<str>, path: &Arc<str>, kept: Template) -> Result<(Template, Mark), EngineError>;

    /// How `seal` would now write. What has another mark is to be written again when there is an occasion.
    fn mark(&self, resource: &str) -> Mark;
}

/// Tells ways of writing from one another: which key, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark(pub u32);

/// Keeps values as they are.
pub struct Plain;

/// Where `metadata.resourceVersion` belongs in an object's encoding.
const HOLE: &[u8] = b"\"resourceVersion\":\"";

// === impl Plain ===

impl Codec for Plain {
    fn seal(&self, _resource: &str, _path: &str, value: &Template) -> Result<(Template, Mark), EngineError> {
        Ok((value.clone(), Mark::default()))
    }

    fn open(&self, resource: &Arc<str>, path: &Arc<str>, kept: Template) -> Result<(Template, Mark), EngineError> {
        if kept.tail.is_empty() && kept.head.starts_with(b"k8s") {
            let source = "it is encrypted, or in a form that only another program knows".into();
            return Err(EngineError::Sealed { resource: Arc::clone(resource), path: Arc::clone(path), source });
        }
        if kept.tail.is_empty()
            && let Some(value) = Template::from_json(&kept.head)
        {
            return Ok((value, Mark::default()));
        }
        Ok((kept, Mark::default()))
    }

    fn mark(&self, _resource: &str) -> Mark {
        Mark::default()
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
