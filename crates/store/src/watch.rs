//! A position in a resource's history that moves forward. Upstream: `storage/cacher` `cacheWatcher`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine::Revision;

use crate::entry::{Event, Index};
use crate::error::WatchError;
use crate::fanout::{Place, Sleeper};
use crate::history::Read;
use crate::key::Key;
use crate::resource::Shelf;

/// How many events are looked at while the history is locked for reading.
const CHUNK: usize = 128;

/// Which objects a watch is about. Selectors are the caller's: they look into objects.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    namespace: Option<Box<str>>,
    name: Option<Box<str>>,
    indexed: Option<Box<str>>,
}

/// The changes of one resource. Dropping it ends it.
pub struct Watch {
    shelf: Arc<Shelf>,
    filter: Filter,
    indexed: bool,
    from: Revision,
    /// Of the next event to look at.
    position: u64,
    /// Looked at, passed the filter, not yet taken.
    ready: VecDeque<Arc<Event>>,
    sleeper: Arc<Sleeper>,
}

// === impl Filter ===

impl Filter {
    #[must_use]
    pub fn all() -> Filter {
        Filter::default()
    }

    /// All namespaces when it is empty.
    #[must_use]
    pub fn in_namespace(namespace: &str) -> Filter {
        Filter { namespace: (!namespace.is_empty()).then(|| namespace.into()), ..Filter::default() }
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Filter {
        self.name = Some(name.into());
        self
    }

    /// Only objects that have, or had before the change, this value in the resource's index.
    #[must_use]
    pub fn indexed(mut self, value: &str) -> Filter {
        self.indexed = Some(value.into());
        self
    }

    fn matches(&self, event: &Event, index: Option<&Index>) -> bool {
        self.matches_key(event.key()) && self.matches_index(event, index)
    }

    fn matches_key(&self, key: &Key) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == key.namespace())
            && self.name.as_deref().is_none_or(|name| name == key.name())
    }

    fn matches_index(&self, event: &Event, index: Option<&Index>) -> bool {
        // Without an index it is the caller who looks into objects, as for every other selector.
        let (Some(value), Some(index)) = (self.indexed.as_deref(), index) else { return true };
        let (before, after) = event.indexed(index);
        before == Some(value) || after == Some(value)
    }

    fn place(&self, has_index: bool) -> Place<'_> {
        match (&self.namespace, &self.name, &self.indexed) {
            (Some(namespace), Some(name), _) => Place::Object(format!("{namespace}/{name}")),
            (None, Some(name), _) => Place::Name(name),
            (_, None, Some(value)) if has_index => Place::Indexed(value),
            (Some(namespace), None, _) => Place::Namespace(namespace),
            (None, None, _) => Place::All,
        }
    }
}

// === impl Watch ===

impl Watch {
    pub(crate) fn start(shelf: Arc<Shelf>, from: Revision, filter: Filter) -> Result<Watch, WatchError> {
        if shelf.clock.is_closed() {
            return Err(WatchError::Closed);
        }
        let position = {
            let history = shelf.history.read();
            let oldest = history.floor();
            history.position_after(from).ok_or(WatchError::Compacted { asked: from, oldest })?
        };
        let sleeper = Arc::new(Sleeper::default());
        // An index said later is for watches begun later.
        let indexed = shelf.index().is_some();
        shelf.fanout.lock().add(&filter.place(indexed), Arc::clone(&sleeper));
        Ok(Watch { shelf, filter, indexed, from, position, ready: VecDeque::new(), sleeper })
    }

    /// The next change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Event>, WatchError>> {
        if let Some(event) = self.take() {
            return Poll::Ready(Ok(event));
        }
        if let Some(ready) = self.advance().transpose() {
            return Poll::Ready(ready);
        }
        self.sleeper.waker.register(cx.waker());
        // What came between the look and the registration woke nobody.
        match self.advance().transpose() {
            Some(ready) => Poll::Ready(ready),
            None => Poll::Pending,
        }
    }

    /// The next change if there is one already: to fill a buffer before it is flushed.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, WatchError> {
        match self.take() {
            Some(event) => Ok(Some(event)),
            None => self.advance(),
        }
    }

    /// The revision up to which this watch has given out everything: what a bookmark may say.
    #[must_use]
    pub fn progress(&self) -> Revision {
        let before = |revision: Revision| Revision(revision.0.saturating_sub(1));
        if let Some(event) = self.ready.front() {
            return before(event.revision()).max(self.from);
        }
        // Read before the history is: every change up to it is in there then.
        let revision = self.shelf.clock.revision();
        let history = self.shelf.history.read();
        let seen = match history.revision_at(self.position) {
            Some(next) => before(next),
            None if self.position < history.end() => self.from,
            None => revision.max(history.last_revision()),
        };
        seen.max(self.from)
    }

    fn take(&mut self) -> Option<Arc<Event>> {
        let event = self.ready.pop_front()?;
        if self.ready.is_empty() {
            // An idle watch keeps no buffer.
            self.ready = VecDeque::new();
        }
        Some(event)
    }

    /// Looks at what is new until something passes the filter or nothing is left.
    fn advance(&mut self) -> Result<Option<Arc<Event>>, WatchError> {
        loop {
            let (filter, ready, from) = (&self.filter, &mut self.ready, self.from);
            let index = self.shelf.index().filter(|_| self.indexed);
            let read = self.shelf.history.read().read(self.position, CHUNK, |event| {
                if event.revision() > from && filter.matches(event, index) {
                    ready.push_back(Arc::clone(event));
                }
            });
            let Read::Next { position, end } = read else { return Err(WatchError::Lagged) };
            self.position = position;
            if let Some(event) = self.take() {
                return Ok(Some(event));
            }
            if end {
                return if self.shelf.clock.is_closed() { Err(WatchError::Closed) } else { Ok(None) };
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shelf.fanout.lock().remove(&self.filter.place(self.indexed), &self.sleeper);
    }
}
