//! Everything the store holds of one resource: the current tree, the recent past, and who watches.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use engine::Revision;
use parking_lot::{Mutex, RwLock};

use crate::entry::{Event, Index};
use crate::error::{SnapshotError, WatchError};
use crate::fanout::Fanout;
use crate::history::{History, HistoryLimits};
use crate::snapshot::Snapshot;
use crate::tree::Tree;
use crate::watch::{Filter, Watch};

/// A resource of the store, such as `pods` or `deployments.apps`. A clone is a reference count; equality is identity.
#[derive(Clone)]
pub struct Resource(Arc<Shelf>);

pub(crate) struct Shelf {
    pub(crate) name: Arc<str>,
    pub(crate) clock: Arc<Progress>,
    pub(crate) current: ArcSwap<State>,
    pub(crate) history: RwLock<History>,
    pub(crate) fanout: Mutex<Fanout>,
    index: OnceLock<Box<Index>>,
}

/// The tree after all changes up to and including `changed`, and no later one.
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) changed: Revision,
}

/// How far the store is, for all resources.
pub(crate) struct Progress {
    revision: AtomicU64,
    closed: AtomicBool,
    /// When some revisions became the current one, ascending. The first may be out of its time, the others are not: at
    /// most one in `AGES_EVERY` of `age`.
    ages: Mutex<VecDeque<(Revision, Instant)>>,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
    age: Duration,
}

/// So finely is the age of revisions known.
const AGES_EVERY: Duration = Duration::from_secs(10);

// === impl Resource ===

impl Resource {
    pub(crate) fn new(name: &str, clock: &Arc<Progress>, tree: Tree, changed: Revision, floor: Revision) -> Resource {
        Resource(Arc::new(Shelf {
            name: Arc::from(name),
            clock: Arc::clone(clock),
            history: RwLock::new(History::new(floor, tree.clone())),
            current: ArcSwap::from_pointee(State { tree, changed }),
            fanout: Mutex::default(),
            index: OnceLock::new(),
        }))
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Everything as of now. Costs two atomic loads and a reference count.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // The revision is read first: the tree then has every change up to it. Should the tree be newer, then it is
        // exactly that of its own last change.
        let revision = self.0.clock.revision();
        let state = self.0.current.load();
        Snapshot::new(state.tree.clone(), revision.max(state.changed))
    }

    /// Everything as of `revision`.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, SnapshotError> {
        let now = self.snapshot();
        if revision > now.revision() {
            return Err(SnapshotError::Future { asked: revision, current: now.revision() });
        }
        if revision == now.revision() {
            return Ok(now);
        }
        // Also where the resource has not changed since: pages of a list end after the same time everywhere.
        let oldest = self.0.clock.compacted();
        if revision < oldest {
            return Err(SnapshotError::Compacted { asked: revision, oldest });
        }
        let history = self.0.history.read();
        match history.tree_at(revision) {
            Some(tree) => Ok(Snapshot::new(tree, revision)),
            None => Err(SnapshotError::Compacted { asked: revision, oldest: history.floor() }),
        }
    }

    /// Of the last change of this resource that readers see: an index that has applied it is up to date.
    #[must_use]
    pub fn changed(&self) -> Revision {
        self.0.current.load().changed
    }

    /// Every change after `from` that passes the filter, in order, each once: first what already happened, then what
    /// will. With the revision of a snapshot there is neither gap nor overlap.
    pub fn watch(&self, from: Revision, filter: Filter) -> Result<Watch, WatchError> {
        Watch::start(Arc::clone(&self.0), from, filter)
    }

    /// Says which value of an object `Filter::indexed` goes by, such as a pod's node. The first one said stays.
    pub fn index_by(&self, value_of: impl Fn(&[u8]) -> Box<str> + Send + Sync + 'static) {
        self.0.index.get_or_init(|| Box::new(value_of));
    }

    /// The oldest revision that `watch` and `snapshot_at` still know.
    #[must_use]
    pub fn oldest(&self) -> Revision {
        self.0.history.read().floor()
    }

    /// How many watches are open.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.0.fanout.lock().len()
    }

    /// How many watches a change of this object wakes, but for those of an index.
    #[must_use]
    pub fn interested(&self, namespace: &str, name: &str) -> usize {
        self.0.fanout.lock().interested(namespace, name)
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.0
    }

    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Resource) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

// === impl Shelf ===

impl Shelf {
    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.get().map(|index| &**index)
    }

    pub(crate) fn wake(&self, events: &[Arc<Event>]) {
        self.fanout.lock().wake(events, self.index());
    }

    /// Shows the changes of one batch to readers. Watchers are woken later, when all of the batch is visible.
    pub(crate) fn publish(&self, tree: Tree, events: Vec<Arc<Event>>, limits: &HistoryLimits, now: Instant) {
        let Some(changed) = events.last().map(|event| event.revision()) else { return };
        let mut history = self.history.write();
        // Within the lock: who has seen the new state finds its events in the history.
        self.current.store(Arc::new(State { tree: tree.clone(), changed }));
        history.append(events, tree, now);
        history.compact(limits, now);
    }
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new(revision: Revision, age: Duration, now: Arc<dyn Fn() -> Instant + Send + Sync>) -> Progress {
        let ages = Mutex::new(VecDeque::from([(revision, now())]));
        Progress { revision: AtomicU64::new(revision.0), closed: AtomicBool::new(false), ages, now, age }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    pub(crate) fn advance(&self, revision: Revision, now: Instant) {
        let mut ages = self.ages.lock();
        if ages.back().is_none_or(|(_, at)| now.duration_since(*at) >= AGES_EVERY) {
            ages.push_back((revision, now));
            self.let_go(&mut ages, now);
        }
        drop(ages);
        self.revision.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// No snapshot of an older revision is to be had. Upstream: what the API server compacts to.
    fn compacted(&self) -> Revision {
        let now = (self.now)();
        let mut ages = self.ages.lock();
        self.let_go(&mut ages, now);
        ages.front().filter(|(_, at)| self.is_past(*at, now)).map_or(Revision::ZERO, |(revision, _)| *revision)
    }

    /// Of the revisions that are too old only the newest says something.
    fn let_go(&self, ages: &mut VecDeque<(Revision, Instant)>, now: Instant) {
        while ages.get(1).is_some_and(|(_, at)| self.is_past(*at, now)) {
            ages.pop_front();
        }
    }

    fn is_past(&self, at: Instant, now: Instant) -> bool {
        now.duration_since(at) > self.age
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_let_go_also_when_nobody_asks() {
        let start = Instant::now();
        let progress = Progress::new(Revision::ZERO, Duration::from_secs(300), Arc::new(Instant::now));
        for second in 0..10_000 {
            progress.advance(Revision(second), start + Duration::from_secs(second));
        }
        let kept = progress.ages.lock().len();
        assert!((30..=33).contains(&kept), "{kept}");
    }
}
