//! The one thread that writes: it orders transactions, checks their preconditions, has the engine keep a group of
//! them with one sync, shows them to readers, and only then acknowledges.
//!
//! Readers never see what is not yet kept: a change is put into the trees after the engine said that it is. So a
//! precondition is checked against what is durable, and a transaction that touches a key which another one of the
//! same group writes waits for the next group.
//!
//! With an engine that others write to as well it is the other way round: the engine checks preconditions, and what a
//! transaction changed is shown when the engine's feed says so, between the changes of the others and in their order.
//! Until then its acknowledgement is parked.
//!
//! Nothing here wakes up by itself. After a relaxed write there is one wait of at most a second for the sync it owes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use engine::{
    Changed, CommitError, Durability, Engine, EngineError, Expected, Mark, Mutation, OpenReason, Outcome, Revision,
    Template, Transaction,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::entry::{Entry, Event, EventKind};
use crate::error::StoreError;
use crate::feed::Following;
use crate::key::Key;
use crate::recovery::{self, Difference};
use crate::resource::Resource;
use crate::store::Shared;
use crate::tree::Tree;
use crate::txn::{Action, Committed, Expect, Op};

/// A group is closed at so many transactions.
const GROUP: usize = 1024;
/// Or at so many bytes.
const GROUP_BYTES: usize = 8 << 20;
/// How long a relaxed write may go without a sync.
const RELAXED: Duration = Duration::from_secs(1);
/// A shared engine that failed is opened again after this long, and then after twice as long each time.
const SHARED_REOPEN: Duration = Duration::from_millis(250);

pub(crate) enum Command {
    Commit(Request),
    /// From an engine that is shared. `life` says from which opening of it.
    Feed {
        life: u64,
        changes: Vec<Changed>,
        revision: Revision,
        /// Given back when the changes are shown.
        _room: OwnedSemaphorePermit,
    },
    Lost {
        life: u64,
        error: EngineError,
    },
    Checkpoint,
    /// The last handle is gone.
    Abandoned,
    /// Syncs, closes the engine, and ends.
    Close(oneshot::Sender<Result<(), Arc<EngineError>>>),
}

pub(crate) struct Request {
    pub(crate) ops: Vec<Op>,
    pub(crate) durability: Durability,
    pub(crate) reply: oneshot::Sender<Result<Committed, StoreError>>,
    /// Given back with the reply: the bound on what waits here.
    pub(crate) _permit: OwnedSemaphorePermit,
}

pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// For the engine's feed.
    sender: Sender<Command>,
    engine: Seat,
    /// Counts openings of the engine.
    life: u64,
    /// Kept by a shared engine, by revision, and not shown yet.
    parked: BTreeMap<Revision, Vec<Parked>>,
    /// Transactions that a group before left for the next, in order.
    waiting: VecDeque<Request>,
    /// Since when something relaxed is without a sync.
    unsynced: Option<Instant>,
    /// Which resource's history is looked at next for what is too old.
    sweep: usize,
    abandoned: bool,
    /// How often opening the engine again has failed, one time after the other.
    failures: u32,
}

enum Seat {
    Taken(Box<dyn Engine>),
    Broken { why: Arc<EngineError>, tried: Instant },
}

/// A transaction whose outcome is known, and not to be told before readers can see what it is about.
struct Parked {
    request: Request,
    conflict: bool,
    /// Of each operation, what its key had when it was parked, and then what the feed made of it.
    entries: Vec<Option<Arc<Entry>>>,
}

/// Closes the store when it goes.
struct Closing(Arc<Shared>);

/// Of the keys of one transaction, by the address of their resource.
type SmallKeys = smallvec::SmallVec<[(usize, Arc<str>); 2]>;

/// What a group does to one resource.
struct Change {
    resource: Resource,
    tree: Tree,
    events: Vec<Arc<Event>>,
}

// === impl Sequencer ===

