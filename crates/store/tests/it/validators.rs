//! What is promised of watches, checked by watchers that know what they should see, while others write, and over
//! restarts: in order, each change once, all of a transaction or nothing, from any revision on, bookmarks that are
//! true, and no gap. Upstream's e2e of etcd has the same list (`robustness/validate/watch.go`).
//! `TIPHYS_WATCH_ROUNDS` says how many restarts; 6 without it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use engine::Revision;
use engine::disk::RealDisk;
use engine::log::{LogFactory, LogOptions};
use store::{EventKind, Expect, Filter, Key, Resource, Store, StoreOptions, Txn, WatchError};

use crate::count;
use crate::etcd_server::{EtcdServer, object, text};

const WRITES: usize = 300;
const WATCHERS: usize = 12;

type Contents = BTreeMap<String, (Revision, String)>;

/// What one watcher was told.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    revision: Revision,
    kind: EventKind,
    key: String,
    text: String,
    previous: Option<String>,
}

fn contents(resource: &Resource) -> (Revision, Contents) {
    let snapshot = resource.snapshot();
    let entry =
        |entry: std::sync::Arc<store::Entry>| (entry.key().to_string(), (entry.mod_revision(), text(entry.bytes())));
    (snapshot.revision(), snapshot.iter().map(entry).collect())
}

/// Pairs of objects that are always written together.
async fn write(store: Store, writer: usize) {
    let things = store.resource("things");
    let key = |half: &str| Key::new("pairs", &format!("{writer}-{half}")).unwrap();
    for number in 0..WRITES {
        let value = || object(&number.to_string());
        let there = things.snapshot().get(&key("a")).is_some();
        let txn = match number % 5 {
            4 if there => Txn::new().delete(&things, key("a"), Expect::Any).delete(&things, key("b"), Expect::Any),
            _ => Txn::new().put(&things, key("a"), Expect::Any, value()).put(&things, key("b"), Expect::Any, value()),
        };
        store.commit(txn).await.unwrap();
    }
}

/// Watches from a list on until `end` is behind it, and checks as it goes. Gives back what it saw.
async fn watch(resource: Resource, from: (Revision, Contents), end: Revision, pause: usize) -> Vec<Seen> {
    let (list_at, mut copy) = from;
    let mut watch = resource.watch(list_at, Filter::all()).unwrap();
    let mut seen: Vec<Seen> = Vec::new();
    loop {
        // A bookmark: everything up to it was given out, and nothing behind it.
        let bookmark = watch.progress();
        assert!(seen.last().is_none_or(|last| last.revision <= bookmark || split(&seen)), "a bookmark before an event");
        if bookmark >= end {
            break;
        }
        let event = match tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap() {
            Ok(event) => event,
            Err(error) => panic!("{error}"),
        };
        assert!(event.revision() > list_at, "what the list had already");
        let last = seen.last().map_or(list_at, |last| last.revision);
        assert!(event.revision() >= last, "out of order");
        let key = event.key().to_string();
        assert!(!seen.iter().rev().take_while(|s| s.revision == event.revision()).any(|s| s.key == key), "twice");
        if event.revision() > last {
            assert!(!split(&seen), "half of a transaction: {:?}", seen.last());
        }
        let known = copy.get(&key).map(|(_, text)| text.clone());
        let previous = event.previous().map(|entry| text(entry.bytes()));
        assert_eq!(known, previous, "a gap at {event:?}");
        let now = text(event.entry().bytes());
        match event.kind() {
            EventKind::Deleted => copy.remove(&key),
            EventKind::Added | EventKind::Modified => copy.insert(key.clone(), (event.revision(), now.clone())),
        };
        assert_eq!(event.kind() == EventKind::Added, known.is_none());
        seen.push(Seen { revision: event.revision(), kind: event.kind(), key, text: now, previous });
        for _ in 0..pause {
            tokio::task::yield_now().await;
        }
    }
    assert!(!split(&seen), "it ended within a transaction");
    seen
}

