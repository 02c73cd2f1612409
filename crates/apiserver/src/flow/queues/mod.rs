//! The seats of one priority level, and the queues of those who wait for them. Pure: it is told the time, and says who
//! may go on by the receiver that each waiting request holds.
//!
//! Fair queuing in virtual time: every queue advances by the work it was served, and the one that is furthest behind goes
//! next. Upstream: `util/flowcontrol/fairqueuing/queueset`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{config::Limit, dealer};

/// Upstream's `estimatedServiceDuration`: what a request is taken to last until it is known.
const ESTIMATED: Duration = Duration::from_millis(3);

/// Work in seat-nanoseconds. Enough for 500 years of a thousand seats.
type Work = i128;

/// What a request costs. Upstream: `WorkEstimate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    pub(super) initial: u32,
    /// Seats that stay taken for a while behind it.
    pub(super) last: u32,
    pub(super) additional: Duration,
}

/// Who asks, for the dumps.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest {
    pub(super) schema: String,
    pub(super) flow: String,
    pub(super) user: String,
    pub(super) verb: &'static str,
    pub(super) path: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) api_version: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) arrived: jiff::Timestamp,
}

pub(super) enum Start {
    Granted(Grant),
    Queued { id: u64, queue: usize, granted: oneshot::Receiver<Grant> },
    Rejected(&'static str),
}

/// Seats that are taken, to be given back with [`Queues::finish`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    queue: Option<usize>,
    estimate: Estimate,
    started: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    executing: usize,
    seats_in_use: u64,
    next_dispatch: Work,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    arrived: Work,
    estimate: Estimate,
    granted: oneshot::Sender<Grant>,
    digest: Digest,
}

/// Counters since the level is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) waiting: usize,
    pub(super) executing: usize,
    pub(super) seats_in_use: u64,
    pub(super) seats_waiting: u64,
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    pub(super) timed_out: u64,
    pub(super) cancelled: u64,
}

#[derive(Debug)]
pub(super) struct Queues {
    limit: Limit,
    seats: u64,
    queues: Vec<Queue>,
    /// Virtual time.
    now: Work,
    last: Instant,
    robin: usize,
    enqueues: usize,
    next_id: u64,
    /// Queues with requests, waiting or executing.
    active: u64,
    /// Seats that behind a request stay taken until a time.
    lingering: BinaryHeap<Reverse<(Instant, u64, Option<usize>)>>,
    pub(super) totals: Totals,
    pub(super) demand: Demand,
}

/// How many seats were wanted, over time. Upstream: `fq.Integrator`.
#[derive(Debug)]
pub(super) struct Demand {
    value: f64,
    since: Instant,
    start: Instant,
    sum: f64,
    squares: f64,
    max: f64,
}

/// What [`Demand::reset`] has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) max: f64,
}

// === impl Grant ===

impl Grant {
    pub(super) fn seats(&self) -> u64 {
        self.estimate.seats()
    }
}

// === impl Estimate ===

impl Estimate {
    pub(super) const ONE: Self = Self { initial: 1, last: 0, additional: Duration::ZERO };

    pub(super) fn seats(self) -> u64 {
        u64::from(self.initial.max(self.last))
    }

    fn work(self) -> Work {
        work(u64::from(self.initial), ESTIMATED) + work(u64::from(self.last), self.additional)
    }
}

fn work(seats: u64, duration: Duration) -> Work {
    Work::from(seats) * Work::try_from(duration.as_nanos()).unwrap_or(Work::MAX / 1_000_000)
}

// === impl Queues ===

impl Queues {
    pub(super) fn new(limit: Limit, seats: u64, now: Instant) -> Self {
        let mut queues = Self {
            limit,
            seats,
            queues: Vec::new(),
            now: 0,
            last: now,
            robin: 0,
            enqueues: 0,
            next_id: 0,
            active: 0,
            lingering: BinaryHeap::new(),
            totals: Totals::default(),
            demand: Demand::new(now),
        };
        queues.configure(limit, seats, now);
        queues
    }

