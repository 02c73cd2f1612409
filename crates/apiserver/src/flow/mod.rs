//! Priority and fairness: who is served first when there is more to do than can be done.
//!
//! A request is matched to a FlowSchema, which names a priority level; the level has seats, and queues for those who wait
//! for one. Seats are held until the answer was sent, as far as it is made while it is sent. Levels lend each other what
//! they do not use. When nobody waits, a request costs a look through the schemas and a lock, and no timer runs.
//! Upstream: `apiserver/pkg/util/flowcontrol` and `server/filters/priority-and-fairness.go`.

mod config;
mod dealer;
mod dropped;
mod dump;
mod metrics;
mod queues;
mod seats;
mod shares;
mod status;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::{FutureExt as _, select};
use http::HeaderValue;
use registry::{Registry, UserInfo, options::Query};
use store::{Filter, WatchError};
use supervisor::Supervisor;
use tokio::sync::{Notify, oneshot};

use self::{
    config::{CATCH_ALL, Distinguisher, FlowSchema, Level, Limit},
    dropped::Dropped,
    queues::{Digest, Estimate, Grant, Queues, Start},
    shares::Claim,
};
use crate::request_info::RequestInfo;

pub(crate) use dump::{levels as dump_levels, queues as dump_queues, requests as dump_requests};

/// How often levels borrow and give back, while there is anything to borrow. Upstream: `borrowingAdjustmentPeriod`.
const BORROW_EVERY: Duration = Duration::from_secs(10);
/// Upstream's `seatDemandSmoothingCoefficient`.
const SMOOTHING: f64 = 0.977;
/// Most of a level's seats that one request gets. Upstream: `priorityLevelMaxSeatsPercent`.
const WIDEST: f64 = 0.15;
const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";

/// The controller and its levels. A clone is a reference count.
#[derive(Clone)]
pub(crate) struct Flow(Arc<Inner>);

struct Inner {
    state: ArcSwap<State>,
    dropped: parking_lot::Mutex<HashMap<String, Dropped>>,
    /// Seats that all levels share.
    concurrency: u32,
    /// How long a request may wait for a seat: a quarter of what it may take.
    patience: Duration,
    supervisor: Supervisor,
    /// Somebody had to wait, or took much: borrowing is worth looking at.
    busy: Notify,
    started: Instant,
}

#[derive(Default)]
struct State {
    /// In the order in which they are tried; the last one takes everybody.
    schemas: Vec<Arc<Schema>>,
    levels: BTreeMap<String, Arc<LevelState>>,
}

struct Schema {
    schema: FlowSchema,
    level: Arc<LevelState>,
    header: HeaderValue,
    counters: metrics::Counters,
}

struct LevelState {
    level: ArcSwap<Level>,
    header: ArcSwap<HeaderValue>,
    queues: parking_lot::Mutex<Queues>,
    shares: parking_lot::Mutex<Shares>,
    /// It is not there any more; what waits in it is still served.
    quiescing: AtomicBool,
    /// A task lets go of seats that linger.
    poking: AtomicBool,
}

/// How many seats a level has.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    nominal: u32,
    least: u32,
    most: u32,
    current: u32,
    smoothed: f64,
    /// Of one request.
    widest: u32,
}

/// What a request is about, for its estimate and its match.
pub(crate) struct Asking<'a> {
    pub(crate) info: &'a RequestInfo,
    pub(crate) query: &'a Query,
    pub(crate) user: &'a UserInfo,
    pub(crate) registry: &'a Registry,
}

/// Which schema and level a request belongs to, as the answer's headers say.
#[derive(Clone)]
pub(crate) struct Class(Arc<Schema>);

/// A place among those that are served. Dropping it lets the next one in.
pub(crate) struct Seats {
    flow: Flow,
    class: Class,
    grant: Option<Grant>,
    since: Instant,
}

/// There is no place.
pub(crate) struct Refused {
    pub(crate) class: Class,
    /// Seconds.
    pub(crate) retry_after: u32,
}

// === impl Flow ===

