//! Whether what concurrent clients were told can be put in one order that agrees with real time: every answer as if
//! each operation had happened at one moment between its call and its return. The search is that of Wing and Gong with
//! Lowe's memory of what was tried; keys are independent, so each is checked alone.
//! `TIPHYS_LINEAR_ROUNDS` says how many rounds; 4 without it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::Revision;
use engine::disk::sim::SimDisk;
use engine::log::{LogFactory, LogOptions};
use parking_lot::Mutex;
use store::{Expect, Key, Store, StoreError, StoreOptions, Txn};

use crate::count;
use crate::etcd_server::{EtcdServer, object, text};

/// What was asked of one key. Values are all different.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    Read,
    Write(u64),
    Create(u64),
    /// If it is still the first.
    Swap(u64, u64),
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Value(Option<u64>),
    Done,
    /// A precondition did not hold.
    No,
    /// Nothing happened.
    Refused,
    /// Anything may have happened, and may yet.
    Unknown,
}

#[derive(Clone, Debug)]
struct Operation {
    call: Call,
    answer: Answer,
    begin: u64,
    end: u64,
}

/// Whether the answer is right in a state, and the state after it.
fn step(operation: &Operation, state: Option<u64>) -> Option<Option<u64>> {
    let (holds, next) = match operation.call {
        Call::Read => (true, state),
        Call::Write(value) => (true, Some(value)),
        Call::Create(value) => (state.is_none(), Some(value)),
        Call::Swap(from, to) => (state == Some(from), Some(to)),
        Call::Delete => (state.is_some(), None),
    };
    match &operation.answer {
        Answer::Value(value) => (*value == state).then_some(state),
        Answer::Done => holds.then_some(next),
        Answer::No => (!holds).then_some(state),
        Answer::Unknown => Some(if holds { next } else { state }),
        Answer::Refused => Some(state),
    }
}

fn is_linearizable(mut history: Vec<Operation>) -> bool {
    history.retain(|operation| operation.answer != Answer::Refused);
    history.retain(|operation| !(operation.call == Call::Read && operation.answer == Answer::Unknown));
    assert!(history.len() <= 128, "the checker takes 128 operations of one key, not {}", history.len());
    for operation in &mut history {
        if operation.answer == Answer::Unknown {
            operation.end = u64::MAX;
        }
    }
    let wanted = history.iter().enumerate().filter(|(_, operation)| operation.answer != Answer::Unknown);
    let wanted: u128 = wanted.fold(0, |set, (at, _)| set | 1 << at);
    let mut tried = HashSet::new();
    let mut open = vec![(0_u128, None)];
    while let Some((done, state)) = open.pop() {
        if done & wanted == wanted {
            return true;
        }
        if !tried.insert((done, state)) {
            continue;
        }
        let left = || (0..history.len()).filter(move |at| done & (1 << at) == 0);
        // Nothing may come before an operation that had returned before it began.
        let earliest_end = left().map(|at| history[at].end).min().unwrap_or(u64::MAX);
        for at in left().filter(|at| history[*at].begin <= earliest_end) {
            if let Some(next) = step(&history[at], state) {
                open.push((done | 1 << at, next));
            }
        }
    }
    false
}

#[derive(Default)]
struct Journal {
    clock: AtomicU64,
    operations: Mutex<BTreeMap<u8, Vec<Operation>>>,
}

impl Journal {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, key: u8, operation: Operation) {
        self.operations.lock().entry(key).or_default().push(operation);
    }

    fn check(self) -> usize {
        let histories = self.operations.into_inner();
        let count = histories.values().map(Vec::len).sum();
        for (key, history) in histories {
            assert!(is_linearizable(history.clone()), "key {key}: {history:#?}");
        }
        count
    }
}