impl Sequencer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (sender, commands): (Sender<Command>, Receiver<Command>),
        engine: Box<dyn Engine>,
    ) -> Sequencer {
        let mut sequencer = Sequencer {
            shared,
            commands,
            sender,
            engine: Seat::Taken(engine),
            life: 0,
            parked: BTreeMap::new(),
            waiting: VecDeque::new(),
            unsynced: None,
            sweep: 0,
            abandoned: false,
            failures: 0,
        };
        sequencer.follow();
        sequencer
    }

    /// Has a shared engine tell what changes from now on.
    fn follow(&mut self) {
        if !self.shared.factory.is_shared() {
            return;
        }
        self.life += 1;
        if let Seat::Taken(engine) = &mut self.engine {
            engine.follow(Box::new(Following::new(self.life, self.sender.clone())));
            *self.shared.head.lock() = engine.head();
        }
    }

    /// Until it is told to close, or every handle of the store is gone.
    pub(crate) fn run(mut self) {
        // Also when this thread panics: nobody is to wait for an answer that never comes.
        let _closing = Closing(Arc::clone(&self.shared));
        let reply = self.serve();
        *self.shared.head.lock() = None;
        for parked in std::mem::take(&mut self.parked) {
            self.answer_parked(parked);
        }
        let closed = match self.engine {
            Seat::Taken(engine) => engine.close().map_err(Arc::new),
            Seat::Broken { why, .. } => Err(why),
        };
        if let Err(error) = &closed {
            tracing::error!(error = error as &dyn std::error::Error, "closing the store's engine failed");
        }
        if let Some(reply) = reply {
            self.shared.close();
            // Nobody waiting for it is no failure.
            reply.send(closed).ok();
        }
    }

    /// Gives back who wants it closed.
    fn serve(&mut self) -> Option<oneshot::Sender<Result<(), Arc<EngineError>>>> {
        loop {
            if self.unsynced.is_some_and(|since| since.elapsed() >= RELAXED) {
                self.sync();
            }
            if self.waiting.is_empty() {
                match self.next()? {
                    Command::Commit(request) => self.waiting.push_back(request),
                    Command::Close(reply) => return Some(reply),
                    other => {
                        self.take_notice(other);
                        continue;
                    }
                }
            }
            if let Some(reply) = self.fill() {
                while !self.waiting.is_empty() {
                    self.commit_group();
                }
                return Some(reply);
            }
            self.commit_group();
        }
    }

    /// The next command. Syncs what is owed when its time has come, and opens a shared engine again that failed: what
    /// others write is to be seen also when nobody here writes.
    fn next(&mut self) -> Option<Command> {
        while !self.abandoned {
            let wait = match (&self.engine, self.unsynced) {
                (Seat::Broken { tried, .. }, _) if self.shared.factory.is_shared() => {
                    let pause = SHARED_REOPEN * 2_u32.pow(self.failures.min(7));
                    self.shared.options.reopen.max(pause).saturating_sub(tried.elapsed())
                }
                (_, Some(since)) => RELAXED.saturating_sub(since.elapsed()),
                (_, None) => Duration::MAX,
            };
            let command = match wait {
                Duration::MAX => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                wait => self.commands.recv_timeout(wait),
            };
            match command {
                // This thread holds a sender itself, for the feed.
                Ok(Command::Abandoned) => self.abandoned = true,
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if matches!(self.engine, Seat::Broken { .. }) => {
                    self.reopen_or_note();
                }
                Err(RecvTimeoutError::Timeout) => self.sync(),
            }
        }
        None
    }

    /// What is neither a transaction nor the end.
    fn take_notice(&mut self, command: Command) {
        match command {
            Command::Feed { life, changes, revision, _room } if life == self.life => {
                if let Err(error) = self.show(changes, revision) {
                    self.broke(error);
                }
            }
            Command::Lost { life, error } if life == self.life => {
                self.broke(error);
            }
            Command::Checkpoint => self.begin_checkpoint(),
            Command::Abandoned => self.abandoned = true,
            Command::Feed { .. } | Command::Lost { .. } | Command::Commit(_) | Command::Close(_) => {}
        }
    }

    /// Takes what else has come in by now. Gives back who wants it closed.
    fn fill(&mut self) -> Option<oneshot::Sender<Result<(), Arc<EngineError>>>> {
        while self.waiting.len() < GROUP {
            match self.commands.try_recv() {
                Ok(Command::Commit(request)) => self.waiting.push_back(request),
                Ok(Command::Close(reply)) => return Some(reply),
                Ok(other) => self.take_notice(other),
                Err(_) => return None,
            }
        }
        None
    }

    fn commit_group(&mut self) {
        if let Err(error) = self.seat_engine() {
            for request in self.waiting.drain(..) {
                answer(request.reply, Err(StoreError::Unavailable(Arc::clone(&error))));
            }
            return;
        }
        let (group, batch) = self.choose_group();
        if batch.is_empty() {
            return;
        }
        let Seat::Taken(engine) = &mut self.engine else { return };
        match engine.commit(&batch) {
            Ok(outcomes) => {
                drop(batch);
                self.apply(group, &outcomes);
            }
            Err(CommitError::Refused(error)) => {
                let error = Arc::new(error);
                tracing::error!(error = &error as &dyn std::error::Error, "the store's engine refused a write");
                for request in group {
                    answer(request.reply, Err(StoreError::Unavailable(Arc::clone(&error))));
                }
            }
            Err(CommitError::Broken(error)) => {
                let error = self.broke(error);
                for request in group {
                    answer(request.reply, Err(StoreError::Unknown(Arc::clone(&error))));
                }
            }
        }
    }

    /// Takes from those waiting whose preconditions hold, answers those whose do not, and leaves those that depend
    /// on the others.
    fn choose_group(&mut self) -> (Vec<Request>, Vec<Transaction>) {
        let (mut group, mut batch) = (Vec::new(), Vec::new());
        let mut left = VecDeque::new();
        let mut touched = HashSet::new();
        let mut bytes = 0;
        let shared = Arc::clone(&self.shared);
        for mut request in self.waiting.drain(..) {
            let keys: SmallKeys =
                request.ops.iter().map(|op| (op.resource.identity(), Arc::clone(op.key.path()))).collect();
            if batch.len() >= GROUP || bytes > GROUP_BYTES || keys.iter().any(|key| touched.contains(key)) {
                touched.extend(keys);
                left.push_back(request);
                continue;
            }
            match prepare(&mut request, &shared) {
                Ok(transaction) => {
                    touched.extend(keys);
                    bytes += transaction.mutations.iter().map(weight).sum::<usize>();
                    batch.push(transaction);
                    group.push(request);
                }
                Err(error) => answer(request.reply, Err(error)),
            }
        }
        self.waiting = left;
        (group, batch)
    }

    /// Shows a group that is kept to readers, then acknowledges it, then wakes watchers.
    fn apply(&mut self, group: Vec<Request>, outcomes: &[Outcome]) {
        let now = (self.shared.options.now)();
        let relaxed = group.iter().all(|request| request.durability == Durability::Relaxed);
        self.unsynced = if relaxed { self.unsynced.or(Some(Instant::now())) } else { None };

        let is_shared = self.shared.factory.is_shared();
        let mut changes = Vec::new();
        let mut replies = Vec::with_capacity(group.len());
        let mut last = Revision::ZERO;
        for (request, outcome) in group.into_iter().zip(outcomes) {
            let result = match outcome {
                Outcome::Committed(revision) | Outcome::Conflict(revision) if is_shared => {
                    self.park(request, *revision, matches!(outcome, Outcome::Conflict(_)));
                    continue;
                }
                Outcome::Committed(revision) => {
                    last = last.max(*revision);
                    let entries = request.ops.iter().map(|op| record_change(&mut changes, op, *revision)).collect();
                    Ok(Committed { revision: *revision, entries })
                }
                Outcome::Conflict(_) => Err(conflict(&request.ops)),
                Outcome::Failed { error, unknown: true } => Err(StoreError::Unknown(Arc::clone(error))),
                Outcome::Failed { error, unknown: false } => Err(StoreError::Unavailable(Arc::clone(error))),
            };
            // The permit goes with the request.
            replies.push((request.reply, result));
        }
        publish(&self.shared, &changes, last, now);
        for (reply, result) in replies {
            answer(reply, result);
        }
        wake(&self.shared, &changes, last);
        drop(changes);

        self.sweep_history(now);
        self.offer_checkpoint();
    }

    fn park(&mut self, request: Request, revision: Revision, conflict: bool) {
        let current = |op: &Op| op.resource.shelf().current.load().tree.get(op.key.as_str()).cloned();
        let entries = request.ops.iter().map(current).collect();
        let parked = (revision, vec![Parked { request, conflict, entries }]);
        if revision <= self.shared.progress.revision() {
            self.answer_parked(parked);
        } else {
            self.parked.entry(parked.0).or_default().extend(parked.1);
        }
    }

    /// Shows what a shared engine says has happened, and acknowledges what was waiting for it.
    fn show(&mut self, changed: Vec<Changed>, revision: Revision) -> Result<(), EngineError> {
        let seen = self.shared.progress.revision();
        let mut changes = Vec::new();
        for change in changed {
            let at = match &change {
                Changed::Put(record) => record.modified,
                Changed::Delete { revision, .. } => *revision,
            };
            if at <= seen {
                continue;
            }
            match own_op(&mut self.parked, &change, at) {
                // What was put is at hand, so that it need not be decoded, or decrypted, to be known.
                Some((op, entry)) => *entry = Some(record_change(&mut changes, op, at)),
                None => record_foreign(&self.shared, &mut changes, change, at)?,
            }
        }
        let now = (self.shared.options.now)();
        publish(&self.shared, &changes, revision, now);
        let waiting = match revision.0.checked_add(1) {
            Some(next) => self.parked.split_off(&Revision(next)),
            None => BTreeMap::new(),
        };
        for parked in std::mem::replace(&mut self.parked, waiting) {
            self.answer_parked(parked);
        }
        wake(&self.shared, &changes, revision);
        self.sweep_history(now);
        Ok(())
    }

    fn answer_parked(&self, (revision, parked): (Revision, Vec<Parked>)) {
        for Parked { request, conflict: conflicts, entries } in parked {
            let result = match conflicts {
                true => Err(conflict(&request.ops)),
                false => {
                    let entry = |(op, entry): (&Op, Option<Arc<Entry>>)| match entry {
                        Some(entry) if entry.mod_revision() == revision => entry,
                        before => as_committed(op, before, revision),
                    };
                    let entries = request.ops.iter().zip(entries).map(entry).collect();
                    Ok(Committed { revision, entries })
                }
            };
            answer(request.reply, result);
        }
    }

    fn sync(&mut self) {
        self.unsynced = None;
        let Seat::Taken(engine) = &mut self.engine else { return };
        if let Err(error) = engine.sync() {
            self.broke(error);
        }
    }

    fn offer_checkpoint(&mut self) {
        let Seat::Taken(engine) = &mut self.engine else { return };
        if engine.wants_checkpoint() {
            self.begin_checkpoint();
        }
    }

    fn begin_checkpoint(&mut self) {
        let Seat::Taken(engine) = &mut self.engine else { return };
        // Only this thread changes trees: together they are the state after the last commit.
        let trees: Vec<(Arc<str>, Tree)> = self
            .shared
            .resources()
            .iter()
            .map(|resource| (Arc::clone(&resource.shelf().name), resource.shelf().current.load().tree.clone()))
            .collect();
        let codec = Arc::clone(&self.shared.options.codec);
        let live = trees.into_iter().flat_map(move |(name, tree)| {
            let codec = Arc::clone(&codec);
            tree.cursor("").map(move |entry| entry.record(&name, &*codec))
        });
        if let Err(error) = engine.checkpoint(Box::new(live)) {
            tracing::error!(error = &error as &dyn std::error::Error, "the store's checkpoint failed");
        }
    }

    /// One resource a group: what nobody writes to any more is not to keep its past for ever.
    fn sweep_history(&mut self, now: Instant) {
        let limits = &self.shared.options.history;
        let resources = self.shared.resources();
        let Some(resource) = resources.get(self.sweep % resources.len().max(1)) else { return };
        self.sweep = self.sweep.wrapping_add(1);
        if resource.shelf().history.read().is_over(limits, now) {
            resource.shelf().history.write().compact(limits, now);
        }
    }

    /// From here on nothing is acknowledged until the engine was opened again.
    fn broke(&mut self, error: EngineError) -> Arc<EngineError> {
        let why = Arc::new(error);
        tracing::error!(error = &why as &dyn std::error::Error, "the store's engine failed, it is opened again");
        self.unsynced = None;
        *self.shared.head.lock() = None;
        self.engine = Seat::Broken { why: Arc::clone(&why), tried: Instant::now() };
        self.reopen_or_note();
        why
    }

    fn reopen_or_note(&mut self) {
        match self.reopen() {
            Ok(()) => self.failures = 0,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.engine = Seat::Broken { why: error, tried: Instant::now() };
            }
        }
    }

    /// An engine that failed is opened again when somebody wants to write, but not for each of them.
    fn seat_engine(&mut self) -> Result<(), Arc<EngineError>> {
        match &self.engine {
            Seat::Taken(_) => Ok(()),
            Seat::Broken { why, tried } if tried.elapsed() < self.shared.options.reopen => Err(Arc::clone(why)),
            Seat::Broken { .. } => self.reopen().inspect_err(|why| {
                self.engine = Seat::Broken { why: Arc::clone(why), tried: Instant::now() };
            }),
        }
    }

    /// What was on its way when the engine failed may be kept or not: it is compared with what is in memory, and what
    /// is more there is shown as changes like any other. What is less (relaxed transactions) is written again.
    fn reopen(&mut self) -> Result<(), Arc<EngineError>> {
        match self.try_reopen() {
            Ok(revision) => {
                tracing::info!(revision = revision.0, "the store's engine is open again");
                Ok(())
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store's engine cannot be opened again");
                Err(Arc::new(error))
            }
        }
    }

    fn try_reopen(&mut self) -> Result<Revision, EngineError> {
        let codec = &self.shared.options.codec;
        let (mut engine, found) = recovery::open(&*self.shared.factory, codec, OpenReason::Failure)?;
        let (changes, revision) = match recovery::difference(&self.shared, &found)? {
            Difference::Ahead(changes) => {
                let change = |(resource, tree, events)| Change { resource, tree, events };
                (changes.into_iter().map(change).collect(), found.revision)
            }
            Difference::Behind(missing) => write_again(&mut *engine, missing)?,
        };
        publish(&self.shared, &changes, revision, (self.shared.options.now)());
        wake(&self.shared, &changes, revision);
        self.engine = Seat::Taken(engine);
        self.follow();
        self.show(Vec::new(), revision)?;
        Ok(revision)
    }
}