impl Flow {
    /// Knows the mandatory objects only, until [`Flow::follow`].
    pub(crate) fn new(concurrency: u32, patience: Duration, supervisor: &Supervisor) -> Self {
        let flow = Self(Arc::new(Inner {
            state: ArcSwap::default(),
            dropped: parking_lot::Mutex::default(),
            concurrency,
            patience,
            supervisor: supervisor.clone(),
            busy: Notify::new(),
            started: Instant::now(),
        }));
        flow.digest(Vec::new(), Vec::new());
        flow
    }

    /// Keeps to what is stored, from now on.
    pub(crate) fn follow(&self, registry: &Registry) {
        let (flow, registry) = (self.clone(), registry.clone());
        self.0.supervisor.spawn("priority and fairness", async move { flow.keep_up(&registry).await });
        let flow = self.clone();
        self.0.supervisor.spawn("priority and fairness borrowing", async move { flow.borrow_and_lend().await });
    }

    /// Waits for seats, not longer than is worth it.
    pub(crate) async fn enter(&self, asking: Asking<'_>) -> Result<Seats, Refused> {
        let class = self.classify(asking.info, asking.user);
        let now = Instant::now();
        let started = {
            let level = &class.0.level;
            let estimate = class.estimate(&asking);
            let hash = class.hash(&asking);
            level.queues.lock().start(estimate, hash, || class.digest(&asking), now)
        };
        let counters = &class.0.counters;
        match started {
            Start::Granted(grant) => Ok(Seats::new(self, class, grant, now)),
            Start::Rejected(why) => {
                counters.rejected(why);
                Err(self.refuse(class))
            }
            Start::Queued { id, queue, granted } => {
                self.0.busy.notify_one();
                counters.waiting.add(1);
                let mut place = Waiting { flow: self, class: &class, id, queue, granted, left: false };
                let granted = tokio::time::timeout(self.0.patience, &mut place.granted).await;
                let grant = match granted {
                    Ok(Ok(grant)) => {
                        place.left = true;
                        Some(grant)
                    }
                    _ => place.leave(true),
                };
                drop(place);
                counters.waited(grant.is_some(), now.elapsed());
                match grant {
                    Some(grant) => Ok(Seats::new(self, class, grant, Instant::now())),
                    None => {
                        counters.rejected("time-out");
                        Err(self.refuse(class))
                    }
                }
            }
        }
    }

    fn classify(&self, info: &RequestInfo, user: &UserInfo) -> Class {
        let state = self.0.state.load();
        let found = state.schemas.iter().find(|schema| schema.schema.matches(info, user));
        // Upstream: who matches nothing is with the catch-all, which is last.
        let catch_all = || state.schemas.iter().rfind(|schema| schema.schema.name == CATCH_ALL);
        match found.or_else(catch_all).or(state.schemas.last()) {
            Some(schema) => Class(Arc::clone(schema)),
            // There are always the mandatory ones.
            None => unreachable!("no flow schema"),
        }
    }

    fn refuse(&self, class: Class) -> Refused {
        let second = self.0.started.elapsed().as_secs() + 1_000;
        let mut dropped = self.0.dropped.lock();
        let retry_after = dropped.entry(class.0.schema.level.clone()).or_default().record(second);
        self.0.busy.notify_one();
        Refused { class, retry_after }
    }

    fn finish(&self, class: &Class, grant: Grant) {
        let level = &class.0.level;
        let until = level.queues.lock().finish(grant, Instant::now());
        if let Some(until) = until {
            self.poke_at(level, until);
        }
    }

    /// Those who wait get the seats that linger, as soon as they are free.
    fn poke_at(&self, level: &Arc<LevelState>, until: Instant) {
        if level.poking.swap(true, Ordering::AcqRel) {
            return;
        }
        let level = Arc::clone(level);
        self.0.supervisor.spawn("lingering seats", async move {
            let mut until = until;
            loop {
                tokio::time::sleep_until(until.into()).await;
                let next = level.queues.lock().poke(Instant::now());
                match next {
                    Some(next) => until = next,
                    None => break,
                }
            }
            level.poking.store(false, Ordering::Release);
        });
    }

    // === Configuration ===

