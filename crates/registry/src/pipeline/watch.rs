//! Watch: initial state, then changes, seen through the selectors. Upstream: `storage/cacher`, `handlers/watch.go`.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use apimachinery::ApiError;
use bytes::Bytes;
use futures::future::BoxFuture;
use store::{Entry, Event, EventKind, Filter, Revision, Snapshot, Watch, WatchError};

use super::{
    Items, Kind, Registry, Selection,
    list::{exact, not_older_than},
};
use crate::{canonical, options::ListOptions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

/// One thing to tell the watcher.
pub enum WatchItem {
    /// An event as the store has it: its encodings are shared by all watchers.
    Shared(Arc<Event>),
    /// An object of the initial state.
    Initial(Arc<Entry>),
    /// An event that only this watcher's selectors make.
    Own { event: EventType, bytes: Bytes },
    /// Everything up to the revision has been told.
    Bookmark { revision: Revision, initial_end: bool },
    /// The watch is over with an error for the client.
    Error(ApiError),
}

/// The items of one watch. Not a timer in it: bookmarks and the end are the caller's to ask for.
pub struct WatchStream {
    initial: Option<Items>,
    /// The bookmark that ends the initial state of a streaming list.
    initial_end: Option<Revision>,
    watch: Option<Watch>,
    selection: Selection,
    failed: VecDeque<ApiError>,
    /// Ends the watch: the kind is gone, or served by other rules.
    retirement: Option<BoxFuture<'static, ()>>,
    outside: Option<Outside>,
}

/// What a watch of objects that a webhook converts needs: one item at a time is on its way.
struct Outside {
    kind: Arc<Kind>,
    converting: Option<BoxFuture<'static, Result<WatchItem, ApiError>>>,
}

impl Registry {
    /// Watches a namespace, or all when it is empty.
    pub fn watch(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        selection: Selection,
        options: &ListOptions,
    ) -> Result<WatchStream, ApiError> {
        let namespace = if kind.info().is_namespaced() { namespace } else { "" };
        let mut filter = Filter::in_namespace(namespace);
        if let Some(name) = selection.exact_name() {
            filter = filter.named(name);
        }
        if let Some(value) = selection.exact_indexed() {
            filter = filter.indexed(value);
        }
        let version = options.resource_version.map(|version| version.0).filter(|version| *version > 0);
        let start = Start::of(options, version);
        let (snapshot, from) = match start {
            Start::Initial { .. } | Start::Now => {
                let snapshot = match version {
                    Some(version) => not_older_than(kind, version)?,
                    None => kind.table.snapshot(),
                };
                let revision = snapshot.revision();
                (Some(snapshot), revision)
            }
            // Of a version that is still to come, it tells what follows that.
            Start::After(version) => (None, Revision(version)),
        };
        let mut stream = WatchStream {
            initial: None,
            initial_end: None,
            watch: None,
            selection: selection.clone(),
            failed: VecDeque::new(),
            retirement: kind.retirement(),
            outside: kind.converts_outside().then(|| Outside { kind: Arc::clone(kind), converting: None }),
        };
        match kind.table.watch(from, filter) {
            Ok(watch) => stream.watch = Some(watch),
            Err(error) => stream.failed.push_back(watch_error(error, from)),
        }
        if let (Start::Initial { bookmark }, Some(snapshot)) = (start, snapshot) {
            stream.initial = Some(initial(kind, &snapshot, namespace, selection));
            stream.initial_end = bookmark.then_some(from);
        }
        Ok(stream)
    }
}

#[derive(Clone, Copy)]
enum Start {
    /// The state first; `bookmark` says where it ends.
    Initial {
        bookmark: bool,
    },
    Now,
    After(u64),
}

impl Start {
    fn of(options: &ListOptions, version: Option<u64>) -> Self {
        match (options.send_initial_events, version) {
            (Some(true), _) => Self::Initial { bookmark: options.allow_bookmarks },
            (Some(false), None) => Self::Now,
            (Some(false) | None, Some(version)) => Self::After(version),
            // Upstream reads a watch from nowhere as a streaming list (`SetListOptionsDefaults`).
            (None, None) => Self::Initial { bookmark: options.allow_bookmarks },
        }
    }
}

fn initial(kind: &Kind, snapshot: &Snapshot, namespace: &str, selection: Selection) -> Items {
    if let Some(items) = exact(kind, snapshot, namespace, &selection) {
        return items;
    }
    Items::All { range: snapshot.range(namespace, None), selection }
}

impl WatchStream {
    /// The next item; `None` after an error has been given.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        if let Some(retirement) = &mut self.retirement
            && retirement.as_mut().poll(cx).is_ready()
        {
            self.retirement = None;
            self.watch = None;
            self.initial = None;
            self.initial_end = None;
            return Poll::Ready(None);
        }
        if self.outside.is_none() {
            return self.poll_stored(cx);
        }
        loop {
            if let Some(converting) = self.outside.as_mut().and_then(|outside| outside.converting.as_mut()) {
                let Poll::Ready(converted) = converting.as_mut().poll(cx) else { return Poll::Pending };
                if let Some(outside) = &mut self.outside {
                    outside.converting = None;
                }
                return Poll::Ready(Some(converted.unwrap_or_else(|error| {
                    self.watch = None;
                    WatchItem::Error(error)
                })));
            }
            let Poll::Ready(item) = self.poll_stored(cx) else { return Poll::Pending };
            match (item, &mut self.outside) {
                (Some(item @ (WatchItem::Bookmark { .. } | WatchItem::Error(_))), _) => return Poll::Ready(Some(item)),
                (Some(item), Some(outside)) => {
                    let kind = Arc::clone(&outside.kind);
                    outside.converting = Some(Box::pin(async move { converted(&kind, item).await }));
                }
                (item, _) => return Poll::Ready(item),
            }
        }
    }

    fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        self.advance(Some(cx))
    }

    /// The next item if it is there already: to send several together.
    pub fn next_ready(&mut self) -> Option<WatchItem> {
        if self.outside.is_some() {
            return None;
        }
        match self.advance(None) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    /// Without a context nobody is woken later.
    fn advance(&mut self, mut cx: Option<&mut Context<'_>>) -> Poll<Option<WatchItem>> {
        if let Some(error) = self.failed.pop_front() {
            return Poll::Ready(Some(WatchItem::Error(error)));
        }
        if let Some(items) = &mut self.initial {
            if let Some(entry) = items.next() {
                return Poll::Ready(Some(WatchItem::Initial(entry)));
            }
            self.initial = None;
        }
        if let Some(revision) = self.initial_end.take() {
            return Poll::Ready(Some(WatchItem::Bookmark { revision, initial_end: true }));
        }
        let Some(watch) = &mut self.watch else { return Poll::Ready(None) };
        loop {
            let next = match cx.as_deref_mut() {
                Some(cx) => watch.poll_next(cx),
                None => match watch.try_next().transpose() {
                    Some(next) => Poll::Ready(next),
                    None => Poll::Pending,
                },
            };
            match next {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(event)) => {
                    if let Some(item) = seen_through(&self.selection, event) {
                        return Poll::Ready(Some(item));
                    }
                }
                Poll::Ready(Err(error)) => {
                    let progress = watch.progress();
                    self.watch = None;
                    return Poll::Ready(Some(WatchItem::Error(watch_error(error, progress))));
                }
            }
        }
    }

    pub async fn next(&mut self) -> Option<WatchItem> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether the initial state is still being told.
    pub fn is_initializing(&self) -> bool {
        self.initial.is_some() || self.initial_end.is_some()
    }

    /// A bookmark that is true now; none while the initial state is still being told.
    pub fn bookmark(&self) -> Option<WatchItem> {
        if self.is_initializing() {
            return None;
        }
        let revision = self.watch.as_ref()?.progress();
        Some(WatchItem::Bookmark { revision, initial_end: false })
    }
}

