//! The same generated histories over every engine: the same answers, the same objects and the same events. Revisions
//! are compared by their order, because etcd counts from somewhere else.
//! `TIPHYS_HISTORIES` says how many; 12 without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::sim::SimDisk;
use engine::etcd::{EtcdFactory, EtcdOptions};
use engine::log::{LogFactory, LogOptions};
use engine::memory::Memory;
use engine::{Factory, Layout};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use store::{Expect, Filter, Key, Revision, Store, StoreError, StoreOptions, Txn, WatchError};

use crate::count;
use crate::etcd_server::{EtcdServer, object, text};

const RESOURCES: [&str; 2] = ["pods", "nodes"];

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Op>),
    /// Closes and opens again.
    Restart,
}

#[derive(Clone, Debug)]
struct Op {
    resource: usize,
    key: u8,
    expect: u8,
    delete: bool,
}

/// An engine for one history, opened as often as needed.
struct Stage {
    name: &'static str,
    open: Box<dyn Fn() -> Store>,
}

/// What is compared.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    commits: Vec<String>,
    contents: Vec<String>,
    events: Vec<String>,
}

fn options() -> StoreOptions {
    StoreOptions { reopen: Duration::ZERO, ..StoreOptions::default() }
}

fn stages(seed: u64, etcd: Option<&EtcdServer>) -> Vec<Stage> {
    let stage = |name, factory: Arc<dyn Fn() -> Box<dyn Factory>>| {
        let open = Box::new(move || Store::open(Anyone(factory()), options()).unwrap());
        Stage { name, open }
    };
    let memory = Memory::new();
    let disk = SimDisk::new(seed);
    let mut stages = vec![
        stage("memory", Arc::new(move || Box::new(memory.clone()))),
        stage(
            "log",
            Arc::new(move || {
                let options = LogOptions { checkpoint_bytes: 24 << 10, step_bytes: 8 << 10 };
                Box::new(LogFactory::on(disk.clone(), options))
            }),
        ),
    ];
    if let Some(etcd) = etcd {
        // A history has its own part of etcd.
        let layout = Arc::new(Layout::new(&format!("/history-{seed}"), RESOURCES.map(str::to_owned)));
        let endpoints = vec![etcd.endpoint()];
        stages.push(stage(
            "etcd",
            Arc::new(move || {
                let (endpoints, layout) = (endpoints.clone(), Arc::clone(&layout));
                Box::new(EtcdFactory::new(EtcdOptions { endpoints, tls: None, layout, compaction: None }))
            }),
        ));
    }
    stages
}

struct Anyone(Box<dyn Factory>);

