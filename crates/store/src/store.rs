//! The store itself: opening it, its resources, and the door to the sequencer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use engine::{Codec, EngineError, Factory, Head, OpenReason, Plain, Revision};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::entry::Entry;
use crate::error::StoreError;
use crate::history::HistoryLimits;
use crate::recovery;
use crate::resource::{Progress, Resource};
use crate::sequencer::{Command, Request, Sequencer};
use crate::snapshot::Snapshot;
use crate::txn::{Action, Committed, Expect, Txn};

/// Versions of all objects, in memory, kept by an engine. A clone is a reference count.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    door: Arc<Door>,
}

#[derive(Clone)]
pub struct StoreOptions {
    pub history: HistoryLimits,
    /// How many transactions may wait for the sequencer; more wait outside of it.
    pub queue: usize,
    /// Of one object. The API's own limit is lower; this one keeps a mistake there from filling the disk.
    pub value_bytes: usize,
    /// A broken engine is opened again at most this often, and only when somebody wants to write.
    pub reopen: Duration,
    /// Says how old history is.
    pub now: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// How values are kept.
    pub codec: Arc<dyn Codec>,
    /// Objects of these resources go by themselves so long after they were written, where the engine can do that.
    pub lifetimes: Vec<(Box<str>, Duration)>,
}

/// What the sequencer and every handle use.
pub(crate) struct Shared {
    pub(crate) options: StoreOptions,
    pub(crate) factory: Box<dyn Factory>,
    pub(crate) progress: Arc<Progress>,
    /// The same revision for those who wait for it.
    pub(crate) announced: watch::Sender<Revision>,
    /// Of an engine that is shared and open.
    pub(crate) head: Mutex<Option<Arc<dyn Head>>>,
    by_name: RwLock<HashMap<Arc<str>, Resource>>,
    /// The same resources, for walking over without a lock.
    list: ArcSwap<Vec<Resource>>,
    /// Where the history of a resource begins that is not there yet.
    floor: Revision,
}

/// Dropping the last handle closes it, and with it the sequencer.
struct Door {
    commands: Mutex<Sender<Command>>,
    places: Arc<Semaphore>,
}

// === impl Store ===

impl Store {
    /// Reads everything that the engine keeps. Blocks.
    pub fn open(factory: impl Factory, options: StoreOptions) -> Result<Store, EngineError> {
        let (engine, found) =
            recovery::open_with_history(&factory, &options.codec, OpenReason::Start, options.history.events)?;
        let progress = Arc::new(Progress::new(found.revision, options.history.age, Arc::clone(&options.now)));
        let shared = Arc::new(Shared {
            progress: Arc::clone(&progress),
            announced: watch::Sender::new(found.revision),
            head: Mutex::default(),
            factory: Box::new(factory),
            by_name: RwLock::default(),
            list: ArcSwap::default(),
            floor: found.floor,
            options,
        });
        let now = (shared.options.now)();
        for (name, restored) in found.resources {
            shared.restore(&name, restored, now);
        }
        let (sender, commands) = mpsc::channel();
        let sequencer = Sequencer::new(Arc::clone(&shared), (sender.clone(), commands), engine);
        thread::Builder::new()
            .name("store".into())
            .spawn(move || sequencer.run())
            .map_err(|error| EngineError::Other { detail: format!("start the store's thread: {error}") })?;
        let places = Arc::new(Semaphore::new(shared.options.queue));
        Ok(Store { shared, door: Arc::new(Door { commands: Mutex::new(sender), places }) })
    }

    /// A handle to one resource's objects; made on first use. Keep it: looking it up takes a lock.
    #[must_use]
    pub fn resource(&self, name: &str) -> Resource {
        self.shared.resource(name)
    }

    /// Every resource that has or had an object, or was asked for.
    #[must_use]
    pub fn resources(&self) -> Arc<Vec<Resource>> {
        self.shared.resources()
    }