    async fn keep_up(&self, registry: &Registry) {
        let store = registry.store().clone();
        let (schemas, levels) = (store.resource(SCHEMAS), store.resource(LEVELS));
        loop {
            let from = store.revision();
            let all = |resource: &store::Resource| -> Vec<Bytes> {
                resource.snapshot().iter().map(|entry| entry.bytes().clone()).collect()
            };
            let (stored_schemas, stored_levels) = (all(&schemas), all(&levels));
            let parsed = stored_levels.iter().filter_map(|bytes| Level::parse(bytes)).collect();
            self.digest(stored_schemas.iter().filter_map(|bytes| FlowSchema::parse(bytes)).collect(), parsed);
            let known = |name: &str| self.0.state.load().levels.get(name).is_some_and(|level| !level.is_quiescing());
            status::write(registry, &stored_schemas, known).await;
            let watches = [&schemas, &levels].map(|resource| resource.watch(from, Filter::all()));
            let [Ok(mut schemas), Ok(mut levels)] = watches else { return };
            let next = select(Box::pin(schemas.next()), Box::pin(levels.next())).await;
            if let (Err(WatchError::Closed), _) = next.factor_first() {
                return;
            }
        }
    }

    /// Takes over what is configured. What waits keeps its place.
    fn digest(&self, mut schemas: Vec<FlowSchema>, mut levels: Vec<Level>) {
        for mandatory in Level::mandatory() {
            if !levels.iter().any(|level| level.name == mandatory.name) {
                levels.push(mandatory);
            }
        }
        schemas.retain(|schema| levels.iter().any(|level| level.name == schema.level));
        for mandatory in FlowSchema::mandatory() {
            if !schemas.iter().any(|schema| schema.name == mandatory.name) {
                schemas.push(mandatory);
            }
        }
        schemas.sort_by(|left, right| left.order().cmp(&right.order()));
        let (before, now) = (self.0.state.load_full(), Instant::now());
        let mut states: BTreeMap<String, Arc<LevelState>> = BTreeMap::new();
        for level in levels {
            let state = match before.levels.get(&level.name) {
                Some(state) => Arc::clone(state),
                None => Arc::new(LevelState::new(&level, now)),
            };
            state.quiescing.store(false, Ordering::Release);
            state.header.store(Arc::new(header(&level.uid)));
            let name = level.name.clone();
            state.level.store(Arc::new(level));
            states.insert(name, state);
        }
        for (name, state) in &before.levels {
            if !states.contains_key(name) && !state.queues.lock().is_idle() {
                state.quiescing.store(true, Ordering::Release);
                states.insert(name.clone(), Arc::clone(state));
            }
        }
        let schemas = schemas
            .into_iter()
            .filter_map(|schema| {
                let level = Arc::clone(states.get(&schema.level)?);
                let counters = metrics::Counters::new(&schema.level, &schema.name);
                Some(Arc::new(Schema { header: header(&schema.uid), schema, level, counters }))
            })
            .collect();
        self.0.state.store(Arc::new(State { schemas, levels: states }));
        self.nominate();
        self.lend();
    }