    /// Queues that are too many drain: nothing new comes into them.
    pub(super) fn configure(&mut self, limit: Limit, seats: u64, now: Instant) {
        self.advance(now);
        (self.limit, self.seats) = (limit, seats);
        if let Limit::Queue { queues, .. } = limit {
            while self.queues.len() < queues {
                self.queues.push(Queue::default());
            }
            while self.queues.len() > queues
                && self.queues.last().is_some_and(|queue| queue.is_idle() && queue.seats_in_use == 0)
            {
                self.queues.pop();
            }
        }
        self.dispatch(now);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.totals.waiting == 0 && self.totals.executing == 0
    }

    pub(super) fn start(
        &mut self,
        estimate: Estimate,
        hash: u64,
        digest: impl FnOnce() -> Digest,
        now: Instant,
    ) -> Start {
        self.advance(now);
        let Limit::Queue { queues, hand, length } = self.limit else {
            if self.limit == Limit::Reject && !self.can_take(estimate.seats()) {
                self.totals.rejected += 1;
                return Start::Rejected("concurrency-limit");
            }
            return Start::Granted(self.grant(None, estimate, now));
        };
        let index = self.choose(hash, queues, hand);
        let Some(queue) = self.queues.get_mut(index) else { return Start::Rejected("queue-full") };
        if self.totals.seats_in_use >= self.seats && queue.waiting.len() >= length {
            self.totals.rejected += 1;
            return Start::Rejected("queue-full");
        }
        if queue.is_idle() {
            queue.next_dispatch = self.now;
            self.active += 1;
        }
        // Nobody waits and there is room: no queue has to be looked through.
        if self.totals.waiting == 0 && self.totals.seats_in_use + estimate.seats() <= self.seats {
            queue.next_dispatch = queue.next_dispatch.max(self.now) + estimate.work();
            return Start::Granted(self.grant(Some(index), estimate, now));
        }
        let (granted, receiver) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        queue.waiting.push_back(Waiting { id, arrived: self.now, estimate, granted, digest: digest() });
        self.totals.waiting += 1;
        self.totals.seats_waiting += estimate.seats();
        self.observe(now);
        self.bound(index);
        self.dispatch(now);
        Start::Queued { id, queue: index, granted: receiver }
    }

    /// Takes a request out of its queue. False when it is not there any more: it was granted.
    pub(super) fn cancel(&mut self, id: u64, queue: usize, timed_out: bool, now: Instant) -> bool {
        self.advance(now);
        let Some(place) = self.queues.get_mut(queue) else { return false };
        let Some(at) = place.waiting.iter().position(|waiting| waiting.id == id) else { return false };
        let Some(waiting) = place.waiting.remove(at) else { return false };
        if place.is_idle() {
            self.active -= 1;
        }
        self.totals.waiting -= 1;
        self.totals.seats_waiting -= waiting.estimate.seats();
        self.totals.rejected += 1;
        self.totals.cancelled += 1;
        self.totals.timed_out += u64::from(timed_out);
        self.observe(now);
        self.bound(queue);
        true
    }

