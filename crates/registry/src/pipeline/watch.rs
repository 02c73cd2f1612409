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

impl EventType {
    fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::Added => Self::Added,
            EventKind::Modified => Self::Modified,
            EventKind::Deleted => Self::Deleted,
        }
    }
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
    retirement: Option<Retirement>,
    outside: Option<Outside>,
}

/// Ends the watch when the kind is gone, or served by other rules: after what was written until then.
struct Retirement {
    retired: BoxFuture<'static, ()>,
    table: store::Resource,
    last: Option<Revision>,
}

/// What a watch needs whose objects are presented before anything is decided, by a webhook maybe: one item at a time is
/// on its way.
struct Outside {
    kind: Arc<Kind>,
    /// What is looked for in the objects as the kind's clients see them, where that is not in the stored ones.
    selection: Option<Arc<Selection>>,
    converting: Option<BoxFuture<'static, Result<Option<WatchItem>, ApiError>>>,
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
        let wanted = kind.selects_presented(&selection).then(|| Arc::new(selection.clone()));
        let selection = if wanted.is_some() { selection.of_identity() } else { selection };
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
            retirement: kind.retirement().map(|retired| Retirement { retired, table: kind.table.clone(), last: None }),
            outside: (kind.converts_outside() || wanted.is_some()).then(|| Outside {
                kind: Arc::clone(kind),
                selection: wanted,
                converting: None,
            }),
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
        let last = self.poll_retirement(cx);
        let polled = self.poll_item(cx);
        let Some(last) = last else { return polled };
        let over = match &polled {
            Poll::Pending => self.outside.as_ref().is_none_or(|outside| outside.converting.is_none()),
            Poll::Ready(Some(WatchItem::Shared(event))) => event.revision() > last,
            Poll::Ready(_) => false,
        };
        if over {
            self.watch = None;
            self.initial = None;
            self.initial_end = None;
            return Poll::Ready(None);
        }
        polled
    }

    /// The last revision that is told of, once the kind is retired.
    fn poll_retirement(&mut self, cx: &mut Context<'_>) -> Option<Revision> {
        let retirement = self.retirement.as_mut()?;
        if retirement.last.is_none() && retirement.retired.as_mut().poll(cx).is_ready() {
            retirement.last = Some(retirement.table.snapshot().revision());
        }
        retirement.last
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        if self.outside.is_none() {
            return self.poll_stored(cx);
        }
        loop {
            if let Some(converting) = self.outside.as_mut().and_then(|outside| outside.converting.as_mut()) {
                let Poll::Ready(converted) = converting.as_mut().poll(cx) else { return Poll::Pending };
                if let Some(outside) = &mut self.outside {
                    outside.converting = None;
                }
                match converted {
                    Ok(Some(item)) => return Poll::Ready(Some(item)),
                    Ok(None) => {}
                    Err(error) => {
                        self.watch = None;
                        return Poll::Ready(Some(WatchItem::Error(error)));
                    }
                }
            }
            let Poll::Ready(item) = self.poll_stored(cx) else { return Poll::Pending };
            match (item, &mut self.outside) {
                (Some(item @ (WatchItem::Bookmark { .. } | WatchItem::Error(_))), _) => return Poll::Ready(Some(item)),
                (Some(item), Some(outside)) => {
                    let (kind, selection) = (Arc::clone(&outside.kind), outside.selection.clone());
                    outside.converting =
                        Some(Box::pin(async move { converted(&kind, selection.as_deref(), item).await }));
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

/// The item with its object as the kind's clients see it. None: nobody asked for that object.
async fn converted(kind: &Kind, selection: Option<&Selection>, item: WatchItem) -> Result<Option<WatchItem>, ApiError> {
    let (event, bytes) = match item {
        WatchItem::Shared(shared) => match selection {
            None => (EventType::of(shared.kind()), shared.entry().bytes().clone()),
            Some(selection) => return converted_change(kind, selection, &shared).await,
        },
        WatchItem::Initial(entry) => (EventType::Added, entry.bytes().clone()),
        WatchItem::Own { event, bytes } => (event, bytes),
        other => return Ok(Some(other)),
    };
    let bytes = kind.present_one(&bytes).await?;
    Ok(selection.is_none_or(|selection| selection.matches(&bytes)).then_some(WatchItem::Own { event, bytes }))
}

/// As [`seen_through`], where what is looked for is only in what the kind's clients see.
async fn converted_change(kind: &Kind, selection: &Selection, event: &Event) -> Result<Option<WatchItem>, ApiError> {
    let before = event.previous().map(|previous| canonical::with_revision(previous.bytes(), event.revision().0));
    let both = std::iter::once(event.entry().bytes().clone()).chain(before).collect();
    let mut made = kind.present_all(both).await?.into_iter();
    let now = made.next().ok_or_else(|| ApiError::internal("conversion gave no object"))?;
    let before = made.next().filter(|before| selection.matches(before));
    let is = event.kind() != EventKind::Deleted && selection.matches(&now);
    Ok(match (before, is, event.kind()) {
        (None, false, _) => None,
        (None, true, _) => Some(WatchItem::Own { event: EventType::Added, bytes: now }),
        (Some(_), true, _) => Some(WatchItem::Own { event: EventType::Modified, bytes: now }),
        (Some(_), false, EventKind::Deleted) => Some(WatchItem::Own { event: EventType::Deleted, bytes: now }),
        (Some(before), false, _) => Some(WatchItem::Own { event: EventType::Deleted, bytes: before }),
    })
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
