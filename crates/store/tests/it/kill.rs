//! The kill loop: a process writes, another one holds the journal of what it acknowledged, kills it at any moment, and
//! looks at what is there. `TIPHYS_KILLS` says how often; 300 without it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use engine::disk::RealDisk;
use engine::log::{LogFactory, LogOptions};
use store::{Expect, Key, Store, StoreOptions, Template, Txn};

const DIRECTORY: &str = "TIPHYS_KILL_DIRECTORY";
const WRITERS: u64 = 6;

fn open(path: &Path) -> Store {
    // Small, so that a checkpoint is often under way when the end comes.
    let options = LogOptions { checkpoint_bytes: 96 << 10, step_bytes: 64 << 10 };
    Store::open(LogFactory::on(RealDisk::new(path), options), StoreOptions::default()).unwrap()
}

fn value(text: &str) -> Template {
    Template::split(Bytes::from(text.to_owned()), text.len())
}

fn counter_key(writer: u64) -> Key {
    Key::new("counters", &writer.to_string()).unwrap()
}

fn data_key(writer: u64) -> Key {
    Key::new("data", &writer.to_string()).unwrap()
}

/// Every fifth step deletes the data.
fn deletes(step: u64) -> bool {
    step % 5 == 4
}

fn data(step: u64) -> String {
    format!("{step} {} @", "x".repeat((step * 37 % 1500) as usize))
}

/// Of the last step: the first number in the value.
fn number(store: &Store, key: &Key) -> Option<u64> {
    let entry = store.resource("things").snapshot().get(key)?;
    let text = std::str::from_utf8(entry.bytes()).unwrap();
    Some(text.split(' ').next().unwrap().parse().unwrap())
}

/// One step changes the counter and the data together.
async fn write(store: Store, writer: u64) {
    let things = store.resource("things");
    loop {
        let last = number(&store, &counter_key(writer));
        let step = last.map_or(0, |last| last + 1);
        let mut txn = Txn::new().put(&things, counter_key(writer), Expect::Any, value(&format!("{step} @")));
        let there = things.snapshot().get(&data_key(writer)).is_some();
        txn = match deletes(step) {
            true if there => txn.delete(&things, data_key(writer), Expect::Any),
            true => txn,
            false => txn.put(&things, data_key(writer), Expect::Any, value(&data(step))),
        };
        if writer == 0 {
            txn = txn.relaxed();
        }
        let committed = store.commit(txn).await.unwrap();
        let line = format!("{writer} {step} {}\n", committed.revision);
        // One write: a line in the pipe is whole or not there.
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
#[ignore = "the process that the kill loop kills"]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&directory));
        futures::future::join_all((0..WRITERS).map(|writer| write(store.clone(), writer))).await;
    });
}

fn spawn(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env("RUST_MIN_STACK", "262144")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements; kills after so many, or after a while; takes what was still in the pipe.
fn kill_after(directory: &Path, acks: usize, wait: Option<Duration>, journal: &mut BTreeMap<u64, (u64, u64)>) -> usize {
    let mut child = spawn(directory);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    let mut note = |line: String| {
        // What is not an acknowledgement is the test harness speaking.
        let fields: Vec<u64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
        if let [writer, step, revision] = fields[..] {
            let last = journal.insert(writer, (step, revision));
            assert!(last.is_none_or(|(before, older)| step > before && revision > older), "{line}");
            return 1;
        }
        0
    };
    match wait {
        // At any moment of its start: there is nothing to wait for.
        Some(wait) => std::thread::sleep(wait),
        None => {
            while seen < acks {
                let line = lines.next().expect("it ended by itself").unwrap();
                seen += note(line);
            }
        }
    }
    child.kill().unwrap();
    seen += lines.map_while(Result::ok).map(&mut note).sum::<usize>();
    child.wait().unwrap();
    seen
}

fn check(store: &Store, journal: &BTreeMap<u64, (u64, u64)>) {
    let things = store.resource("things").snapshot();
    for writer in 0..WRITERS {
        let found = number(store, &counter_key(writer));
        if let Some((step, revision)) = journal.get(&writer) {
            let found = found.unwrap_or_else(|| panic!("writer {writer}: step {step} is lost with everything"));
            // One more may be kept whose acknowledgement did not get out.
            assert!(found == *step || found == step + 1, "writer {writer}: step {step} acknowledged, {found} is there");
            assert!(store.revision().0 >= *revision);
            if found == *step {
                let counter = things.get(&counter_key(writer)).unwrap();
                assert_eq!(counter.mod_revision().0, *revision);
            }
        }
        let Some(found) = found else { continue };
        let data_entry = things.get(&data_key(writer)).map(|entry| (entry.mod_revision(), entry.bytes().clone()));
        let expected = (!deletes(found)).then(|| {
            let counter = things.get(&counter_key(writer)).unwrap();
            let revision = counter.mod_revision();
            (revision, Bytes::from(format!("{}{revision}", data(found))))
        });
        assert_eq!(data_entry, expected, "writer {writer}: half a transaction");
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let kills = crate::count("TIPHYS_KILLS", 300);
    let directory = tempfile::tempdir().unwrap();
    let mut journal = BTreeMap::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut random, mut acknowledged) = (0x2545_F491_4F6C_DD1D_u64, 0);
    for life in 1..=kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let wait = (random % 5 == 0).then(|| Duration::from_micros(random / 5 % 20_000));
        let acks = (random / 7 % 120) as usize;
        acknowledged += kill_after(directory.path(), acks, wait, &mut journal);
        let store = open(directory.path());
        check(&store, &journal);
        // What is there is what the next one starts from, acknowledged or not.
        for writer in 0..WRITERS {
            if let Some(found) = number(&store, &counter_key(writer)) {
                let revision = store.resource("things").snapshot().get(&counter_key(writer)).unwrap().mod_revision();
                journal.insert(writer, (found, revision.0));
            }
        }
        runtime.block_on(store.shutdown()).unwrap();
        if life % 1000 == 0 {
            eprintln!("{life} kills, {acknowledged} acknowledgements");
        }
    }
    assert!(kills < 10 || acknowledged > kills, "only {acknowledged} acknowledgements in {kills} lives");
}