/// Puts back what readers saw and the engine lost. It gets new revisions: the old ones may not come back, and those
/// who saw them see the same objects again as a change.
fn write_again(
    engine: &mut dyn Engine,
    missing: Vec<(Resource, Mutation, Template)>,
) -> Result<(Vec<Change>, Revision), EngineError> {
    let transaction = |(_, mutation, _): &(Resource, Mutation, Template)| Transaction {
        mutations: vec![mutation.clone()],
        durability: Durability::Synced,
        lifetime: None,
    };
    let batch: Vec<Transaction> = missing.iter().map(transaction).collect();
    let outcomes = engine.commit(&batch).map_err(|error| match error {
        CommitError::Refused(error) | CommitError::Broken(error) => error,
    })?;
    let (mut changes, mut last) = (Vec::new(), Revision::ZERO);
    for ((resource, mutation, value), outcome) in missing.into_iter().zip(outcomes) {
        let Outcome::Committed(revision) = outcome else { continue };
        last = last.max(revision);
        // A deletion that was lost is kept now; no reader ever saw the object come back.
        if let Mutation::Put { path, .. } = mutation {
            // Its mark is that of the version which readers saw; at worst it is written again once more.
            let mark = resource.shelf().current.load().tree.get(&path).map(|entry| entry.mark()).unwrap_or_default();
            let action = Action::Put(value);
            let op = Op { resource, key: Key::from_path(path), expect: Expect::Any, action, mark };
            record_change(&mut changes, &op, revision);
        }
    }
    Ok((changes, last))
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Checks the preconditions against what is kept, and says to the engine what is to be done. What others may have
/// changed meanwhile is for the engine to check.
fn prepare(request: &mut Request, shared: &Shared) -> Result<Transaction, StoreError> {
    let is_shared = shared.factory.is_shared();
    let lifetimes = &shared.options.lifetimes;
    let mut mutations = Vec::with_capacity(request.ops.len());
    let mut lifetime = None;
    for (number, op) in request.ops.iter_mut().enumerate() {
        let state = op.resource.shelf().current.load();
        let current = state.tree.get(op.key.as_str());
        if !is_shared && !holds(op, current) {
            return Err(StoreError::Conflict { op: number, key: op.key.clone(), current: current.cloned() });
        }
        let resource = Arc::clone(&op.resource.shelf().name);
        let path = Arc::clone(op.key.path());
        let expected = match (op.expect, &op.action) {
            (Expect::Any, Action::Put(_)) => Expected::Any,
            (Expect::Any, Action::Delete(_)) => Expected::Present,
            (Expect::Absent, Action::Put(_)) => Expected::Absent,
            // Never: there would be nothing to delete.
            (Expect::Absent, Action::Delete(_)) => Expected::At(Revision(u64::MAX)),
            (Expect::Revision(revision), _) => Expected::At(revision),
        };
        mutations.push(match &op.action {
            Action::Put(value) => {
                let (value, mark) = shared
                    .options
                    .codec
                    .seal(&resource, &path, value)
                    .map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
                op.mark = mark;
                lifetime = lifetimes.iter().find(|(name, _)| **name == *resource).map(|(_, time)| *time).or(lifetime);
                let created = current.map(|entry| entry.create_revision());
                Mutation::Put { resource, path, value, created, expected }
            }
            Action::Delete(_) => Mutation::Delete { resource, path, expected },
        });
    }
    Ok(Transaction { mutations, durability: request.durability, lifetime })
}

fn holds(op: &Op, current: Option<&Arc<Entry>>) -> bool {
    match (op.expect, &op.action) {
        (Expect::Any, Action::Put(_)) => true,
        (Expect::Any, Action::Delete(_)) => current.is_some(),
        (Expect::Absent, Action::Put(_)) => current.is_none(),
        (Expect::Absent, Action::Delete(_)) => false,
        (Expect::Revision(revision), _) => current.is_some_and(|entry| entry.mod_revision() == revision),
    }
}

/// What stood in the way of a transaction that a shared engine refused, as far as it still does.
fn conflict(ops: &[Op]) -> StoreError {
    let current = |op: &Op| op.resource.shelf().current.load().tree.get(op.key.as_str()).cloned();
    let in_the_way = ops.iter().enumerate().map(|(number, op)| (number, op, current(op)));
    let found = in_the_way.clone().find(|(_, op, current)| !holds(op, current.as_ref()));
    match found.or_else(|| in_the_way.clone().next()) {
        Some((op, Op { key, .. }, current)) => StoreError::Conflict { op, key: key.clone(), current },
        None => StoreError::Malformed("no operation"),
    }
}

/// The operation of this process that made a change, and where its entry belongs.
fn own_op<'a>(
    parked: &'a mut BTreeMap<Revision, Vec<Parked>>,
    change: &Changed,
    revision: Revision,
) -> Option<(&'a Op, &'a mut Option<Arc<Entry>>)> {
    let (resource, path) = match change {
        Changed::Put(record) => (&record.resource, &record.path),
        Changed::Delete { resource, path, .. } => (resource, path),
    };
    let here = parked.get_mut(&revision)?.iter_mut().filter(|parked| !parked.conflict);
    here.flat_map(|parked| parked.request.ops.iter().zip(&mut parked.entries))
        .find(|(op, _)| *op.key.path() == *path && op.resource.shelf().name == *resource)
}