/// One client: it does one thing after another, each on one of the servers.
async fn client(number: u64, seed: u64, servers: Vec<Store>, journal: Arc<Journal>, operations: usize) {
    let mut random = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed.wrapping_mul(0xD134_2543_DE82_EF95) | 1;
    let mut below = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    for operation in 0..operations as u64 {
        let server = &servers[usize::try_from(below(servers.len() as u64)).unwrap()];
        let things = server.resource("things");
        let number_of_key = u8::try_from(below(4)).unwrap();
        let key = Key::new("default", &number_of_key.to_string()).unwrap();
        let value = number * 1_000_000 + operation;
        let seen = things.snapshot().get(&key);
        let seen_value = seen.as_ref().map_or(u64::MAX, |entry| text(entry.bytes()).parse().unwrap());
        // What is not there has a revision that is never given out.
        let seen_at = seen.map_or(Revision(1 << 60), |entry| entry.mod_revision());
        let new = || object(&value.to_string());
        let (call, txn) = match below(6) {
            0 | 1 => (Call::Read, None),
            2 => (Call::Write(value), Some(Txn::new().put(&things, key.clone(), Expect::Any, new()))),
            3 => (Call::Create(value), Some(Txn::new().put(&things, key.clone(), Expect::Absent, new()))),
            4 => {
                let txn = Txn::new().put(&things, key.clone(), Expect::Revision(seen_at), new());
                (Call::Swap(seen_value, value), Some(txn))
            }
            _ => (Call::Delete, Some(Txn::new().delete(&things, key.clone(), Expect::Any))),
        };
        let begin = journal.now();
        let answer = match txn {
            None => match server.refresh().await {
                Ok(_) => {
                    let found = things.snapshot().get(&key);
                    Answer::Value(found.map(|entry| text(entry.bytes()).parse().unwrap()))
                }
                Err(_) => Answer::Refused,
            },
            Some(txn) => match server.commit(txn).await {
                Ok(_) => Answer::Done,
                Err(StoreError::Conflict { .. }) => Answer::No,
                Err(StoreError::Unknown(_)) => Answer::Unknown,
                Err(StoreError::Unavailable(_) | StoreError::Closed) => Answer::Refused,
                Err(error @ StoreError::Malformed(_)) => panic!("{error}"),
            },
        };
        let end = journal.now();
        journal.note(number_of_key, Operation { call, answer, begin, end });
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_checker_tells_right_from_wrong() {
    let operation = |call, answer, begin, end| Operation { call, answer, begin, end };
    let write = |value, begin, end| operation(Call::Write(value), Answer::Done, begin, end);
    let read = |value, begin, end| operation(Call::Read, Answer::Value(value), begin, end);
    let check = |history: &[Operation], right| assert_eq!(is_linearizable(history.to_vec()), right, "{history:#?}");
    check(&[write(1, 0, 1), read(Some(1), 2, 3)], true);
    check(&[write(1, 0, 1), read(None, 2, 3)], false);
    // While it is written, either is right; but not first the new and then the old.
    check(&[write(1, 0, 9), read(None, 1, 2), read(Some(1), 3, 4)], true);
    check(&[write(1, 0, 9), read(Some(1), 1, 2), read(None, 3, 4)], false);
    // Two creates cannot both have been first.
    let create = |value, begin, end| operation(Call::Create(value), Answer::Done, begin, end);
    check(&[create(1, 0, 5), create(2, 1, 6)], false);
    check(&[create(1, 0, 5), operation(Call::Create(2), Answer::No, 1, 6)], true);
    // What is unknown may have happened late, or never, but not before it was asked for.
    let unknown = |begin| operation(Call::Write(7), Answer::Unknown, begin, begin + 1);
    check(&[unknown(0), read(None, 2, 3), read(Some(7), 4, 5)], true);
    check(&[unknown(0), read(None, 2, 3), read(None, 4, 5)], true);
    check(&[read(Some(7), 0, 1), unknown(2)], false);
    // A lost update.
    let swap = |from, to, begin, end| operation(Call::Swap(from, to), Answer::Done, begin, end);
    check(&[write(1, 0, 1), swap(1, 2, 2, 5), swap(1, 3, 3, 6)], false);
}

fn in_parallel(seed: u64, servers: &[Store], disturb: impl FnOnce() + Send + 'static) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let journal = Arc::new(Journal::default());
    runtime.block_on(async {
        let disturbing = tokio::task::spawn_blocking(disturb);
        let clients: Vec<_> = (0..8)
            .map(|number| tokio::spawn(client(number, seed, servers.to_vec(), Arc::clone(&journal), 50)))
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        disturbing.await.unwrap();
    });
    Arc::into_inner(journal).unwrap().check()
}

#[test]
fn one_store_whose_syncs_fail_from_time_to_time() {
    let mut operations = 0;
    for seed in 0..count("TIPHYS_LINEAR_ROUNDS", 4) as u64 {
        let disk = SimDisk::new(seed + 1);
        let factory = LogFactory::on(disk.clone(), LogOptions { checkpoint_bytes: 8 << 10, step_bytes: 8 << 10 });
        let options = StoreOptions { reopen: Duration::ZERO, ..StoreOptions::default() };
        let store = Store::open(factory, options).unwrap();
        operations += in_parallel(seed, &[store], move || {
            for _ in 0..20 {
                disk.fail_syncs(true);
                std::thread::sleep(Duration::from_micros(300));
                disk.fail_syncs(false);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    eprintln!("{operations} operations in one order");
}

#[test]
fn three_stores_over_one_etcd_that_is_killed() {
    let Some(etcd) = EtcdServer::start() else { return };
    let etcd = Arc::new(Mutex::new(etcd));
    let mut operations = 0;
    for seed in 0..count("TIPHYS_LINEAR_ROUNDS", 4) as u64 {
        let servers: Vec<Store> = (0..3).map(|_| etcd.lock().open()).collect();
        // Each round begins with nothing.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let things = servers[0].resource("things");
            for entry in things.snapshot().iter() {
                let delete = Txn::new().delete(&things, entry.key().clone(), Expect::Any);
                servers[0].commit(delete).await.unwrap();
            }
            for server in &servers {
                server.refresh().await.unwrap();
            }
        });
        let killed = Arc::clone(&etcd);
        let (leaving, last) = (servers[2].clone(), runtime);
        operations += in_parallel(seed, &servers, move || {
            std::thread::sleep(Duration::from_millis(30));
            if seed % 2 == 1 {
                // One of the servers goes.
                last.block_on(leaving.shutdown()).unwrap();
            } else {
                let mut etcd = killed.lock();
                etcd.kill();
                etcd.resume();
            }
        });
    }
    eprintln!("{operations} operations in one order");
}