    /// Gives seats back. The time when those that linger are free, if any do.
    pub(super) fn finish(&mut self, grant: Grant, now: Instant) -> Option<Instant> {
        self.advance(now);
        self.totals.executing -= 1;
        if let Some(index) = grant.queue
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.executing -= 1;
            // The difference to what was taken for its duration.
            let initial = u64::from(grant.estimate.initial);
            let actual = work(initial, now.saturating_duration_since(grant.started));
            queue.next_dispatch += actual - work(initial, ESTIMATED);
            if queue.is_idle() {
                self.active -= 1;
            }
            self.bound(index);
        }
        let seats = grant.estimate.seats();
        let until = (!grant.estimate.additional.is_zero()).then(|| now + grant.estimate.additional);
        match until {
            Some(until) => self.lingering.push(Reverse((until, seats, grant.queue))),
            None => self.release(seats, grant.queue),
        }
        self.observe(now);
        self.dispatch(now);
        until.filter(|_| self.totals.waiting > 0)
    }

    /// Lets go of what has lingered long enough, and lets others in.
    pub(super) fn poke(&mut self, now: Instant) -> Option<Instant> {
        self.advance(now);
        self.dispatch(now);
        self.lingering.peek().map(|Reverse((until, ..))| *until).filter(|_| self.totals.waiting > 0)
    }

    pub(super) fn for_each_queue(&self, mut show: impl FnMut(usize, QueueView<'_>)) {
        for (index, queue) in self.queues.iter().enumerate() {
            let sum = |of: fn(&Estimate) -> u64| queue.waiting.iter().map(|waiting| of(&waiting.estimate)).sum();
            let work: Work = queue.waiting.iter().map(|waiting| waiting.estimate.work()).sum();
            show(
                index,
                QueueView {
                    pending: queue.waiting.len(),
                    executing: queue.executing,
                    seats_in_use: queue.seats_in_use,
                    next_dispatch: queue.next_dispatch,
                    initial_seats: sum(|estimate| u64::from(estimate.initial)),
                    seats: sum(|estimate| estimate.seats()),
                    work,
                    waiting: &mut queue.waiting.iter().map(|waiting| (&waiting.digest, waiting.estimate)),
                },
            );
        }
    }

    /// Moves virtual time on, and lets go of what has lingered long enough.
    fn advance(&mut self, now: Instant) {
        while let Some(Reverse((until, seats, queue))) = self.lingering.peek().copied()
            && until <= now
        {
            self.lingering.pop();
            self.release(seats, queue);
        }
        let elapsed = now.saturating_duration_since(self.last);
        self.last = now;
        if self.active > 0 {
            let wanted = (self.totals.seats_in_use + self.totals.seats_waiting).min(self.seats);
            self.now += work(wanted, elapsed) / Work::from(self.active);
        }
    }

    /// The least loaded queue of the flow's hand.
    fn choose(&mut self, hash: u64, queues: usize, hand: usize) -> usize {
        let offset = self.enqueues % hand.max(1);
        self.enqueues = self.enqueues.wrapping_add(1);
        let dealt: [usize; dealer::LARGEST_HAND] = {
            let mut cards = [0; dealer::LARGEST_HAND];
            dealer::deal(hash, queues, hand).zip(&mut cards).for_each(|(card, slot)| *slot = card);
            cards
        };
        let load = |index: usize| -> Work {
            self.queues
                .get(index)
                .map_or(Work::MAX, |queue| queue.waiting.iter().map(|waiting| waiting.estimate.work()).sum())
        };
        if self.totals.waiting == 0 {
            return dealt[offset.min(dealer::LARGEST_HAND - 1)];
        }
        (0..hand).map(|index| dealt[(offset + index) % hand]).min_by_key(|index| load(*index)).unwrap_or_default()
    }

    fn can_take(&self, seats: u64) -> bool {
        if seats > self.seats {
            // Wider than all there is: alone, or never.
            return self.totals.executing == 0;
        }
        self.totals.seats_in_use + seats <= self.seats
    }

    fn dispatch(&mut self, now: Instant) {
        while self.totals.waiting > 0 && self.totals.seats_in_use < self.seats && self.dispatch_one(now) {}
    }

    fn dispatch_one(&mut self, now: Instant) -> bool {
        let count = self.queues.len();
        let mut best: Option<(Work, usize)> = None;
        for _ in 0..count {
            self.robin = (self.robin + 1) % count;
            let Some(queue) = self.queues.get(self.robin) else { continue };
            let Some(oldest) = queue.waiting.front() else { continue };
            let finish = queue.next_dispatch + oldest.estimate.work();
            if best.is_none_or(|(least, _)| finish < least) {
                best = Some((finish, self.robin));
            }
        }
        let Some((_, index)) = best else { return false };
        self.robin = index;
        let seats =
            self.queues.get(index).and_then(|queue| queue.waiting.front()).map_or(0, |oldest| oldest.estimate.seats());
        if !self.can_take(seats) {
            return false;
        }
        let Some(queue) = self.queues.get_mut(index) else { return false };
        let Some(oldest) = queue.waiting.pop_front() else { return false };
        let was_alone = queue.is_idle();
        self.totals.waiting -= 1;
        self.totals.seats_waiting -= seats;
        let Waiting { estimate, granted, .. } = oldest;
        if granted.is_closed() {
            // Its client has gone; it is not served.
            self.active -= u64::from(was_alone);
            self.totals.cancelled += 1;
            self.bound(index);
            return true;
        }
        queue.next_dispatch += estimate.work();
        let grant = self.grant(Some(index), estimate, now);
        if granted.send(grant).is_err() {
            self.finish_unused(grant, now);
        }
        self.bound(index);
        true
    }

    fn finish_unused(&mut self, grant: Grant, now: Instant) {
        let unused = Grant { estimate: Estimate { additional: Duration::ZERO, ..grant.estimate }, ..grant };
        self.totals.executing -= 1;
        self.totals.dispatched -= 1;
        if let Some(index) = unused.queue
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.executing -= 1;
            self.active -= u64::from(queue.is_idle());
        }
        self.release(unused.estimate.seats(), unused.queue);
        self.observe(now);
    }

    fn grant(&mut self, queue: Option<usize>, estimate: Estimate, now: Instant) -> Grant {
        self.totals.executing += 1;
        self.totals.dispatched += 1;
        self.totals.seats_in_use += estimate.seats();
        if let Some(index) = queue
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.executing += 1;
            queue.seats_in_use += estimate.seats();
        }
        self.observe(now);
        Grant { queue, estimate, started: now }
    }

    fn release(&mut self, seats: u64, queue: Option<usize>) {
        self.totals.seats_in_use -= seats;
        if let Some(index) = queue
            && let Some(queue) = self.queues.get_mut(index)
        {
            queue.seats_in_use -= seats;
        }
    }

    /// A queue may not save up the past: it is not served as if it had been waiting before it did.
    fn bound(&mut self, index: usize) {
        if let Some(queue) = self.queues.get_mut(index)
            && let Some(oldest) = queue.waiting.front()
        {
            queue.next_dispatch = queue.next_dispatch.max(oldest.arrived);
        }
    }

    fn observe(&mut self, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "seats are few")]
        let wanted = (self.totals.seats_in_use + self.totals.seats_waiting) as f64;
        self.demand.set(wanted, now);
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }
}