fn record_foreign(
    shared: &Shared,
    changes: &mut Vec<Change>,
    change: Changed,
    revision: Revision,
) -> Result<(), EngineError> {
    let (resource, path, action, mark) = match change {
        Changed::Put(record) => {
            match shared.options.codec.open(&record.resource, &record.path, record.value) {
                Ok((value, mark)) => (record.resource, record.path, Action::Put(value), mark),
                // What was shown before is not there in a form that can be shown any more.
                Err(error @ EngineError::OtherVersion { .. }) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "not shown");
                    (record.resource, record.path, Action::Delete(None), Mark::default())
                }
                Err(error) => return Err(error),
            }
        }
        Changed::Delete { resource, path, .. } => (resource, path, Action::Delete(None), Mark::default()),
    };
    let resource = shared.resource(&resource);
    let op = Op { resource, key: Key::from_path(path), expect: Expect::Any, action, mark };
    record_change(changes, &op, revision);
    Ok(())
}

/// The entry of an operation that is kept but was never shown as such: something newer took its place, or the store
/// was closed first.
fn as_committed(op: &Op, before: Option<Arc<Entry>>, revision: Revision) -> Arc<Entry> {
    let created = before.as_ref().map_or(revision, |before| before.create_revision());
    match (&op.action, before) {
        (Action::Put(value) | Action::Delete(Some(value)), _) => {
            Arc::new(Entry::new(op.key.clone(), value, created, revision, op.mark))
        }
        (Action::Delete(None), Some(before)) => Arc::new(before.deleted_at(revision)),
        (Action::Delete(None), None) => {
            Arc::new(Entry::new(op.key.clone(), &Template::default(), created, revision, op.mark))
        }
    }
}