    /// Divides the server's seats by the levels' shares. Upstream: `finishQueueSetReconfigsLocked`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seats are small numbers, and none is negative"
    )]
    fn nominate(&self) {
        let state = self.0.state.load();
        let total: f64 = state.levels.values().map(|level| level.level.load().shares).sum();
        for (name, state) in &state.levels {
            let level = state.level.load();
            let nominal = (f64::from(self.0.concurrency) * level.shares / total.max(1.0)).ceil();
            let part = |percent: Option<f64>| percent.map(|percent| (nominal * percent / 100.0).round() as u32);
            let nominal = nominal as u32;
            let mut shares = state.shares.lock();
            let is_new = shares.most == 0;
            shares.nominal = nominal;
            shares.least = nominal - part(level.lendable_percent).unwrap_or(0).min(nominal);
            shares.most = nominal + part(level.borrowing_percent).unwrap_or(self.0.concurrency);
            shares.widest = match level.limit {
                Limit::Queue { hand, .. } => {
                    let by_hand = nominal / u32::try_from(hand).unwrap_or(1).max(1);
                    ((f64::from(nominal) * WIDEST).ceil() as u32).min(by_hand).max(1)
                }
                Limit::Exempt | Limit::Reject => 0,
            };
            if is_new {
                shares.current = nominal - (nominal - shares.least) / 2;
            }
            metrics::limits(name, shares.nominal, shares.least, shares.most);
        }
    }

    /// Lends seats that are not wanted to those who want them. True when there is nothing more to do.
    /// Upstream: `updateBorrowingLocked`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seats are small numbers, and none is negative"
    )]
    fn lend(&self) -> bool {
        let (state, now) = (self.0.state.load(), Instant::now());
        let mut claims: Vec<(Arc<LevelState>, Claim)> = Vec::new();
        let mut left = f64::from(state.levels.values().map(|level| level.shares.lock().nominal).sum::<u32>());
        let (mut least, mut least_now, mut is_quiet) = (0.0, 0.0, true);
        for level in state.levels.values() {
            let seen = level.queues.lock().demand.reset(now);
            let mut shares = level.shares.lock();
            let envelope = seen.average + seen.deviation;
            shares.smoothed = envelope.max(SMOOTHING * shares.smoothed + (1.0 - SMOOTHING) * envelope);
            if level.level.load().limit == Limit::Exempt {
                shares.current = shares.least.max(seen.max.round() as u32);
                left -= f64::from(shares.current);
                continue;
            }
            let lower = shares.least.max(shares.nominal.min(seen.max.round() as u32));
            least += f64::from(shares.least);
            least_now += f64::from(lower);
            is_quiet &= seen.max <= f64::from(shares.least) && shares.smoothed <= f64::from(shares.least.max(1));
            let target = shares.smoothed.max(f64::from(lower));
            claims.push((Arc::clone(level), Claim { lower: lower.into(), upper: shares.most.into(), target }));
        }
        let amounts: Vec<u32> = if left <= least {
            claims.iter().map(|(level, _)| level.shares.lock().least).collect()
        } else if left <= least_now {
            let part = (left - least) / (least_now - least);
            let between = |(level, claim): &(Arc<LevelState>, Claim)| {
                let least = f64::from(level.shares.lock().least);
                (least + ((claim.lower - least) * part).round()) as u32
            };
            claims.iter().map(between).collect()
        } else {
            let only: Vec<Claim> = claims.iter().map(|(_, claim)| *claim).collect();
            match shares::divide(left, &only) {
                Some(amounts) => amounts.iter().map(|amount| amount.round() as u32).collect(),
                None => claims.iter().map(|(level, _)| level.shares.lock().current).collect(),
            }
        };
        for ((level, _), amount) in claims.iter().zip(amounts) {
            level.shares.lock().current = amount;
        }
        for (name, level) in &state.levels {
            let (current, limit) = (level.shares.lock().current, level.level.load().limit);
            level.queues.lock().configure(limit, current.into(), now);
            metrics::current(name, current);
        }
        is_quiet
    }

    /// Looks at who borrows what while there is need for it; sleeps without a timer otherwise.
    async fn borrow_and_lend(&self) {
        loop {
            self.0.busy.notified().await;
            loop {
                tokio::time::sleep(BORROW_EVERY).await;
                if self.lend() {
                    break;
                }
            }
            self.reap();
        }
    }

    /// Forgets levels that are gone and that nobody waits in any more.
    fn reap(&self) {
        self.0.state.rcu(|state| {
            let is_done = |level: &LevelState| level.is_quiescing() && level.queues.lock().is_idle();
            let levels = state.levels.iter().filter(|(_, level)| !is_done(level));
            State {
                schemas: state.schemas.clone(),
                levels: levels.map(|(name, level)| (name.clone(), Arc::clone(level))).collect(),
            }
        });
    }
}