    /// Of the last commit that readers see.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.progress.revision()
    }

    #[must_use]
    pub fn snapshot(&self, resource: &Resource) -> Snapshot {
        resource.snapshot()
    }

    /// Returns when every watcher and reader can see the change, and a power cut cannot take it back (of a relaxed
    /// transaction: within a second). Once begun it is not undone by dropping the future.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        self.check(&txn)?;
        let permit = Arc::clone(&self.door.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { ops: txn.ops, durability: txn.durability, reply, _permit: permit };
        self.send(Command::Commit(request))?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Whether others write to what this store shows.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.factory.is_shared()
    }

    /// Returns once the store shows everything that was acknowledged before the call, to whomever: what a read needs
    /// that may not be older, and a write that is decided by what is there. Costs nothing when nobody else writes.
    /// Unbounded: the caller has the deadline. Upstream: consistent reads from cache (KEP 2340).
    pub async fn refresh(&self) -> Result<Revision, StoreError> {
        if !self.is_shared() {
            return Ok(self.revision());
        }
        let head = self.shared.head.lock().clone();
        let closed = || EngineError::Other { detail: "the engine is not open at the moment".to_owned() };
        let Some(head) = head else { return Err(StoreError::Unavailable(Arc::new(closed()))) };
        let (reply, answer) = oneshot::channel();
        // Who asked may be gone by then.
        head.revision(Box::new(move |revision| drop(reply.send(revision))));
        let revision = match answer.await {
            Ok(Ok(revision)) => revision,
            Ok(Err(error)) => return Err(StoreError::Unavailable(Arc::new(error))),
            Err(_) => return Err(StoreError::Unavailable(Arc::new(closed()))),
        };
        self.seen(revision).await?;
        Ok(revision)
    }

    /// Whether an object is kept otherwise than it would be written now: with an older key, or with none.
    #[must_use]
    pub fn is_stale(&self, resource: &Resource, entry: &Entry) -> bool {
        self.shared.options.codec.mark(resource.name()) != entry.mark()
    }

    /// Writes again what is kept otherwise than it would be written now, then lets go of the old form. Gives back how
    /// many objects there were. Others may write meanwhile: what they wrote is in order already.
    pub async fn rewrite_stale(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        for resource in self.resources().iter() {
            for entry in resource.snapshot().iter().filter(|entry| self.is_stale(resource, entry)) {
                let expect = Expect::Revision(entry.mod_revision());
                let txn = Txn::new().put(resource, entry.key().clone(), expect, entry.template());
                match self.commit(txn).await {
                    Ok(_) => count += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if count > 0 {
            self.checkpoint()?;
        }
        Ok(count)
    }

    /// Has the engine write the state anew, and forget what led there. Goes on in the background.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.send(Command::Checkpoint)
    }

    /// Returns once the store has seen a revision. Unbounded: the caller has the deadline.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), StoreError> {
        if self.is_shared() && self.revision() < revision {
            // Should it be there already, then the engine tells.
            self.refresh().await?;
        }
        self.seen(revision).await
    }

    async fn seen(&self, revision: Revision) -> Result<(), StoreError> {
        let mut announced = self.shared.announced.subscribe();
        let seen = announced.wait_for(|seen| *seen >= revision || self.shared.progress.is_closed());
        seen.await.map_err(|_| StoreError::Closed)?;
        if self.revision() >= revision { Ok(()) } else { Err(StoreError::Closed) }
    }

    /// Whether nothing can be written any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.progress.is_closed()
    }

    /// Returns once nothing can be written any more: after `shutdown`, or because the sequencer died.
    pub async fn closed(&self) {
        let mut announced = self.shared.announced.subscribe();
        // The sender is in the store itself, so the only error is not one.
        announced.wait_for(|_| self.shared.progress.is_closed()).await.ok();
    }

    /// Finishes what was begun, syncs and lets go of the engine. Watches end, later commits are refused, reads go on.
    pub async fn shutdown(&self) -> Result<(), Arc<EngineError>> {
        self.door.places.close();
        let (reply, closed) = oneshot::channel();
        if self.send(Command::Close(reply)).is_err() {
            return Ok(());
        }
        closed.await.unwrap_or(Ok(()))
    }

    fn send(&self, command: Command) -> Result<(), StoreError> {
        self.door.commands.lock().send(command).map_err(|_| StoreError::Closed)
    }

    fn check(&self, txn: &Txn) -> Result<(), StoreError> {
        let limit = self.shared.options.value_bytes.min(u32::MAX as usize / 2);
        for (number, op) in txn.ops.iter().enumerate() {
            if txn.ops[..number].iter().any(|other| other.resource == op.resource && other.key == op.key) {
                return Err(StoreError::Malformed("a key occurs twice"));
            }
            if let Action::Put(value) | Action::Delete(Some(value)) = &op.action
                && value.len() > limit
            {
                return Err(StoreError::Malformed("a value is too large"));
            }
        }
        if txn.ops.is_empty() { Err(StoreError::Malformed("no operation")) } else { Ok(()) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The sequencer may have ended before.
        self.commands.lock().send(Command::Abandoned).ok();
    }
}

// === impl StoreOptions ===

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            history: HistoryLimits::default(),
            queue: 4096,
            value_bytes: 8 << 20,
            reopen: Duration::from_secs(1),
            now: Arc::new(Instant::now),
            codec: Arc::new(Plain),
            lifetimes: Vec::new(),
        }
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn resource(&self, name: &str) -> Resource {
        if let Some(resource) = self.by_name.read().get(name) {
            return resource.clone();
        }
        self.add(name, || Resource::new(name, &self.progress, Default::default(), Revision::ZERO, self.floor))
    }

    pub(crate) fn resources(&self) -> Arc<Vec<Resource>> {
        self.list.load_full()
    }

    /// Ends every watch and every wait.
    pub(crate) fn close(&self) {
        self.progress.close();
        self.announced.send_modify(|_| ());
        for resource in self.resources().iter() {
            resource.shelf().fanout.lock().wake_everybody();
        }
    }

    fn add(&self, name: &str, make: impl FnOnce() -> Resource) -> Resource {
        let mut by_name = self.by_name.write();
        if let Some(resource) = by_name.get(name) {
            return resource.clone();
        }
        let resource = make();
        by_name.insert(Arc::from(name), resource.clone());
        let mut list = Vec::clone(&self.list.load());
        list.push(resource.clone());
        self.list.store(Arc::new(list));
        resource
    }

    fn restore(&self, name: &str, found: recovery::FoundResource, now: Instant) {
        self.add(name, || {
            // The tree before the events, so that the history can be taken back from the one after them.
            let resource = Resource::new(name, &self.progress, found.tree.clone(), Revision::ZERO, self.floor);
            resource.shelf().publish(found.tree, found.events, &self.options.history, now);
            resource.shelf().history.write().raise_floor(found.floor);
            resource
        });
    }
}
