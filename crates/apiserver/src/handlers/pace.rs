//! One timer for all watches: when each ends, and when bookmarks are due. Without watches there is none.
//!
//! A watch only has a place here, with a waker in it; nothing of it is polled until it is due. Upstream: the bookmark
//! buckets of `storage/cacher` and the timeout of `WatchServer`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::Waker,
    time::Duration,
};

use futures::task::AtomicWaker;
use supervisor::Supervisor;
use tokio::{sync::Notify, time::Instant};

/// Upstream's `bookmarkFrequency`.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// So many watches are woken before others get a turn.
const WAKE_AT_ONCE: usize = 256;

const BOOKMARK: u8 = 1;
const END: u8 = 2;

/// The timer and its watches. A clone is a reference count.
#[derive(Clone)]
pub(crate) struct Pace(Arc<Inner>);

struct Inner {
    /// Between two bookmarks.
    every: Duration,
    places: Mutex<Places>,
    /// Something is due earlier than the timer knows.
    changed: Notify,
}

#[derive(Default)]
struct Places {
    next: u64,
    slots: HashMap<u64, Arc<Slot>>,
    ends: BTreeMap<(Instant, u64), ()>,
    /// How many of the watches want bookmarks.
    bookmarked: usize,
    closed: bool,
}

struct Slot {
    waker: AtomicWaker,
    due: AtomicU8,
    bookmarks: bool,
}

/// The place of one watch.
pub(crate) struct Place {
    pace: Pace,
    id: u64,
    end: Instant,
    slot: Arc<Slot>,
}

/// What is due for a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) bookmark: bool,
    pub(crate) end: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self::every(BOOKMARK_EVERY)
    }
}

impl Pace {
    fn every(every: Duration) -> Self {
        Self(Arc::new(Inner { every, places: Mutex::default(), changed: Notify::new() }))
    }

    /// Runs the timer. `revision` says how far the store is: where nothing happened, bookmarks say nothing.
    pub(crate) fn start(&self, supervisor: &Supervisor, revision: impl Fn() -> u64 + Send + 'static) {
        let pace = self.clone();
        supervisor.spawn("watch timer", async move { pace.run(revision).await });
    }

    pub(crate) fn enter(&self, bookmarks: bool, end: Instant) -> Place {
        let mut places = self.lock();
        let id = places.next;
        places.next += 1;
        let due = if places.closed { END } else { 0 };
        let slot = Arc::new(Slot { waker: AtomicWaker::new(), due: AtomicU8::new(due), bookmarks });
        let was_first = places.ends.first_key_value().is_none_or(|((first, _), ())| end < *first);
        places.slots.insert(id, Arc::clone(&slot));
        places.ends.insert((end, id), ());
        places.bookmarked += usize::from(bookmarks);
        if was_first || (bookmarks && places.bookmarked == 1) {
            self.0.changed.notify_one();
        }
        Place { pace: self.clone(), id, end, slot }
    }

    /// Ends all watches, those that are still to come included.
    pub(crate) fn close(&self) {
        let mut places = self.lock();
        places.closed = true;
        for slot in places.slots.values() {
            slot.tell(END);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, revision: impl Fn() -> u64) {
        let mut told = revision();
        let mut bookmark: Option<Instant> = None;
        loop {
            let next = {
                let places = self.lock();
                bookmark = (places.bookmarked > 0).then(|| bookmark.unwrap_or_else(|| Instant::now() + self.0.every));
                let end = places.ends.first_key_value().map(|((end, _), ())| *end);
                [bookmark, end].into_iter().flatten().min()
            };
            match next {
                None => self.0.changed.notified().await,
                Some(next) => {
                    let changed = tokio::time::timeout_at(next, self.0.changed.notified()).await.is_ok();
                    if changed {
                        continue;
                    }
                }
            }
            let now = Instant::now();
            self.end_until(now);
            if bookmark.is_some_and(|due| due <= now) {
                bookmark = Some(now + self.0.every);
                let current = revision();
                if std::mem::replace(&mut told, current) != current {
                    self.bookmark_all().await;
                }
            }
        }
    }

    fn end_until(&self, now: Instant) {
        let mut places = self.lock();
        while let Some((&(end, id), ())) = places.ends.first_key_value()
            && end <= now
        {
            places.ends.remove(&(end, id));
            if let Some(slot) = places.slots.get(&id) {
                slot.tell(END);
            }
        }
    }

    async fn bookmark_all(&self) {
        let slots: Vec<Arc<Slot>> = self.lock().slots.values().filter(|slot| slot.bookmarks).cloned().collect();
        for some in slots.chunks(WAKE_AT_ONCE) {
            some.iter().for_each(|slot| slot.tell(BOOKMARK));
            tokio::task::yield_now().await;
        }
    }
}

impl Slot {
    fn tell(&self, what: u8) {
        self.due.fetch_or(what, Ordering::AcqRel);
        self.waker.wake();
    }
}

impl Place {
    /// What has become due, told once; when nothing has, `waker` is woken when something does.
    pub(crate) fn due(&self, waker: &Waker) -> Due {
        self.slot.waker.register(waker);
        // The end stays due.
        let due = self.slot.due.fetch_and(END, Ordering::AcqRel);
        Due { bookmark: due & BOOKMARK != 0, end: due & END != 0 }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.pace.lock();
        places.slots.remove(&self.id);
        places.ends.remove(&(self.end, self.id));
        places.bookmarked -= usize::from(self.slot.bookmarks);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicU64, task::Poll};

    use super::*;

    async fn due(place: &Place) -> Due {
        let nothing = Due { bookmark: false, end: false };
        poll_fn(|cx| match place.due(cx.waker()) {
            due if due == nothing => Poll::Pending,
            due => Poll::Ready(due),
        })
        .await
    }

    #[tokio::test]
    async fn watches_end_in_time_and_bookmarks_come_when_something_happened() {
        let (supervisor, pace) = (Supervisor::new(), Pace::every(Duration::from_millis(20)));
        let revision = Arc::new(AtomicU64::new(1));
        let seen = revision.clone();
        pace.start(&supervisor, move || seen.load(Ordering::Relaxed));
        let start = Instant::now();
        let late = pace.enter(true, start + Duration::from_secs(600));
        let early = pace.enter(false, start + Duration::from_millis(10));
        assert_eq!(due(&early).await, Due { bookmark: false, end: true });
        assert!(start.elapsed() >= Duration::from_millis(10));
        drop(early);
        // Times for bookmarks pass, and nothing has happened.
        let nothing = tokio::time::timeout(Duration::from_millis(100), due(&late)).await;
        assert!(nothing.is_err(), "{nothing:?}");
        revision.store(2, Ordering::Relaxed);
        assert_eq!(due(&late).await, Due { bookmark: true, end: false });
        drop(late);
        assert!(pace.lock().slots.is_empty() && pace.lock().ends.is_empty() && pace.lock().bookmarked == 0);
    }

    #[tokio::test]
    async fn a_closed_timer_ends_what_comes_later_too() {
        let pace = Pace::default();
        pace.close();
        let place = pace.enter(true, Instant::now() + Duration::from_secs(60));
        assert!(due(&place).await.end);
    }
}
