//! The one thread that writes: it orders transactions, checks their preconditions, has the engine keep a group of
//! them with one sync, shows them to readers, and only then acknowledges.
//!
//! Readers never see what is not yet kept: a change is put into the trees after the engine said that it is. So a
//! precondition is checked against what is durable, and a transaction that touches a key which another one of the
//! same group writes waits for the next group.
//!
//! Nothing here wakes up by itself. After a relaxed write there is one wait of at most a second for the sync it owes.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use engine::{
    CommitError, Durability, Engine, EngineError, Mutation, OpenReason, Outcome, Record, Revision, Transaction,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::entry::{Entry, Event, EventKind};
use crate::error::StoreError;
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

pub(crate) enum Command {
    Commit(Request),
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
    engine: Seat,
    /// Transactions that a group before left for the next, in order.
    waiting: VecDeque<Request>,
    /// Since when something relaxed is without a sync.
    unsynced: Option<Instant>,
    /// Which resource's history is looked at next for what is too old.
    sweep: usize,
}

enum Seat {
    Taken(Box<dyn Engine>),
    Broken { why: Arc<EngineError>, tried: Instant },
}

/// Closes the store when it goes.
struct Closing(Arc<Shared>);

/// What a group does to one resource.
struct Change {
    resource: Resource,
    tree: Tree,
    events: Vec<Arc<Event>>,
}

// === impl Sequencer ===

impl Sequencer {
    pub(crate) fn new(shared: Arc<Shared>, commands: Receiver<Command>, engine: Box<dyn Engine>) -> Sequencer {
        Sequencer { shared, commands, engine: Seat::Taken(engine), waiting: VecDeque::new(), unsynced: None, sweep: 0 }
    }

    /// Until it is told to close, or every handle of the store is gone.
    pub(crate) fn run(mut self) {
        // Also when this thread panics: nobody is to wait for an answer that never comes.
        let _closing = Closing(Arc::clone(&self.shared));
        let reply = self.serve();
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

    /// The next command. Syncs what is owed when its time has come.
    fn next(&mut self) -> Option<Command> {
        loop {
            let Some(since) = self.unsynced else { return self.commands.recv().ok() };
            match self.commands.recv_timeout(RELAXED.saturating_sub(since.elapsed())) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.sync(),
            }
        }
    }