/// The item with its object as the kind's clients see it.
async fn converted(kind: &Kind, item: WatchItem) -> Result<WatchItem, ApiError> {
    let (event, bytes) = match item {
        WatchItem::Shared(shared) => {
            let event = match shared.kind() {
                EventKind::Added => EventType::Added,
                EventKind::Modified => EventType::Modified,
                EventKind::Deleted => EventType::Deleted,
            };
            (event, shared.entry().bytes().clone())
        }
        WatchItem::Initial(entry) => (EventType::Added, entry.bytes().clone()),
        WatchItem::Own { event, bytes } => (event, bytes),
        other => return Ok(other),
    };
    Ok(WatchItem::Own { event, bytes: kind.present_one(&bytes).await? })
}

/// The event as a watcher with selectors sees it. Upstream: `cacheWatcher.convertToWatchEvent`.
fn seen_through(selection: &Selection, event: Arc<Event>) -> Option<WatchItem> {
    if selection.is_everything() {
        return Some(WatchItem::Shared(event));
    }
    let is = event.kind() != EventKind::Deleted && selection.matches(event.entry().bytes());
    let was = event.previous().is_some_and(|previous| selection.matches(previous.bytes()));
    match (was, is, event.kind()) {
        (false, false, _) => None,
        (true, true, _) | (false, true, EventKind::Added) | (true, false, EventKind::Deleted) => {
            Some(WatchItem::Shared(event))
        }
        (false, true, _) => Some(WatchItem::Own { event: EventType::Added, bytes: event.entry().bytes().clone() }),
        (true, false, _) => {
            let previous = event.previous()?;
            let bytes = canonical::with_revision(previous.bytes(), event.revision().0);
            Some(WatchItem::Own { event: EventType::Deleted, bytes })
        }
    }
}

fn watch_error(error: WatchError, from: Revision) -> ApiError {
    match error {
        WatchError::Compacted { asked, oldest } => {
            ApiError::expired(format!("too old resource version: {} ({})", asked.0, oldest.0))
        }
        WatchError::Lagged => ApiError::expired(format!("too old resource version: {} (watcher fell behind)", from.0)),
        WatchError::Closed => ApiError::service_unavailable("the server is shutting down"),
    }
}
