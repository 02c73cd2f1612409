//! One cache: the objects of a resource and selection as of a revision, with secondary indexes.
//! Upstream: client-go `cache.Indexer` and `SharedIndexInformer`.
//!
//! Readers never wait for the network. Objects are shared (`Arc`) and must be cloned before they are changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    ops::Bound,
    sync::{Arc, Weak},
};

use apimachinery::ObjectKey;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{
    Object,
    changes::{Changes, Pending},
    revision_of,
};

/// A handle on a shared cache; clones are cheap.
#[derive(Debug)]
pub struct Cache<K: Object> {
    shared: Arc<Shared<K>>,
}

/// A secondary index of a cache.
#[derive(Debug)]
pub struct Index<K: Object> {
    cache: Cache<K>,
    position: usize,
}

struct Shared<K: Object> {
    state: RwLock<State<K>>,
    synced: watch::Sender<bool>,
    revision: watch::Sender<u64>,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<IndexState<K>>,
    subscribers: Vec<Weak<Pending<K>>>,
}

type Values<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct IndexState<K> {
    name: &'static str,
    values: Values<K>,
    keys: HashMap<String, BTreeSet<ObjectKey>>,
}

// === impl Cache ===

impl<K: Object> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Object> Cache<K> {
    /// An empty cache that nothing feeds; [`crate::Caches`] makes fed ones. Tests of consumers fill it with
    /// [`Cache::replace`] and [`Cache::apply`].
    pub fn unfed() -> Self {
        let state = State { objects: BTreeMap::new(), indexes: Vec::new(), subscribers: Vec::new() };
        let shared =
            Shared { state: RwLock::new(state), synced: watch::Sender::new(false), revision: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// The object of that name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.state.read().objects.get(key).cloned()
    }

    /// Every object, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().cloned().collect()
    }

    /// Every object of a namespace, by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::new(namespace, "");
        let state = self.shared.state.read();
        state
            .objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves when the first complete list has arrived.
    pub async fn synced(&self) {
        let mut receiver = self.shared.synced.subscribe();
        // The sender lives in `self`, so this can only end with the value.
        let _ = receiver.wait_for(|synced| *synced).await.is_ok();
    }

    /// Whether the first complete list has arrived.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// The newest revision this cache reflects.
    pub fn revision(&self) -> u64 {
        *self.shared.revision.borrow()
    }

    /// Resolves when this cache reflects a revision. A writer waits so for its own write.
    pub async fn reached(&self, revision: u64) {
        let mut receiver = self.shared.revision.subscribe();
        let _ = receiver.wait_for(|seen| *seen >= revision).await.is_ok();
    }

    /// Resolves when the predicate holds; it is asked again after every event.
    pub async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let mut receiver = self.shared.revision.subscribe();
        loop {
            receiver.mark_unchanged();
            if holds(self) {
                return;
            }
            if receiver.changed().await.is_err() {
                return;
            }
        }
    }

    /// Every change from now on, after every present object as an addition. No change is lost; those of one object
    /// are coalesced until they are read.
    pub fn subscribe(&self) -> Changes<K> {
        let (changes, pending) = Changes::new();
        let mut state = self.shared.state.write();
        for (key, object) in &state.objects {
            pending.push(key, None, Some(object.clone()));
        }
        state.subscribers.push(Arc::downgrade(&pending));
        changes
    }

    /// The index of that name, made at the first call; later calls share it and their function is not used.
    pub fn index(&self, name: &'static str, values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        let mut state = self.shared.state.write();
        let position = match state.indexes.iter().position(|index| index.name == name) {
            Some(position) => position,
            None => {
                let mut index = IndexState { name, values: Box::new(values), keys: HashMap::new() };
                for (key, object) in &state.objects {
                    index.update(key, None, Some(object));
                }
                state.indexes.push(index);
                state.indexes.len() - 1
            }
        };
        drop(state);
        Index { cache: self.clone(), position }
    }

    /// The index by the UID of each owner.
    pub fn by_owner(&self) -> Index<K> {
        self.index("owner", |object| {
            object.meta().owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
        })
    }

    /// Takes one object in, or out.
    pub fn apply(&self, key: &ObjectKey, object: Option<K>, revision: u64) {
        {
            let mut state = self.shared.state.write();
            state.put(key, object.map(Arc::new));
        }
        self.advance(revision);
    }

    /// Makes these the objects there are; only differences are told to subscribers.
    pub fn replace(&self, objects: impl IntoIterator<Item = K>, revision: u64) {
        {
            let mut state = self.shared.state.write();
            let mut gone: BTreeSet<ObjectKey> = state.objects.keys().cloned().collect();
            for object in objects {
                let key = object.key();
                gone.remove(&key);
                let known = state.objects.get(&key).is_some_and(|old| {
                    revision_of(&**old) != 0
                        && old.meta().resource_version == object.meta().resource_version
                        && old.meta().uid == object.meta().uid
                });
                if !known {
                    state.put(&key, Some(Arc::new(object)));
                }
            }
            for key in gone {
                state.put(&key, None);
            }
        }
        self.shared.synced.send_replace(true);
        self.advance(revision);
    }

    /// Notes that everything up to a revision has been seen, and wakes those who wait for changes.
    pub(crate) fn advance(&self, revision: u64) {
        self.shared.revision.send_modify(|seen| *seen = (*seen).max(revision));
    }
}

// === impl Index ===

impl<K: Object> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), position: self.position }
    }
}

impl<K: Object> Index<K> {
    /// The objects with that value, by namespace and name.
    pub fn get(&self, value: &str) -> Vec<Arc<K>> {
        let state = self.cache.shared.state.read();
        let keys = state.indexes.get(self.position).and_then(|index| index.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// How many objects have that value.
    pub fn count(&self, value: &str) -> usize {
        let state = self.cache.shared.state.read();
        state.indexes.get(self.position).and_then(|index| index.keys.get(value)).map_or(0, BTreeSet::len)
    }

    /// The keys of the objects with that value.
    pub fn keys(&self, value: &str) -> Vec<ObjectKey> {
        let state = self.cache.shared.state.read();
        let keys = state.indexes.get(self.position).and_then(|index| index.keys.get(value));
        keys.into_iter().flatten().cloned().collect()
    }
}

// === impl State ===

impl<K: Object> State<K> {
    fn put(&mut self, key: &ObjectKey, new: Option<Arc<K>>) {
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
        if old.is_none() && new.is_none() {
            return;
        }
        for index in &mut self.indexes {
            index.update(key, old.as_deref(), new.as_deref());
        }
        self.subscribers.retain(|subscriber| match subscriber.upgrade() {
            Some(pending) => {
                pending.push(key, old.clone(), new.clone());
                true
            }
            None => false,
        });
    }
}

// === impl IndexState ===

impl<K> IndexState<K> {
    fn update(&mut self, key: &ObjectKey, old: Option<&K>, new: Option<&K>) {
        let before = old.map(|object| (self.values)(object)).unwrap_or_default();
        let after = new.map(|object| (self.values)(object)).unwrap_or_default();
        if before == after {
            return;
        }
        for value in before {
            if let Entry::Occupied(mut entry) = self.keys.entry(value) {
                entry.get_mut().remove(key);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
        for value in after {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}

impl<K: Object> Drop for Shared<K> {
    fn drop(&mut self) {
        for subscriber in &self.state.get_mut().subscribers {
            if let Some(pending) = subscriber.upgrade() {
                pending.close();
            }
        }
    }
}

impl<K: Object> std::fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("revision", &*self.revision.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