    /// Takes what else has come in by now. Gives back who wants it closed.
    fn fill(&mut self) -> Option<oneshot::Sender<Result<(), Arc<EngineError>>>> {
        while self.waiting.len() < GROUP {
            match self.commands.try_recv() {
                Ok(Command::Commit(request)) => self.waiting.push_back(request),
                Ok(Command::Close(reply)) => return Some(reply),
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
        for request in self.waiting.drain(..) {
            let keys = || request.ops.iter().map(|op| (op.resource.identity(), Arc::clone(op.key.path())));
            if batch.len() >= GROUP || bytes > GROUP_BYTES || keys().any(|key| touched.contains(&key)) {
                touched.extend(keys());
                left.push_back(request);
                continue;
            }
            match prepare(&request) {
                Ok(transaction) => {
                    touched.extend(keys());
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

        let mut changes = Vec::new();
        let mut replies = Vec::with_capacity(group.len());
        let mut last = Revision::ZERO;
        for (request, outcome) in group.into_iter().zip(outcomes) {
            let result = match outcome {
                Outcome::Committed(revision) => {
                    last = last.max(*revision);
                    let entries = request.ops.iter().map(|op| record_change(&mut changes, op, *revision)).collect();
                    Ok(Committed { revision: *revision, entries })
                }
                Outcome::Conflict => match request.ops.into_iter().next() {
                    Some(op) => Err(StoreError::Conflict { op: 0, key: op.key, current: None }),
                    None => Err(StoreError::Malformed("no operation")),
                },
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

    fn sync(&mut self) {
        self.unsynced = None;
        let Seat::Taken(engine) = &mut self.engine else { return };
        if let Err(error) = engine.sync() {
            self.broke(error);
        }
    }

    fn offer_checkpoint(&mut self) {
        let Seat::Taken(engine) = &mut self.engine else { return };
        if !engine.wants_checkpoint() {
            return;
        }
        // Only this thread changes trees: together they are the state after the last commit.
        let trees: Vec<(Arc<str>, Tree)> = self
            .shared
            .resources()
            .iter()
            .map(|resource| (Arc::clone(&resource.shelf().name), resource.shelf().current.load().tree.clone()))
            .collect();
        let live = trees.into_iter().flat_map(|(name, tree)| {
            let record = move |entry: Arc<Entry>| -> Record { entry.record(&name) };
            tree.cursor("").map(record)
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
        self.engine = Seat::Broken { why: Arc::clone(&why), tried: Instant::now() };
        if let Err(error) = self.reopen() {
            self.engine = Seat::Broken { why: error, tried: Instant::now() };
        }
        why
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
        let (mut engine, found) = recovery::open(&*self.shared.factory, OpenReason::Failure)?;
        let (changes, revision) = match recovery::difference(&self.shared, &found) {
            Difference::Ahead(changes) => {
                let change = |(resource, tree, events)| Change { resource, tree, events };
                (changes.into_iter().map(change).collect(), found.revision)
            }
            Difference::Behind(missing) => write_again(&mut *engine, missing)?,
        };
        publish(&self.shared, &changes, revision, (self.shared.options.now)());
        wake(&self.shared, &changes, revision);
        self.engine = Seat::Taken(engine);
        Ok(revision)
    }
}

/// Puts back what readers saw and the engine lost. It gets new revisions: the old ones may not come back, and those
/// who saw them see the same objects again as a change.
fn write_again(
    engine: &mut dyn Engine,
    missing: Vec<(Resource, Mutation)>,
) -> Result<(Vec<Change>, Revision), EngineError> {
    let transaction = |(_, mutation): &(Resource, Mutation)| Transaction {
        mutations: vec![mutation.clone()],
        durability: Durability::Synced,
    };
    let batch: Vec<Transaction> = missing.iter().map(transaction).collect();
    let outcomes = engine.commit(&batch).map_err(|error| match error {
        CommitError::Refused(error) | CommitError::Broken(error) => error,
    })?;
    let (mut changes, mut last) = (Vec::new(), Revision::ZERO);
    for ((resource, mutation), outcome) in missing.into_iter().zip(outcomes) {
        let Outcome::Committed(revision) = outcome else { continue };
        last = last.max(revision);
        // A deletion that was lost is kept now; no reader ever saw the object come back.
        if let Mutation::Put { path, value, .. } = mutation {
            let op = Op { resource, key: Key::from_path(path), expect: Expect::Any, action: Action::Put(value) };
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

/// Checks the preconditions against what is kept, and says to the engine what is to be done.
fn prepare(request: &Request) -> Result<Transaction, StoreError> {
    let mut mutations = Vec::with_capacity(request.ops.len());
    for (number, op) in request.ops.iter().enumerate() {
        let state = op.resource.shelf().current.load();
        let current = state.tree.get(op.key.as_str());
        let holds = match (op.expect, &op.action) {
            (Expect::Any, Action::Put(_)) => true,
            (Expect::Any, Action::Delete(_)) => current.is_some(),
            (Expect::Absent, Action::Put(_)) => current.is_none(),
            (Expect::Absent, Action::Delete(_)) => false,
            (Expect::Revision(revision), _) => current.is_some_and(|entry| entry.mod_revision() == revision),
        };
        if !holds {
            return Err(StoreError::Conflict { op: number, key: op.key.clone(), current: current.cloned() });
        }
        let resource = Arc::clone(&op.resource.shelf().name);
        let path = Arc::clone(op.key.path());
        let observed = current.map(|entry| entry.mod_revision());
        mutations.push(match &op.action {
            Action::Put(value) => {
                let created = current.map(|entry| entry.create_revision());
                Mutation::Put { resource, path, value: value.clone(), created, observed }
            }
            Action::Delete(_) => Mutation::Delete { resource, path, observed },
        });
    }
    Ok(Transaction { mutations, durability: request.durability })
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
            let entry = Arc::new(Entry::new(key, value, created, revision));
            let previous = change.tree.insert(Arc::clone(&entry));
            let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
            (Arc::clone(&entry), Event::new(kind, entry, previous))
        }
        Action::Delete(last) => {
            let previous = change.tree.remove(op.key.as_str());
            let created = previous.as_ref().map_or(revision, |entry| entry.create_revision());
            let entry = Arc::new(match (last, &previous) {
                (None, Some(previous)) => previous.deleted_at(revision),
                (Some(last), _) => Entry::new(op.key.clone(), last, created, revision),
                // `prepare` has seen that there is something to delete.
                (None, None) => Entry::new(op.key.clone(), &engine::Template::default(), created, revision),
            });
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
    shared.progress.advance(revision);
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