impl Factory for Anyone {
    fn open(
        &self,
        reason: engine::OpenReason,
        restore: &mut dyn engine::Restore,
    ) -> Result<engine::Opened, store::EngineError> {
        self.0.open(reason, restore)
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}

fn key(number: u8) -> Key {
    Key::new(["a", "b"][usize::from(number) % 2], &format!("{}", number / 2)).unwrap()
}

/// Puts the revisions that were given out in order.
#[derive(Default)]
struct Order(BTreeMap<Revision, usize>);

impl Order {
    fn of(&mut self, revision: Revision) -> usize {
        let next = self.0.len();
        *self.0.entry(revision).or_insert(next)
    }
}

async fn run(stage: &Stage, steps: &[Step]) -> Answers {
    let (mut answers, mut order, mut number) = (Answers::default(), Order::default(), 0);
    let mut store = (stage.open)();
    let watch =
        |store: &Store| RESOURCES.map(|name| store.resource(name).watch(store.revision(), Filter::all()).unwrap());
    let mut watches = watch(&store);
    for step in steps {
        let Step::Commit(ops) = step else {
            drain(&mut watches, &mut order, &mut answers.events);
            store.shutdown().await.unwrap();
            store = (stage.open)();
            watches = watch(&store);
            continue;
        };
        let (mut txn, mut done) = (Txn::new(), Vec::new());
        for op in ops {
            if done.contains(&(op.resource, op.key)) {
                continue;
            }
            done.push((op.resource, op.key));
            number += 1;
            let resource = store.resource(RESOURCES[op.resource]);
            let current = resource.snapshot().get(&key(op.key)).map(|entry| entry.mod_revision());
            let expect = match op.expect % 4 {
                0 | 1 => Expect::Any,
                2 => Expect::Absent,
                _ => Expect::Revision(current.unwrap_or(Revision(1 << 60))),
            };
            txn = match op.delete {
                true => txn.delete(&resource, key(op.key), expect),
                false => txn.put(&resource, key(op.key), expect, object(&number.to_string())),
            };
        }
        let answer = match store.commit(txn).await {
            Ok(committed) => {
                let at = order.of(committed.revision);
                let entry = |entry: &Arc<store::Entry>| {
                    assert_eq!(entry.mod_revision(), committed.revision);
                    let created = order.0.get(&entry.create_revision());
                    format!("{} {} {created:?}", entry.key(), text(entry.bytes()))
                };
                let entries: Vec<String> = committed.entries.iter().map(entry).collect();
                format!("{at} {entries:?}")
            }
            Err(StoreError::Conflict { op, key, current }) => {
                format!("conflict {op} {key} {:?}", current.map(|entry| text(entry.bytes())))
            }
            Err(error) => panic!("{}: {error}", stage.name),
        };
        answers.commits.push(answer);
        let contents = RESOURCES.map(|name| {
            let snapshot = store.resource(name).snapshot();
            let entry = |entry: Arc<store::Entry>| {
                let (created, modified) = (order.0[&entry.create_revision()], order.0[&entry.mod_revision()]);
                format!("{} {} {created} {modified}", entry.key(), text(entry.bytes()))
            };
            snapshot.iter().map(entry).collect::<Vec<_>>()
        });
        answers.contents.push(format!("{contents:?}"));
    }
    drain(&mut watches, &mut order, &mut answers.events);
    store.shutdown().await.unwrap();
    answers
}

fn drain(watches: &mut [store::Watch], order: &mut Order, events: &mut Vec<String>) {
    for watch in watches {
        let mut seen = Revision::ZERO;
        let mut together: Vec<String> = Vec::new();
        loop {
            match watch.try_next() {
                Ok(Some(event)) => {
                    if event.revision() != seen {
                        // What happened together has no order of its own in etcd.
                        together.sort();
                        events.append(&mut together);
                    }
                    seen = event.revision();
                    let previous = event.previous().map(|entry| text(entry.bytes()));
                    let now = text(event.entry().bytes());
                    together.push(format!("{} {:?} {} {now} {previous:?}", order.0[&seen], event.kind(), event.key()));
                }
                Ok(None) => break,
                Err(error @ (WatchError::Lagged | WatchError::Closed | WatchError::Compacted { .. })) => {
                    panic!("{error}")
                }
            }
        }
        together.sort();
        events.append(&mut together);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let op = (0..2_usize, 0..8_u8, any::<u8>(), prop::bool::weighted(0.3))
        .prop_map(|(resource, key, expect, delete)| Op { resource, key, expect, delete });
    let ops = prop_oneof![3 => prop::collection::vec(op.clone(), 1), 1 => prop::collection::vec(op, 2..5)];
    prop_oneof![40 => ops.prop_map(Step::Commit), 1 => Just(Step::Restart)]
}

#[test]
fn the_same_histories_give_the_same_answers_on_every_engine() {
    let etcd = EtcdServer::start();
    if let Some(etcd) = &etcd {
        // It answers from here on.
        drop(etcd.open());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::deterministic();
    let (histories, mut commits) = (count("TIPHYS_HISTORIES", 12), 0);
    for seed in 0..histories as u64 {
        let steps = prop::collection::vec(step(), 1..120).new_tree(&mut runner).unwrap().current();
        let stages = stages(seed, etcd.as_ref());
        let expected = runtime.block_on(run(&stages[0], &steps));
        commits += expected.commits.len();
        for stage in &stages[1..] {
            let found = runtime.block_on(run(stage, &steps));
            assert_eq!(found.commits, expected.commits, "history {seed} on {}", stage.name);
            assert_eq!(found.contents, expected.contents, "history {seed} on {}", stage.name);
            assert_eq!(found.events, expected.events, "history {seed} on {}", stage.name);
        }
    }
    eprintln!("{histories} histories, {commits} transactions each on every engine");
}
