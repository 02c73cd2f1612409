//! A controller's own writes that its cache may not show yet. Upstream: `ControllerExpectations`; ours are kept by
//! revision instead of by count, so that a missed or repeated event cannot unbalance them.

use std::{collections::HashMap, time::Duration};

use apimachinery::ObjectKey;
use parking_lot::Mutex;
use tracing::warn;

use crate::{Cache, Object, revision_of, uid_of};

/// After this long a controller acts although its cache does not show its writes. Upstream: `ExpectationsTimeout`.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Writes to the objects of one cache, by the object they were done for.
#[derive(Debug)]
pub struct Expectations<K: Object> {
    cache: Cache<K>,
    pending: Mutex<HashMap<ObjectKey, Pending>>,
}

#[derive(Clone, Debug, Default)]
struct Pending {
    revision: u64,
    deleted: Vec<(ObjectKey, String)>,
}

impl<K: Object> Expectations<K> {
    /// None yet.
    pub fn new(cache: &Cache<K>) -> Self {
        Self { cache: cache.clone(), pending: Mutex::default() }
    }

    /// An object was created or updated for an owner.
    pub fn wrote(&self, owner: &ObjectKey, object: &K) {
        let mut pending = self.pending.lock();
        let entry = pending.entry(owner.clone()).or_default();
        entry.revision = entry.revision.max(revision_of(object));
    }

    /// An object was deleted for an owner.
    pub fn deleted(&self, owner: &ObjectKey, object: &K) {
        let deleted = (object.key(), uid_of(object).to_owned());
        self.pending.lock().entry(owner.clone()).or_default().deleted.push(deleted);
    }

    /// Resolves when the cache shows every write for an owner, and forgets them.
    pub async fn settled(&self, owner: &ObjectKey) {
        let Some(pending) = self.pending.lock().remove(owner) else { return };
        let shown = self.cache.wait_until(|cache| {
            cache.revision() >= pending.revision
                && pending.deleted.iter().all(|(key, uid)| {
                    cache
                        .get(key)
                        .is_none_or(|object| uid_of(&*object) != uid || object.meta().deletion_timestamp.is_some())
                })
        });
        if tokio::time::timeout(TIMEOUT, shown).await.is_err() {
            warn!(%owner, revision = pending.revision, "cache does not show own writes");
        }
    }
}