/// Whether the last revision has only one of the two events that it must have.
fn split(seen: &[Seen]) -> bool {
    let Some(last) = seen.last() else { return false };
    seen.iter().rev().take_while(|event| event.revision == last.revision).count() != 2
}

async fn round(store: &Store) {
    let things = store.resource("things");
    let from = contents(&things);
    let writers: Vec<_> = (0..3).map(|writer| tokio::spawn(write(store.clone(), writer))).collect();
    // Every transaction has a revision of its own: it takes so many at least.
    let last = Revision(from.0.0 + (3 * WRITES) as u64);
    let early: Vec<_> = (0..WATCHERS)
        .map(|number| {
            let (things, from) = (things.clone(), from.clone());
            tokio::spawn(async move { watch(things, from, last, number % 4 * 10).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let end = store.revision();
    let all = watch(things.clone(), from.clone(), end, 0).await;
    assert_eq!(all.len(), 3 * WRITES * 2, "two events for each transaction");
    for watcher in early {
        let seen = watcher.await.unwrap();
        assert_eq!(seen[..], all[..seen.len()], "watchers differ");
    }
    // From any revision on, the rest and nothing else.
    for at in (0..all.len()).step_by(97) {
        let revision = all[at].revision;
        let mut rest = things.watch(revision, Filter::all()).unwrap();
        for expected in all.iter().filter(|event| event.revision > revision) {
            let event = rest.try_next().unwrap().unwrap();
            assert_eq!((event.revision(), event.key().to_string()), (expected.revision, expected.key.clone()));
        }
        assert!(rest.try_next().unwrap().is_none());
    }
    // And the events lead from the list before to the list after.
    let mut copy = from.1;
    for event in &all {
        match event.kind {
            EventKind::Deleted => copy.remove(&event.key),
            _ => copy.insert(event.key.clone(), (event.revision, event.text.clone())),
        };
    }
    assert_eq!(copy, contents(&things).1);
}

fn open(path: &Path) -> Store {
    let options = LogOptions { checkpoint_bytes: 256 << 10, step_bytes: 64 << 10 };
    Store::open(LogFactory::on(RealDisk::new(path), options), StoreOptions::default()).unwrap()
}

#[test]
fn watches_keep_their_promises_over_restarts() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut before: Option<(Revision, Contents)> = None;
    for _ in 0..count("TIPHYS_WATCH_ROUNDS", 6) {
        let store = open(directory.path());
        runtime.block_on(async {
            let things = store.resource("things");
            if let Some((revision, contents)) = &before {
                // What was there is there, and a watch from before the restart goes on, or says that it cannot.
                assert_eq!(&self::contents(&things).1, contents);
                match things.watch(*revision, Filter::all()) {
                    Ok(mut watch) => assert!(watch.try_next().unwrap().is_none()),
                    Err(WatchError::Compacted { oldest, .. }) => assert!(oldest > *revision),
                    Err(error) => panic!("{error}"),
                }
            }
            round(&store).await;
            before = Some(contents(&things));
            store.shutdown().await.unwrap();
        });
    }
}

#[test]
fn watches_over_etcd_keep_their_promises() {
    let Some(etcd) = EtcdServer::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    for _ in 0..count("TIPHYS_WATCH_ROUNDS", 6).div_ceil(3) {
        let (store, other) = (etcd.open(), etcd.open());
        runtime.block_on(async {
            let things = other.resource("things");
            let from = contents(&things);
            round(&store).await;
            // Another server has seen the same.
            let end = other.refresh().await.unwrap();
            let theirs = watch(things.clone(), from, end, 0).await;
            assert_eq!(theirs.len(), 3 * WRITES * 2);
            assert_eq!(contents(&things).1, contents(&store.resource("things")).1);
            store.shutdown().await.unwrap();
            other.shutdown().await.unwrap();
        });
    }
}
