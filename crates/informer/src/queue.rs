//! A work queue keyed by object. Upstream: client-go `util/workqueue` (the typed, rate limiting, delaying queue).
//!
//! A key that is added while it waits is handled once; one that is added while it is handled is handled again
//! afterwards, never twice at the same time. Bound: one entry per distinct key.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use apimachinery::ObjectKey;
use metrics::{Counter, Family, Gauge, Histogram, Stability, exponential as bounds};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::backoff::exponential;

/// The delay after the first failure of a key. Upstream: `DefaultTypedControllerRateLimiter`.
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// The longest delay after failures of a key.
const LONGEST_DELAY: Duration = Duration::from_secs(1000);

const DURATIONS: [f64; 10] = bounds(1e-8, 10.0);

static ADDS: Family<Counter, 1> =
    Family::new("workqueue_adds_total", Stability::Beta, "Total number of adds handled by workqueue", ["name"]);
static DEPTH: Family<Gauge, 1> =
    Family::new("workqueue_depth", Stability::Beta, "Current depth of workqueue", ["name"]);
static WAITS: Family<Histogram, 1> = Family::with_bounds(
    "workqueue_queue_duration_seconds",
    Stability::Beta,
    "How long in seconds an item stays in workqueue before being requested.",
    ["name"],
    &DURATIONS,
);
static WORKS: Family<Histogram, 1> = Family::with_bounds(
    "workqueue_work_duration_seconds",
    Stability::Beta,
    "How long in seconds processing an item from workqueue takes.",
    ["name"],
    &DURATIONS,
);
static RETRIES: Family<Counter, 1> =
    Family::new("workqueue_retries_total", Stability::Beta, "Total number of retries handled by workqueue", ["name"]);

/// What is counted of a queue that has a name.
#[derive(Debug)]
struct Counters {
    adds: Arc<Counter>,
    depth: Arc<Gauge>,
    waits: Arc<Histogram>,
    works: Arc<Histogram>,
    retries: Arc<Counter>,
}

/// A keyed work queue; clones share it.
#[derive(Debug)]
pub struct Queue<T = ObjectKey> {
    inner: Arc<Inner<T>>,
}

/// A key being handled; when it is dropped, the key may be handed out again.
#[derive(Debug)]
pub struct Item<T: Clone + Eq + Hash + Ord = ObjectKey> {
    key: T,
    queue: Queue<T>,
    taken: Instant,
}

#[derive(Debug)]
struct Inner<T> {
    state: Mutex<State<T>>,
    notify: Notify,
    counters: Option<Counters>,
}

#[derive(Debug)]
struct State<T> {
    /// Each with the time since when it is there.
    ready: VecDeque<(T, Instant)>,
    /// Keys that are to be handled: those in `ready`, and those in `processing` that were added again.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    timers: BTreeSet<(Instant, T)>,
    due: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
    closed: bool,
}

