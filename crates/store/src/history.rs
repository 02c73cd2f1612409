//! The recent changes of one resource: what watches replay, and what takes a snapshot back to an older revision.
//!
//! One ring is shared by all watchers of the resource. Each has only a position in it, so an event costs a watcher
//! one reference count, and a watcher that does not read costs nothing but its place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Revision;

use crate::entry::{Event, EventKind};
use crate::tree::Tree;

/// A whole tree is remembered every so many events; a snapshot of the past undoes at most as many.
const MARK_EVERY: u64 = 64;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Older events are forgotten with the next write. Upstream compacts every five minutes.
    pub age: Duration,
    /// Of one resource. Also how far a watcher may fall behind.
    pub events: usize,
    /// Of one resource: versions that only the history still holds.
    pub bytes: usize,
}

pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    /// The position of the first of `events`; positions are never used again.
    first: u64,
    /// Everything that happened after it is in `events`.
    floor: Revision,
    bytes: usize,
    /// Up to which revision events were there at a time.
    ages: VecDeque<(Revision, Instant)>,
    /// The tree as it was at some revisions, ascending.
    marks: VecDeque<(Revision, Tree)>,
    last_mark: u64,
    /// The tree after the last of `events`.
    latest: Tree,
}

/// What `History::read` found.
pub(crate) enum Read {
    /// The position to go on from, and whether it is the end.
    Next {
        position: u64,
        end: bool,
    },
    Forgotten,
}

// === impl HistoryLimits ===

impl Default for HistoryLimits {
    fn default() -> HistoryLimits {
        HistoryLimits { age: Duration::from_secs(300), events: 16_384, bytes: 64 << 20 }
    }
}

// === impl History ===

impl History {
    pub(crate) fn new(floor: Revision, latest: Tree) -> History {
        History {
            events: VecDeque::new(),
            first: 0,
            floor,
            bytes: 0,
            ages: VecDeque::new(),
            marks: VecDeque::new(),
            last_mark: 0,
            latest,
        }
    }

    /// The oldest revision that a watch can resume from and a snapshot can be had of.
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Of the last change that is remembered, or before which none is.
    pub(crate) fn last_revision(&self) -> Revision {
        self.events.back().map_or(self.floor, |event| event.revision())
    }

    /// Takes the events of one batch, and the tree after them.
    pub(crate) fn append(&mut self, events: Vec<Arc<Event>>, latest: Tree, now: Instant) {
        let Some(revision) = events.last().map(|event| event.revision()) else { return };
        self.bytes += events.iter().map(|event| event.weight()).sum::<usize>();
        self.events.extend(events);
        match self.ages.back_mut() {
            // A second is fine enough, and keeps this list short under load.
            Some((last, at)) if now.duration_since(*at) < Duration::from_secs(1) => *last = revision,
            _ => self.ages.push_back((revision, now)),
        }
        if self.end() - self.last_mark >= MARK_EVERY {
            self.last_mark = self.end();
            self.marks.push_back((revision, latest.clone()));
        }
        self.latest = latest;
    }

    /// Whether `compact` would forget something.
    pub(crate) fn is_over(&self, limits: &HistoryLimits, now: Instant) -> bool {
        let aged = self.ages.front().is_some_and(|(_, at)| now.duration_since(*at) > limits.age);
        aged || self.events.len() > limits.events || (self.bytes > limits.bytes && !self.events.is_empty())
    }

    pub(crate) fn compact(&mut self, limits: &HistoryLimits, now: Instant) {
        let mut floor = self.floor;
        while let Some((revision, at)) = self.ages.front()
            && now.duration_since(*at) > limits.age
        {
            floor = *revision;
            self.ages.pop_front();
        }
        self.forget(|events, bytes, event| event.revision() <= floor || events > limits.events || bytes > limits.bytes);
    }

    /// Nothing before `floor` can be resumed from.
    pub(crate) fn raise_floor(&mut self, floor: Revision) {
        self.forget(|_, _, event| event.revision() <= floor);
        self.floor = self.floor.max(floor);
    }

    fn forget(&mut self, too_much: impl Fn(usize, usize, &Event) -> bool) {
        let before = self.floor;
        while let Some(event) = self.events.front() {
            // What happened together is forgotten together.
            if event.revision() > self.floor && !too_much(self.events.len(), self.bytes, event) {
                break;
            }
            self.floor = event.revision();
            self.bytes -= event.weight();
            self.first += 1;
            self.events.pop_front();
        }
        if self.floor == before {
            return;
        }
        while self.marks.front().is_some_and(|(revision, _)| *revision <= self.floor) {
            self.marks.pop_front();
        }
        while self.ages.front().is_some_and(|(revision, _)| *revision <= self.floor) {
            self.ages.pop_front();
        }
        if self.events.capacity() > 4 * self.events.len().max(64) {
            self.events.shrink_to(2 * self.events.len());
        }
    }

    /// The position of the first event after `revision`. `None` when it may be forgotten.
    pub(crate) fn position_after(&self, revision: Revision) -> Option<u64> {
        if revision < self.floor {
            return None;
        }
        Some(self.first + self.events.partition_point(|event| event.revision() <= revision) as u64)
    }

    /// Gives the events from `position` on to `take`, at most `limit`.
    pub(crate) fn read(&self, position: u64, limit: usize, mut take: impl FnMut(&Arc<Event>)) -> Read {
        let Some(skip) = position.checked_sub(self.first) else { return Read::Forgotten };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.events.len());
        let upto = self.events.len().min(skip + limit);
        self.events.range(skip..upto).for_each(&mut take);
        Read::Next { position: self.first + upto as u64, end: upto == self.events.len() }
    }

    /// The revision of the event at `position`, if it is there.
    pub(crate) fn revision_at(&self, position: u64) -> Option<Revision> {
        let at = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.events.get(at).map(|event| event.revision())
    }

    /// The tree as it was at `revision`. `None` when it is forgotten.
    pub(crate) fn tree_at(&self, revision: Revision) -> Option<Tree> {
        if revision < self.floor {
            return None;
        }
        let mark = self.marks.partition_point(|(marked, _)| *marked < revision);
        let (upto, mut tree) = match self.marks.get(mark) {
            Some((marked, tree)) => (*marked, tree.clone()),
            None => (Revision(u64::MAX), self.latest.clone()),
        };
        let from = self.events.partition_point(|event| event.revision() <= revision);
        let to = self.events.partition_point(|event| event.revision() <= upto);
        for event in self.events.range(from..to).rev() {
            match (event.kind(), event.previous()) {
                (EventKind::Added, _) | (_, None) => {
                    tree.remove(event.key().as_str());
                }
                (EventKind::Modified | EventKind::Deleted, Some(previous)) => {
                    tree.insert(Arc::clone(previous));
                }
            }
        }
        Some(tree)
    }
}
