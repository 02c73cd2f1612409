//! The store against a naive model that keeps every version of everything: reads of the present and the past, watches
//! that stop and resume, restarts, killed processes, power cuts and failing syncs, over the log on a simulated disk.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use engine::disk::sim::SimDisk;
use engine::log::{LogFactory, LogOptions};
use proptest::prelude::*;
use store::{
    Committed, EventKind, Expect, Filter, HistoryLimits, Key, Resource, Revision, Snapshot, SnapshotError, Store,
    StoreError, StoreOptions, Template, Txn, Watch, WatchError,
};

const RESOURCES: [&str; 2] = ["pods", "nodes"];
const HISTORY: usize = 60;

#[derive(Clone, Debug)]
enum Step {
    /// One transaction; its outcome is known exactly.
    Commit(TxnStep),
    /// At the same time; which of those that touch the same key come first is not.
    Race(Vec<TxnStep>),
    Watch(WatchStep),
    /// Reads at most so many events of one of the watches.
    Read(usize, usize),
    /// Ends a watch, and starts it again from where it was.
    Resume(usize),
    Past(u64),
    Restart,
    Kill,
    PowerCut,
    FailSync(TxnStep),
}

#[derive(Clone, Debug)]
struct TxnStep {
    ops: Vec<OpStep>,
    relaxed: bool,
}

#[derive(Clone, Debug)]
struct OpStep {
    resource: usize,
    key: u8,
    expect: u8,
    delete: bool,
}

#[derive(Clone, Debug)]
struct WatchStep {
    resource: usize,
    /// How many revisions back.
    back: u64,
    filter: u8,
}

/// `kind key revision text`, and the text of the version before.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    kind: EventKind,
    key: String,
    revision: u64,
    text: String,
    previous: Option<String>,
}

type Contents = BTreeMap<String, (u64, u64, String)>;

struct Model {
    /// Of each resource, the contents after each revision that changed it.
    versions: [BTreeMap<u64, Contents>; 2],
    changes: [Vec<Change>; 2],
    revision: u64,
    /// What a power cut may not take.
    safe: u64,
    counter: u64,
}

struct Watcher {
    resource: usize,
    filter: u8,
    watch: Watch,
    /// Up to where events were taken, as the watch says.
    seen: u64,
}

struct World {
    disk: SimDisk,
    store: Option<Store>,
    model: Model,
    watchers: Vec<Watcher>,
}

fn key(number: u8) -> Key {
    Key::new(["a", "a-b", "b"][usize::from(number) % 3], &format!("{}", number / 3)).unwrap()
}

fn filter(number: u8) -> Filter {
    match number % 4 {
        0 => Filter::all(),
        1 => Filter::in_namespace("a"),
        2 => Filter::in_namespace("b").named("1"),
        _ => Filter::all().named("0"),
    }
}

fn passes(number: u8, key: &str) -> bool {
    let (namespace, name) = key.split_once('/').unwrap();
    match number % 4 {
        0 => true,
        1 => namespace == "a",
        2 => key == "b/1",
        _ => name == "0",
    }
}