// === impl Queue ===

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Clone + Eq + Hash + Ord> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// An empty queue whose work is counted under a name (`workqueue_*`).
    pub fn named(name: &str) -> Self {
        Self::with(Some(Counters {
            adds: ADDS.with([name]),
            depth: DEPTH.with([name]),
            waits: WAITS.with([name]),
            works: WORKS.with([name]),
            retries: RETRIES.with([name]),
        }))
    }

    fn with(counters: Option<Counters>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            timers: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            closed: false,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), notify: Notify::new(), counters }) }
    }

    /// Has a key handled soon.
    pub fn add(&self, key: T) {
        let (is_new, depth) = {
            let mut state = self.inner.state.lock();
            (state.add(key, Instant::now()), state.ready.len())
        };
        if let Some(counters) = self.inner.counters.as_ref().filter(|_| is_new) {
            counters.adds.inc();
            counters.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        }
        if is_new {
            self.inner.notify.notify_one();
        }
    }

    /// Has a key handled after a delay; of several timers of a key the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + delay;
        let mut state = self.inner.state.lock();
        match state.due.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                let later = *later;
                state.timers.remove(&(later, key.clone()));
            }
            None => {}
        }
        state.due.insert(key.clone(), at);
        state.timers.insert((at, key));
        drop(state);
        self.inner.notify.notify_one();
    }

    /// Has a key handled after a delay that doubles with each call, until [`Queue::forget`].
    pub fn add_rate_limited(&self, key: T) -> Duration {
        let delay = {
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = exponential(FIRST_DELAY, LONGEST_DELAY, *failures);
            *failures = failures.saturating_add(1);
            delay
        };
        if let Some(counters) = &self.inner.counters {
            counters.retries.inc();
        }
        self.add_after(key, delay);
        delay
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &T) {
        self.inner.state.lock().failures.remove(key);
    }

    /// How often a key failed since it was forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.inner.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// How many keys are ready to be handled.
    pub fn len(&self) -> usize {
        self.inner.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next key; `None` once the queue is closed.
    pub async fn get(&self) -> Option<Item<T>> {
        loop {
            let deadline = {
                let mut state = self.inner.state.lock();
                if state.closed {
                    return None;
                }
                state.fire(Instant::now());
                if let Some((key, since)) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.processing.insert(key.clone());
                    // Somebody else looks after what is left: other keys, and the next timer.
                    let (more, depth) = (!state.ready.is_empty() || !state.timers.is_empty(), state.ready.len());
                    drop(state);
                    let taken = Instant::now();
                    if let Some(counters) = &self.inner.counters {
                        counters.waits.observe_duration(taken.saturating_duration_since(since));
                        counters.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
                    }
                    if more {
                        self.inner.notify.notify_one();
                    }
                    return Some(Item { key, queue: self.clone(), taken });
                }
                state.timers.first().map(|(at, _)| *at)
            };
            match deadline {
                Some(at) => tokio::select! {
                    () = self.inner.notify.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.inner.notify.notified().await,
            }
        }
    }

    /// Ends the queue: every reader gets `None`.
    pub fn close(&self) {
        self.inner.state.lock().closed = true;
        self.inner.notify.notify_waiters();
        self.inner.notify.notify_one();
    }

    fn done(&self, key: &T, taken: Instant) {
        if let Some(counters) = &self.inner.counters {
            counters.works.observe_duration(taken.elapsed());
        }
        let again = {
            let mut state = self.inner.state.lock();
            state.processing.remove(key);
            let again = state.dirty.contains(key);
            if again {
                state.ready.push_back((key.clone(), Instant::now()));
            }
            again
        };
        if again {
            self.inner.notify.notify_one();
        }
    }
}

// === impl State ===

impl<T: Clone + Eq + Hash + Ord> State<T> {
    /// Whether there is something new for a reader.
    fn add(&mut self, key: T, now: Instant) -> bool {
        if !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back((key, now));
        true
    }

    fn fire(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, key));
                return;
            }
            self.due.remove(&key);
            self.add(key, now);
        }
    }
}

// === impl Item ===

impl<T: Clone + Eq + Hash + Ord> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.key
    }
}

impl<T: Clone + Eq + Hash + Ord> Drop for Item<T> {
    fn drop(&mut self) {
        self.queue.done(&self.key, self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_added_twice_is_handled_once() {
        let queue = Queue::<u8>::new();
        queue.add(1);
        queue.add(1);
        drop(queue.get().await);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_key_added_while_handled_is_handled_again_afterwards() {
        let queue = Queue::<u8>::new();
        queue.add(1);
        let item = queue.get().await;
        queue.add(1);
        assert!(queue.is_empty(), "handed out twice at the same time");
        drop(item);
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_timer_counts() {
        let queue = Queue::<u8>::new();
        let start = Instant::now();
        queue.add_after(1, Duration::from_secs(9));
        queue.add_after(1, Duration::from_secs(3));
        queue.add_after(1, Duration::from_secs(6));
        drop(queue.get().await);
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.get()).await.is_err(), "one timer, one delivery");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_delay_a_key_and_are_forgotten() {
        let queue = Queue::<u8>::new();
        assert_eq!(queue.add_rate_limited(1), Duration::from_millis(5));
        assert_eq!(queue.add_rate_limited(1), Duration::from_millis(10));
        assert_eq!(queue.failures(&1), 2);
        queue.forget(&1);
        assert_eq!(queue.add_rate_limited(1), Duration::from_millis(5));
    }

    #[tokio::test]
    async fn every_waiting_worker_gets_a_key() {
        let queue = Queue::<u8>::new();
        let workers = futures::future::join_all((0..4).map(|_| queue.get()));
        let add = async {
            for key in 0..4 {
                queue.add(key);
            }
        };
        let (items, ()) = futures::join!(workers, add);
        let keys: BTreeSet<u8> = items.iter().flatten().map(|item| **item).collect();
        assert_eq!(keys.len(), 4);
    }

    #[tokio::test]
    async fn a_closed_queue_releases_its_readers() {
        let queue = Queue::<u8>::new();
        let (item, ()) = futures::join!(queue.get(), async { queue.close() });
        assert!(item.is_none());
    }
}
