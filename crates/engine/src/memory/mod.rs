//! An engine that keeps nothing on a disk: for tests of what lies above, and for deterministic simulation.
//! It outlives the store that uses it, so "restart" is opening it again, and it fails on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    CommitError, Durability, Engine, EngineError, Factory, Mutation, OpenReason, Opened, Outcome, Record, Restore,
    Revision, Transaction,
};

/// What is kept; clones share it.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

/// What the next commits are to suffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// As a full disk: nothing is kept, the engine stays usable.
    Refuse,
    /// As a failed sync after the bytes reached the disk: it is kept, but must not be acknowledged.
    BreakKept,
    /// As a failed sync with the bytes lost.
    BreakLost,
}

#[derive(Default)]
struct State {
    revision: Revision,
    records: BTreeMap<(Arc<str>, Arc<str>), Record>,
    fault: Fault,
    refuse_open: bool,
    commits: u64,
    syncs: u64,
}

struct Handle {
    state: Arc<Mutex<State>>,
}

// === impl Memory ===

impl Memory {
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Of every commit until it is set back.
    pub fn set_fault(&self, fault: Fault) {
        lock(&self.state).fault = fault;
    }

    pub fn refuse_open(&self, refuse: bool) {
        lock(&self.state).refuse_open = refuse;
    }

    /// Batches committed so far.
    #[must_use]
    pub fn commits(&self) -> u64 {
        lock(&self.state).commits
    }

    /// Batches and calls that were synced so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        lock(&self.state).syncs
    }
}

impl Factory for Memory {
    fn open(&self, _reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError> {
        let state = lock(&self.state);
        if state.refuse_open {
            return Err(EngineError::Other { detail: "opening is refused".into() });
        }
        for record in state.records.values() {
            restore.live(record.clone());
        }
        restore.base(state.revision);
        Ok(Opened { engine: Box::new(Handle { state: Arc::clone(&self.state) }), revision: state.revision })
    }
}

// === impl Handle ===

impl Engine for Handle {
    fn commit(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, CommitError> {
        let mut state = lock(&self.state);
        let injected = || EngineError::Other { detail: "injected fault".into() };
        match state.fault {
            Fault::Refuse => return Err(CommitError::Refused(injected())),
            Fault::BreakLost => return Err(CommitError::Broken(injected())),
            Fault::None | Fault::BreakKept => {}
        }
        let outcomes = batch.iter().map(|transaction| Outcome::Committed(state.apply(transaction))).collect();
        state.commits += 1;
        if batch.iter().any(|transaction| transaction.durability == Durability::Synced) {
            state.syncs += 1;
        }
        if state.fault == Fault::BreakKept {
            return Err(CommitError::Broken(injected()));
        }
        Ok(outcomes)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        lock(&self.state).syncs += 1;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), EngineError> {
        Ok(())
    }
}

// === impl State ===

impl State {
    fn apply(&mut self, transaction: &Transaction) -> Revision {
        self.revision = self.revision.next();
        let revision = self.revision;
        for mutation in &transaction.mutations {
            let key = (Arc::clone(mutation.resource()), Arc::clone(mutation.path()));
            match mutation {
                Mutation::Put { resource, path, value, created, .. } => {
                    let record = Record {
                        resource: Arc::clone(resource),
                        path: Arc::clone(path),
                        value: value.clone(),
                        created: created.unwrap_or(revision),
                        modified: revision,
                    };
                    self.records.insert(key, record);
                }
                Mutation::Delete { .. } => {
                    self.records.remove(&key);
                }
            }
        }
        revision
    }
}

/// A panic elsewhere does not make what is kept here less true.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