fn value(text: &str) -> Template {
    Template::split(Bytes::from(format!(r#"{{"rv":"","v":"{text}"}}"#)), 7)
}

fn json(revision: u64, text: &str) -> String {
    format!(r#"{{"rv":"{revision}","v":"{text}"}}"#)
}

fn string(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn open(disk: &SimDisk) -> Store {
    let factory = LogFactory::on(disk.clone(), LogOptions { checkpoint_bytes: 24 << 10, step_bytes: 8 << 10 });
    let history = HistoryLimits { events: HISTORY, ..HistoryLimits::default() };
    Store::open(factory, StoreOptions { history, reopen: Duration::ZERO, ..StoreOptions::default() }).unwrap()
}

// === impl Model ===

impl Model {
    fn current(&self, resource: usize) -> Contents {
        self.versions[resource].last_key_value().map(|(_, contents)| contents.clone()).unwrap_or_default()
    }

    fn at(&self, resource: usize, revision: u64) -> Contents {
        self.versions[resource].range(..=revision).next_back().map(|(_, contents)| contents.clone()).unwrap_or_default()
    }

    /// The operation and what it would find; `None` when a precondition does not hold.
    fn expect(&self, op: &OpStep) -> (Expect, bool) {
        let current = self.current(op.resource).get(key(op.key).as_str()).cloned();
        let expect = match op.expect % 4 {
            0 | 1 => Expect::Any,
            2 => Expect::Absent,
            _ => Expect::Revision(Revision(current.as_ref().map_or(1, |(_, modified, _)| *modified))),
        };
        let holds = match expect {
            Expect::Any => !op.delete || current.is_some(),
            Expect::Absent => !op.delete && current.is_none(),
            Expect::Revision(_) => current.is_some(),
        };
        (expect, holds)
    }

    fn apply(&mut self, txn: &[(OpStep, String)], revision: u64) {
        assert!(revision > self.revision, "{revision} after {}", self.revision);
        self.revision = revision;
        for (op, text) in txn {
            let mut contents = self.current(op.resource);
            let name = key(op.key).to_string();
            let previous = contents.get(&name).cloned();
            let created = previous.as_ref().map_or(revision, |(created, ..)| *created);
            let (kind, text) = if op.delete {
                let (_, _, text) = contents.remove(&name).expect("deletes what is there");
                (EventKind::Deleted, text)
            } else {
                contents.insert(name.clone(), (created, revision, text.clone()));
                (if previous.is_some() { EventKind::Modified } else { EventKind::Added }, text.clone())
            };
            self.versions[op.resource].insert(revision, contents);
            let previous = previous.map(|(_, modified, text)| json(modified, &text));
            let change = Change { kind, key: name, revision, text: json(revision, &text), previous };
            self.changes[op.resource].push(change);
        }
    }
}

// === impl World ===

impl World {
    fn new(seed: u64) -> World {
        let disk = SimDisk::new(seed);
        let store = open(&disk);
        let model =
            Model { versions: Default::default(), changes: Default::default(), revision: 0, safe: 0, counter: 0 };
        World { disk, store: Some(store), model, watchers: Vec::new() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn resource(&self, number: usize) -> Resource {
        self.store().resource(RESOURCES[number])
    }

    /// The transaction, what it does, and whether it will be done if nothing else is.
    fn txn(&mut self, step: &TxnStep) -> (Txn, Vec<(OpStep, String)>, bool) {
        let (mut txn, mut done, mut holds) = (Txn::new(), Vec::new(), true);
        for op in &step.ops {
            if done.iter().any(|(other, _): &(OpStep, String)| (other.resource, other.key) == (op.resource, op.key)) {
                continue;
            }
            let (expect, this_holds) = self.model.expect(op);
            holds &= this_holds;
            self.model.counter += 1;
            let text = self.model.counter.to_string();
            let resource = self.resource(op.resource);
            txn = match op.delete {
                true => txn.delete(&resource, key(op.key), expect),
                false => txn.put(&resource, key(op.key), expect, value(&text)),
            };
            done.push((op.clone(), text));
        }
        (if step.relaxed { txn.relaxed() } else { txn }, done, holds)
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Commit(step) => {
                let (txn, done, holds) = self.txn(step);
                match self.store().commit(txn).await {
                    Ok(committed) => {
                        assert!(holds);
                        self.committed(&done, &committed, step.relaxed);
                    }
                    Err(StoreError::Conflict { op, current, .. }) => {
                        assert!(!holds);
                        let (op, _) = &done[op];
                        let expected = self.model.current(op.resource).get(key(op.key).as_str()).cloned();
                        let found = current.map(|entry| entry.mod_revision().0);
                        assert_eq!(found, expected.map(|(_, modified, _)| modified));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Race(steps) => {
                let prepared: Vec<_> = steps.iter().map(|step| self.txn(step)).collect();
                let (txns, done): (Vec<_>, Vec<_>) = prepared.into_iter().map(|(txn, done, _)| (txn, done)).unzip();
                let store = self.store().clone();
                let results = futures::future::join_all(txns.into_iter().map(|txn| store.commit(txn))).await;
                let mut done: Vec<_> = done.into_iter().zip(results).zip(steps).collect();
                done.sort_by_key(|((_, result), _)| result.as_ref().map_or(Revision::ZERO, |done| done.revision));
                for ((done, result), step) in done {
                    match result {
                        Ok(committed) => self.committed(&done, &committed, step.relaxed),
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Step::Watch(step) => {
                let from = self.model.revision.saturating_sub(step.back);
                self.watch(step.resource, step.filter, from, false);
            }
            Step::Read(which, count) => {
                if let Some(which) = which.checked_rem(self.watchers.len()) {
                    self.read(which, *count);
                }
            }
            Step::Resume(which) => {
                if let Some(which) = which.checked_rem(self.watchers.len()) {
                    let watcher = self.watchers.swap_remove(which);
                    self.watch(watcher.resource, watcher.filter, watcher.seen, false);
                }
            }
            Step::Past(back) => self.past(self.model.revision.saturating_sub(*back)),
            Step::Restart => {
                self.store().shutdown().await.unwrap();
                self.reopened(true);
            }
            Step::Kill => {
                self.kill().await;
                self.reopened(true);
            }
            Step::PowerCut => {
                self.kill().await;
                self.disk.power_cut();
                self.reopened(false);
            }
            Step::FailSync(step) => {
                let (txn, done, holds) = self.txn(&TxnStep { relaxed: false, ..step.clone() });
                self.disk.fail_syncs(true);
                let result = self.store().commit(txn).await;
                self.disk.fail_syncs(false);
                match result {
                    Err(StoreError::Conflict { .. }) => assert!(!holds),
                    Err(StoreError::Unknown(_)) => {
                        // The next write finds out. It is one of its own, so that it can be told from the other.
                        let op = OpStep { resource: 1, key: 200, expect: 0, delete: false };
                        let (txn, probed, _) = self.txn(&TxnStep { ops: vec![op], relaxed: false });
                        let committed = self.store().commit(txn).await.unwrap();
                        self.settle(&done, committed.revision.0);
                        self.committed(&probed, &committed, false);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        self.check_present();
    }

    fn committed(&mut self, done: &[(OpStep, String)], committed: &Committed, relaxed: bool) {
        self.model.apply(done, committed.revision.0);
        if !relaxed {
            self.model.safe = committed.revision.0;
        }
        for ((op, _), entry) in done.iter().zip(&committed.entries) {
            let change = self.model.changes[op.resource].iter().rfind(|change| change.key == key(op.key).as_str());
            assert_eq!(change.unwrap().text, string(entry.bytes()));
        }
    }

    /// After an unknown outcome: if it was kept, the store shows it as the one change before `next`.
    fn settle(&mut self, done: &[(OpStep, String)], next: u64) {
        let (op, text) = &done[0];
        let past = self.resource(op.resource).snapshot_at(Revision(next - 1)).unwrap();
        let entry = past.get(&key(op.key));
        let kept = match (op.delete, &entry) {
            (true, None) => true,
            (true, Some(_)) => false,
            (false, None) => false,
            (false, Some(entry)) => string(entry.bytes()).ends_with(&format!(r#""{text}"}}"#)),
        };
        if kept {
            self.model.apply(done, self.model.revision + 1);
        }
    }

    /// As SIGKILL: the sequencer is gone without a word.
    async fn kill(&mut self) {
        // What a process does not get to do any more fails.
        self.disk.fail_after(0);
        let store = self.store.take().unwrap();
        store.shutdown().await.ok();
        self.disk.revive();
    }

    fn reopened(&mut self, everything: bool) {
        self.store = None;
        let store = open(&self.disk);
        let resumed: Vec<_> = self.watchers.drain(..).map(|w| (w.resource, w.filter, w.seen)).collect();
        let found = store.revision().0;
        self.store = Some(store);
        if everything {
            assert_eq!(found, self.model.revision);
            self.model.safe = self
                .model
                .versions
                .iter()
                .filter_map(|versions| versions.keys().next_back().copied())
                .max()
                .unwrap_or(0);
        } else {
            // Relaxed transactions may be gone: the newest version of everything that is what is there.
            let lists: Vec<_> = (0..2).map(|resource| contents(&self.resource(resource).snapshot())).collect();
            let candidates = self.model.versions.iter().flat_map(|versions| versions.keys().copied()).chain([0]);
            let mut candidates: Vec<u64> = candidates.collect();
            candidates.sort_unstable();
            let kept = candidates
                .into_iter()
                .rev()
                .find(|revision| (0..2).all(|resource| self.model.at(resource, *revision) == lists[resource]));
            let kept = kept.expect("what is there was there once");
            assert!(kept >= self.model.safe, "{kept} is there, {} was synced", self.model.safe);
            for resource in 0..2 {
                self.model.versions[resource].retain(|revision, _| *revision <= kept);
                self.model.changes[resource].retain(|change| change.revision <= kept);
            }
            assert!(found >= self.model.revision);
            self.model.revision = found;
        }
        for (resource, filter, seen) in resumed {
            self.watch(resource, filter, seen, !everything);
        }
    }

    fn watch(&mut self, resource: usize, filter_number: u8, from: u64, may_be_gone: bool) {
        let handle = self.resource(resource);
        match handle.watch(Revision(from), filter(filter_number)) {
            Ok(watch) => {
                assert!(!may_be_gone || from >= handle.oldest().0);
                self.watchers.push(Watcher { resource, filter: filter_number, watch, seen: from });
            }
            Err(WatchError::Compacted { oldest, .. }) => {
                assert!(oldest > Revision(from));
                // Nothing is forgotten without need.
                let later = self.model.changes[resource].iter().filter(|change| change.revision > from).count();
                assert!(
                    may_be_gone || later > HISTORY || oldest.0 > self.first_kept(resource),
                    "from {from}, {oldest}"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// History that a restart did not give back is not held against it.
    fn first_kept(&self, resource: usize) -> u64 {
        let changes = &self.model.changes[resource];
        changes.len().checked_sub(HISTORY + 1).map_or(0, |at| changes[at].revision)
    }

    fn read(&mut self, which: usize, count: usize) {
        let watcher = &mut self.watchers[which];
        for _ in 0..count {
            let expected = self.model.changes[watcher.resource]
                .iter()
                .filter(|change| change.revision > watcher.seen && passes(watcher.filter, &change.key));
            match watcher.watch.try_next() {
                Ok(Some(event)) => {
                    let found = Change {
                        kind: event.kind(),
                        key: event.key().to_string(),
                        revision: event.revision().0,
                        text: string(event.entry().bytes()),
                        previous: event.previous().map(|entry| string(entry.bytes())),
                    };
                    // Of one transaction in the order of its operations, so several may have the revision of the next.
                    let mut same = expected.clone().take_while(|change| change.revision == found.revision);
                    assert!(same.any(|change| *change == found), "{found:?} is not next");
                    assert_eq!(expected.clone().next().map(|change| change.revision), Some(found.revision));
                    watcher.seen = watcher.watch.progress().0;
                }
                Ok(None) => {
                    assert_eq!(expected.clone().next(), None);
                    watcher.seen = watcher.watch.progress().0;
                    assert_eq!(watcher.seen, self.model.revision);
                }
                Err(WatchError::Lagged) => {
                    assert!(expected.count() > 0);
                    self.watchers.swap_remove(which);
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn past(&self, revision: u64) {
        for resource in 0..2 {
            match self.resource(resource).snapshot_at(Revision(revision)) {
                Ok(snapshot) => {
                    assert_eq!(snapshot.revision().0, revision);
                    assert_eq!(contents(&snapshot), self.model.at(resource, revision));
                }
                Err(SnapshotError::Compacted { oldest, .. }) => assert!(oldest.0 > revision),
                Err(SnapshotError::Future { .. }) => panic!("{revision} is not the future"),
            }
        }
    }

    fn check_present(&self) {
        assert_eq!(self.store().revision().0, self.model.revision);
        for resource in 0..2 {
            let snapshot = self.resource(resource).snapshot();
            assert_eq!(contents(&snapshot), self.model.current(resource));
            assert_eq!(snapshot.len(), self.model.current(resource).len());
        }
    }
}

fn contents(snapshot: &Snapshot) -> Contents {
    let mut contents = Contents::new();
    for entry in snapshot.iter() {
        let text = string(entry.bytes());
        let text = text.rsplit('"').nth(1).unwrap().to_owned();
        let (created, modified) = (entry.create_revision().0, entry.mod_revision().0);
        assert_eq!(string(entry.bytes()), json(modified, &text));
        contents.insert(entry.key().to_string(), (created, modified, text));
    }
    contents
}

fn txn_step() -> impl Strategy<Value = TxnStep> {
    let op = (prop_oneof![3 => Just(0), 1 => Just(1)], 0..9_u8, any::<u8>(), prop::bool::weighted(0.3))
        .prop_map(|(resource, key, expect, delete)| OpStep { resource, key, expect, delete });
    let ops = prop_oneof![4 => prop::collection::vec(op.clone(), 1), 1 => prop::collection::vec(op, 2..4)];
    (ops, prop::bool::weighted(0.2)).prop_map(|(ops, relaxed)| TxnStep { ops, relaxed })
}

fn step() -> impl Strategy<Value = Step> {
    let watch =
        (0..2_usize, 0..80_u64, any::<u8>()).prop_map(|(resource, back, filter)| WatchStep { resource, back, filter });
    prop_oneof![
        30 => txn_step().prop_map(Step::Commit),
        5 => prop::collection::vec(txn_step(), 2..12).prop_map(Step::Race),
        6 => watch.prop_map(Step::Watch),
        20 => (any::<usize>(), 1..30_usize).prop_map(|(which, count)| Step::Read(which, count)),
        4 => any::<usize>().prop_map(Step::Resume),
        4 => (0..90_u64).prop_map(Step::Past),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

fn rough_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => step(),
        1 => Just(Step::PowerCut),
        1 => txn_step().prop_map(Step::FailSync),
    ]
}

fn run(seed: u64, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for step in steps {
            world.run(step).await;
        }
        for which in 0..world.watchers.len() {
            if which < world.watchers.len() {
                world.read(which, 1000);
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 3000, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(steps in prop::collection::vec(step(), 1..150)) {
        run(1, &steps);
    }

    #[test]
    fn behaves_as_the_model_when_power_and_disk_fail(
        seed in any::<u64>(),
        steps in prop::collection::vec(rough_step(), 1..150),
    ) {
        run(seed, &steps);
    }
}
