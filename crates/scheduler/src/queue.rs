//! Pods that wait for a node: those to try now, those to try after a pause, and those that nothing has helped yet.
//! Upstream: `pkg/scheduler/backend/queue.PriorityQueue`.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use apimachinery::ObjectKey;
use tokio::time::Instant;

use crate::{events::Events, pod::PodInfo};

/// First pause after a failed try, doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// After this long a pod is tried again although nothing seems to have helped.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// A waiting pod.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) info: PodInfo,
    attempts: u32,
    since: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// Until then.
    Backoff(Instant),
    /// No node fits; these events can help.
    Unschedulable {
        helps: Events,
        until: Instant,
        backoff: Instant,
    },
    /// Held by its scheduling gates.
    Gated,
    /// Being bound.
    InFlight,
}

/// Order of the active pods: higher priority first, then who waits longest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turn {
    priority: i32,
    since: Instant,
    key: ObjectKey,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.priority, self.since, &self.key).cmp(&(self.priority, other.since, &other.key))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pods: HashMap<ObjectKey, Waiting>,
    active: BTreeSet<Turn>,
    /// When to look at a pod again.
    timers: BTreeSet<(Instant, ObjectKey)>,
}

impl Queue {
    /// A pod that is to be scheduled, new or changed.
    pub(crate) fn update(&mut self, info: PodInfo, now: Instant) {
        let gated = info.gates().next().is_some();
        let key = info.key.clone();
        match self.take(&key) {
            Some(old) if old.info.uid() == info.uid() => {
                let changed =
                    old.info.pod.spec != info.pod.spec || old.info.pod.metadata.labels != info.pod.metadata.labels;
                let state = match old.state {
                    _ if gated => State::Gated,
                    State::Gated => State::Active,
                    State::Unschedulable { helps, .. } if changed && helps.intersects(Events::OWN_UPDATE) => {
                        State::Active
                    }
                    state => state,
                };
                self.put(Waiting { info, state, ..old });
            }
            _ => {
                let state = if gated { State::Gated } else { State::Active };
                self.put(Waiting { info, attempts: 0, since: now, state });
            }
        }
    }

    /// A pod that needs no node any more.
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        self.take(key);
    }

    /// The next pod to try. It stays known, as being tried, until one of the calls below.
    pub(crate) fn pop(&mut self) -> Option<PodInfo> {
        let turn = self.active.first()?.clone();
        let mut waiting = self.take(&turn.key)?;
        waiting.attempts += 1;
        waiting.state = State::InFlight;
        let info = waiting.info.clone();
        self.put(waiting);
        Some(info)
    }

    /// No node fits; `helps` can change that.
    pub(crate) fn unschedulable(&mut self, key: &ObjectKey, helps: Events, now: Instant) {
        if let Some(mut waiting) = self.take(key) {
            let backoff = now + backoff(waiting.attempts);
            waiting.state = State::Unschedulable { helps, until: now + UNSCHEDULABLE_MAX, backoff };
            self.put(waiting);
        }
    }

    /// Something else went wrong; try again after a pause.
    pub(crate) fn retry(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(mut waiting) = self.take(key) {
            waiting.state = State::Backoff(now + backoff(waiting.attempts));
            self.put(waiting);
        }
    }

    /// Something happened in the cluster: pods that it can help are tried again.
    pub(crate) fn on_events(&mut self, events: Events, now: Instant) {
        if events == Events::NONE {
            return;
        }
        let helped: Vec<ObjectKey> = self
            .pods
            .values()
            .filter(|waiting| matches!(waiting.state, State::Unschedulable { helps, .. } if helps.intersects(events)))
            .map(|waiting| waiting.info.key.clone())
            .collect();
        for key in helped {
            self.reconsider(&key, now);
        }
    }

    /// Moves the pods whose pause is over; call it at [`Queue::next_timer`].
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key.clone()));
            self.reconsider(&key, now);
        }
    }

    /// When a pause ends next.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn reconsider(&mut self, key: &ObjectKey, now: Instant) {
        let Some(mut waiting) = self.take(key) else { return };
        waiting.state = match waiting.state {
            State::Unschedulable { backoff, .. } if backoff > now => State::Backoff(backoff),
            State::Backoff(at) if at > now => State::Backoff(at),
            State::Unschedulable { .. } | State::Backoff(_) => State::Active,
            other => other,
        };
        self.put(waiting);
    }

    fn put(&mut self, waiting: Waiting) {
        let key = waiting.info.key.clone();
        match waiting.state {
            State::Active => {
                self.active.insert(turn(&waiting));
            }
            State::Backoff(at) | State::Unschedulable { until: at, .. } => {
                self.timers.insert((at, key.clone()));
            }
            State::Gated | State::InFlight => {}
        }
        self.pods.insert(key, waiting);
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Waiting> {
        let waiting = self.pods.remove(key)?;
        match waiting.state {
            State::Active => {
                self.active.remove(&turn(&waiting));
            }
            State::Backoff(at) | State::Unschedulable { until: at, .. } => {
                self.timers.remove(&(at, key.clone()));
            }
            State::Gated | State::InFlight => {}
        }
        Some(waiting)
    }
}

fn turn(waiting: &Waiting) -> Turn {
    Turn { priority: waiting.info.priority, since: waiting.since, key: waiting.info.key.clone() }
}

fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX_BACKOFF)
}
