//! What is asked of the sequencer, and what it answers.

use std::sync::Arc;

use engine::{Durability, Mark, Revision, Template};

use crate::entry::Entry;
use crate::key::Key;
use crate::resource::Resource;

/// What a key must be like for its operation to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything. A put creates or replaces; a delete still needs something to delete.
    Any,
    /// Not there.
    Absent,
    /// There, at exactly this mod revision.
    Revision(Revision),
}

/// Puts and deletes that happen together, under one revision, or not at all. No key may occur twice.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub(crate) ops: Vec<Op>,
    pub(crate) durability: Durability,
}

#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) resource: Resource,
    pub(crate) key: Key,
    pub(crate) expect: Expect,
    pub(crate) action: Action,
    /// How what it puts is kept, once that is known.
    pub(crate) mark: Mark,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Put(Template),
    Delete(Option<Template>),
}

/// A transaction that is kept.
#[derive(Clone, Debug)]
pub struct Committed {
    pub revision: Revision,
    /// One for each operation: the new version, or of a deletion the last one with the revision of the deletion.
    pub entries: Vec<Arc<Entry>>,
}

// === impl Txn ===

impl Txn {
    #[must_use]
    pub fn new() -> Txn {
        Txn::default()
    }

    /// May be lost by a power cut within the next second. For Leases and Events only.
    #[must_use]
    pub fn relaxed(mut self) -> Txn {
        self.durability = Durability::Relaxed;
        self
    }

    #[must_use]
    pub fn put(mut self, resource: &Resource, key: Key, expect: Expect, value: Template) -> Txn {
        self.ops.push(Op { resource: resource.clone(), key, expect, action: Action::Put(value), mark: Mark(0) });
        self
    }

    #[must_use]
    pub fn delete(mut self, resource: &Resource, key: Key, expect: Expect) -> Txn {
        self.ops.push(Op { resource: resource.clone(), key, expect, action: Action::Delete(None), mark: Mark(0) });
        self
    }

    /// Deletes, and says what watchers see as the last version: for a deletion that changes the object on its way
    /// out (finalizers taken off, a deletion timestamp) without writing that version first.
    #[must_use]
    pub fn delete_as(mut self, resource: &Resource, key: Key, expect: Expect, last: Template) -> Txn {
        self.ops.push(Op {
            resource: resource.clone(),
            key,
            expect,
            action: Action::Delete(Some(last)),
            mark: Mark(0),
        });
        self
    }
}

impl Committed {
    /// Of a transaction with one operation.
    #[must_use]
    pub fn entry(&self) -> &Arc<Entry> {
        // The sequencer refuses a transaction without operations.
        &self.entries[0]
    }
}