fn header(uid: &str) -> HeaderValue {
    HeaderValue::from_str(uid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

// === impl LevelState ===

impl LevelState {
    fn new(level: &Level, now: Instant) -> Self {
        Self {
            level: ArcSwap::from_pointee(level.clone()),
            header: ArcSwap::from_pointee(header(&level.uid)),
            queues: parking_lot::Mutex::new(Queues::new(level.limit, 0, now)),
            shares: parking_lot::Mutex::default(),
            quiescing: AtomicBool::new(false),
            poking: AtomicBool::new(false),
        }
    }

    fn is_quiescing(&self) -> bool {
        self.quiescing.load(Ordering::Acquire)
    }
}

// === impl Class ===

impl Class {
    /// `X-Kubernetes-PF-FlowSchema-UID` and `X-Kubernetes-PF-PriorityLevel-UID`.
    pub(crate) fn write_headers(&self, headers: &mut http::HeaderMap) {
        headers.insert("x-kubernetes-pf-flowschema-uid", self.0.header.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", HeaderValue::clone(&self.0.level.header.load()));
    }

    fn estimate(&self, asking: &Asking<'_>) -> Estimate {
        let info = asking.info;
        if self.0.level.level.load().limit == Limit::Exempt {
            return Estimate::ONE;
        }
        let kind = || asking.registry.kind(&info.group, &info.version, &info.resource);
        seats::estimate(&seats::Facts {
            info,
            query: asking.query,
            most: self.0.level.shares.lock().widest,
            objects: &|| kind().map(|kind| kind.statistics(&info.namespace)),
            watchers: &|| kind().map_or(0, |kind| kind.watchers(&info.namespace, &info.name)),
        })
    }

    fn flow<'a>(&self, asking: &Asking<'a>) -> &'a str {
        match self.0.schema.distinguisher {
            Some(Distinguisher::ByUser) => &asking.user.name,
            Some(Distinguisher::ByNamespace) => &asking.info.namespace,
            None => "",
        }
    }

    fn hash(&self, asking: &Asking<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.0.schema.name, self.flow(asking)).hash(&mut hasher);
        hasher.finish()
    }

    fn digest(&self, asking: &Asking<'_>) -> Digest {
        let info = asking.info;
        Digest {
            schema: self.0.schema.name.clone(),
            flow: self.flow(asking).to_owned(),
            user: asking.user.name.clone(),
            verb: info.verb,
            path: info.path.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_version: if info.group.is_empty() {
                info.version.clone()
            } else {
                format!("{}/{}", info.group, info.version)
            },
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            arrived: jiff::Timestamp::now(),
        }
    }
}

// === impl Seats ===

impl Seats {
    fn new(flow: &Flow, class: Class, grant: Grant, since: Instant) -> Self {
        class.0.counters.executing.add(1);
        class.0.counters.seats.add(seats_of(&grant));
        class.0.counters.dispatched.inc();
        Self { flow: flow.clone(), class, grant: Some(grant), since }
    }

    pub(crate) fn class(&self) -> &Class {
        &self.class
    }
}

fn seats_of(grant: &Grant) -> i64 {
    i64::try_from(grant.seats()).unwrap_or(i64::MAX)
}

impl Drop for Seats {
    fn drop(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        self.class.0.counters.executing.add(-1);
        self.class.0.counters.seats.add(-seats_of(&grant));
        self.class.0.counters.execution.observe_duration(self.since.elapsed());
        self.flow.finish(&self.class, grant);
    }
}

/// One that waits in a queue; when it goes, its place is free.
struct Waiting<'a> {
    flow: &'a Flow,
    class: &'a Class,
    id: u64,
    queue: usize,
    granted: oneshot::Receiver<Grant>,
    left: bool,
}

impl Waiting<'_> {
    /// The grant, where it came while leaving.
    fn leave(&mut self, timed_out: bool) -> Option<Grant> {
        self.left = true;
        let level = &self.class.0.level;
        if level.queues.lock().cancel(self.id, self.queue, timed_out, Instant::now()) {
            return None;
        }
        (&mut self.granted).now_or_never().and_then(Result::ok)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.class.0.counters.waiting.add(-1);
        if !self.left
            && let Some(grant) = self.leave(false)
        {
            self.flow.finish(self.class, grant);
        }
    }
}

#[cfg(test)]
mod tests;