/// Makes the new version, and notes what it changes.
fn record_change(changes: &mut Vec<Change>, op: &Op, revision: Revision) -> Arc<Entry> {
    let at = match changes.iter().position(|change| change.resource == op.resource) {
        Some(at) => at,
        None => {
            let tree = op.resource.shelf().current.load().tree.clone();
            changes.push(Change { resource: op.resource.clone(), tree, events: Vec::new() });
            changes.len() - 1
        }
    };
    let change = &mut changes[at];
    let current = change.tree.get(op.key.as_str());
    let (entry, event) = match &op.action {
        Action::Put(value) => {
            let created = current.map_or(revision, |entry| entry.create_revision());
            // The versions of an object share its key.
            let key = current.map_or(&op.key, |entry| entry.key()).clone();
            let entry = Arc::new(Entry::new(key, value, created, revision, op.mark));
            let previous = change.tree.insert(Arc::clone(&entry));
            let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
            (Arc::clone(&entry), Event::new(kind, entry, previous))
        }
        Action::Delete(last) => {
            let previous = change.tree.remove(op.key.as_str());
            let nothing_there = previous.is_none();
            let created = previous.as_ref().map_or(revision, |entry| entry.create_revision());
            let entry = Arc::new(match (last, &previous) {
                (None, Some(previous)) => previous.deleted_at(revision),
                (Some(last), _) => Entry::new(op.key.clone(), last, created, revision, op.mark),
                // `prepare` has seen that there is something to delete.
                (None, None) => Entry::new(op.key.clone(), &Template::default(), created, revision, op.mark),
            });
            if nothing_there {
                // Others deleted what never was an object here. Nobody is to see that.
                return entry;
            }
            (Arc::clone(&entry), Event::new(EventKind::Deleted, entry, previous))
        }
    };
    change.events.push(Arc::new(event));
    entry
}

fn publish(shared: &Shared, changes: &[Change], revision: Revision, now: Instant) {
    for change in changes {
        let shelf = change.resource.shelf();
        shelf.publish(change.tree.clone(), change.events.clone(), &shared.options.history, now);
    }
    // Last: who sees this revision finds every change up to it.
    shared.progress.advance(revision, now);
}

fn wake(shared: &Shared, changes: &[Change], revision: Revision) {
    shared.announced.send_if_modified(|announced| {
        let newer = revision > *announced;
        *announced = revision.max(*announced);
        newer
    });
    for change in changes {
        change.resource.shelf().wake(&change.events);
    }
}

fn answer(reply: oneshot::Sender<Result<Committed, StoreError>>, result: Result<Committed, StoreError>) {
    // Who asked may have gone away; what was kept stays kept.
    reply.send(result).ok();
}

fn weight(mutation: &Mutation) -> usize {
    match mutation {
        Mutation::Put { path, value, .. } => path.len() + value.len(),
        Mutation::Delete { path, .. } => path.len(),
    }
}
