//! A subscriber's view of a cache's changes. Upstream: client-go `sharedProcessor` and `DeltaFIFO`, with keyed
//! coalescing instead of an unbounded buffer.
//!
//! Bound: at most one pending change per object that exists or was deleted since it was last read.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use apimachinery::ObjectKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Object, uid_of};

/// What became of one object since the subscriber last read about it.
#[derive(Debug)]
pub struct Change<K> {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The object as the subscriber was last told of it; `None`: it did not exist. Of one that came and went since,
    /// the last state: a deletion may be the first that is heard of an object.
    pub old: Option<Arc<K>>,
    /// The object now; `None`: it is gone.
    pub new: Option<Arc<K>>,
}

/// The receiving end of [`crate::Cache::subscribe`]. Starts with every object of the cache as an addition.
#[derive(Debug)]
pub struct Changes<K> {
    pending: Arc<Pending<K>>,
}

#[derive(Debug)]
pub(crate) struct Pending<K> {
    coalesced: Mutex<Coalesced<K>>,
    notify: Notify,
}

type OldAndNew<K> = (Option<Arc<K>>, Option<Arc<K>>);

#[derive(Debug)]
struct Coalesced<K> {
    order: VecDeque<ObjectKey>,
    changes: HashMap<ObjectKey, OldAndNew<K>>,
    closed: bool,
}

// === impl Change ===

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), old: self.old.clone(), new: self.new.clone() }
    }
}

impl<K: Object> Change<K> {
    /// The newest state there is: the object now, or as it was before it went.
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// The object was deleted and another one of the same name created between two reads.
    pub fn is_replacement(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => uid_of(&**old) != uid_of(&**new),
            _ => false,
        }
    }
}

// === impl Changes ===

impl<K: Object> Changes<K> {
    pub(crate) fn new() -> (Self, Arc<Pending<K>>) {
        let coalesced = Coalesced { order: VecDeque::new(), changes: HashMap::new(), closed: false };
        let pending = Arc::new(Pending { coalesced: Mutex::new(coalesced), notify: Notify::new() });
        (Self { pending: pending.clone() }, pending)
    }

    /// The next change; `None` once the cache is gone.
    pub async fn next(&mut self) -> Option<Change<K>> {
        loop {
            if let Some(change) = self.try_next() {
                return Some(change);
            }
            if self.pending.coalesced.lock().closed {
                return None;
            }
            // One reader only (`&mut self`), so a permit stored by `push` before this await is enough.
            self.pending.notify.notified().await;
        }
    }

    /// A change that is already there.
    pub fn try_next(&mut self) -> Option<Change<K>> {
        let mut coalesced = self.pending.coalesced.lock();
        while let Some(key) = coalesced.order.pop_front() {
            if let Some((old, new)) = coalesced.changes.remove(&key) {
                return Some(Change { key, old, new });
            }
        }
        None
    }

    /// Waits for a change, then takes all that are there. Empty once the cache is gone.
    pub async fn next_batch(&mut self) -> Vec<Change<K>> {
        let mut batch: Vec<_> = self.next().await.into_iter().collect();
        while let Some(change) = self.try_next() {
            batch.push(change);
        }
        batch
    }
}

// === impl Pending ===

impl<K> Pending<K> {
    pub(crate) fn push(&self, key: &ObjectKey, old: Option<Arc<K>>, new: Option<Arc<K>>) {
        let mut coalesced = self.coalesced.lock();
        if let Some(entry) = coalesced.changes.get_mut(key) {
            if entry.0.is_none() && new.is_none() {
                // Came and went unread. It is told as a deletion all the same: the subscriber may have acted on what
                // it saw in the cache itself.
                entry.0 = old;
            }
            entry.1 = new;
        } else {
            coalesced.order.push_back(key.clone());
            coalesced.changes.insert(key.clone(), (old, new));
        }
        drop(coalesced);
        self.notify.notify_one();
    }

    pub(crate) fn close(&self) {
        self.coalesced.lock().closed = true;
        self.notify.notify_one();
    }
}