/// One queue, for the dumps.
pub(super) struct QueueView<'a> {
    pub(super) pending: usize,
    pub(super) executing: usize,
    pub(super) seats_in_use: u64,
    pub(super) next_dispatch: i128,
    pub(super) initial_seats: u64,
    pub(super) seats: u64,
    pub(super) work: i128,
    pub(super) waiting: &'a mut dyn Iterator<Item = (&'a Digest, Estimate)>,
}

// === impl Demand ===

impl Demand {
    fn new(now: Instant) -> Self {
        Self { value: 0.0, since: now, start: now, sum: 0.0, squares: 0.0, max: 0.0 }
    }

    fn set(&mut self, value: f64, now: Instant) {
        self.integrate(now);
        self.value = value;
        self.max = self.max.max(value);
    }

    fn integrate(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        self.sum += self.value * seconds;
        self.squares += self.value * self.value * seconds;
        self.since = now;
    }

    /// What was wanted since the last reset.
    pub(super) fn reset(&mut self, now: Instant) -> Seen {
        self.integrate(now);
        let seconds = now.saturating_duration_since(self.start).as_secs_f64();
        let seen = if seconds > 0.0 {
            let average = self.sum / seconds;
            let deviation = (self.squares / seconds - average * average).max(0.0).sqrt();
            Seen { average, deviation, max: self.max }
        } else {
            Seen { average: self.value, deviation: 0.0, max: self.max }
        };
        // The value goes on.
        *self = Self { value: self.value, max: self.value, ..Self::new(now) };
        seen
    }
}

#[cfg(test)]
mod tests;
