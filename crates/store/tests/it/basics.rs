//! One behaviour a test, over the engine that keeps nothing on a disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::memory::{Fault, Memory};
use parking_lot::Mutex;
use store::{
    Committed, EventKind, Expect, Filter, HistoryLimits, Key, Resource, Revision, SnapshotError, Store, StoreError,
    StoreOptions, Template, Txn, WatchError,
};

fn open(memory: &Memory) -> Store {
    Store::open(memory.clone(), StoreOptions::default()).unwrap()
}

fn key(name: &str) -> Key {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Key::new(namespace, name).unwrap()
}

fn value(text: &str) -> Template {
    let json = format!(r#"{{"rv":"","v":"{text}"}}"#);
    Template::split(Bytes::from(json), 7)
}

async fn put(store: &Store, resource: &Resource, name: &str, text: &str) -> Committed {
    store.commit(Txn::new().put(resource, key(name), Expect::Any, value(text))).await.unwrap()
}

async fn delete(store: &Store, resource: &Resource, name: &str) -> Committed {
    store.commit(Txn::new().delete(resource, key(name), Expect::Any)).await.unwrap()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn an_object_carries_its_revision() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let created = put(&store, &pods, "a/x", "1").await;
    assert_eq!(text(created.entry().bytes()), r#"{"rv":"1","v":"1"}"#);
    let updated = put(&store, &pods, "a/x", "2").await;
    assert_eq!(updated.entry().create_revision(), Revision(1));
    assert_eq!(updated.entry().mod_revision(), Revision(2));
    let deleted = delete(&store, &pods, "a/x").await;
    assert_eq!(text(deleted.entry().bytes()), r#"{"rv":"3","v":"2"}"#);
    assert!(pods.snapshot().is_empty());
    assert_eq!(store.revision(), Revision(3));
}

#[tokio::test]
async fn preconditions_hold_or_nothing_is_written() {
    let memory = Memory::new();
    let store = open(&memory);
    let pods = store.resource("pods");
    let revision = put(&store, &pods, "a/x", "1").await.revision;
    let attempts = [
        Txn::new().put(&pods, key("a/x"), Expect::Absent, value("2")),
        Txn::new().put(&pods, key("a/x"), Expect::Revision(Revision(77)), value("2")),
        Txn::new().put(&pods, key("a/y"), Expect::Revision(revision), value("2")),
        Txn::new().delete(&pods, key("a/y"), Expect::Any),
        Txn::new().delete(&pods, key("a/x"), Expect::Revision(Revision(77))),
        Txn::new().put(&pods, key("a/y"), Expect::Absent, value("2")).delete(&pods, key("a/z"), Expect::Any),
    ];
    for attempt in attempts {
        let error = store.commit(attempt).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
    assert_eq!((store.revision(), memory.commits()), (revision, 1));
    store.commit(Txn::new().put(&pods, key("a/x"), Expect::Revision(revision), value("2"))).await.unwrap();
}

#[tokio::test]
async fn malformed_transactions_are_refused() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let huge = Template { head: Bytes::from(vec![b'x'; 9 << 20]), tail: Bytes::new() };
    let attempts = [
        Txn::new(),
        Txn::new().delete(&pods, key("x"), Expect::Any).delete(&pods, key("x"), Expect::Any),
        Txn::new().put(&pods, key("x"), Expect::Any, huge),
    ];
    for attempt in attempts {
        assert!(matches!(store.commit(attempt).await, Err(StoreError::Malformed(_))));
    }
}

#[tokio::test]
async fn one_of_many_racing_creates_wins() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let attempts =
        (0..50).map(|n| store.commit(Txn::new().put(&pods, key("x"), Expect::Absent, value(&n.to_string()))));
    let results = futures::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(store.revision(), Revision(1));
}

#[tokio::test]
async fn a_group_shares_one_sync() {
    let memory = Memory::new();
    let store = open(&memory);
    let pods = store.resource("pods");
    let writes = (0..500).map(|n| store.commit(Txn::new().put(&pods, key(&n.to_string()), Expect::Absent, value(""))));
    assert!(futures::future::join_all(writes).await.iter().all(Result::is_ok));
    assert!(memory.syncs() < 250, "{} syncs", memory.syncs());
}

#[tokio::test]
async fn ranges_are_by_namespace_and_behind_a_key() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    for name in ["a/x", "a/y", "a-b/x", "b/x", "a/z"] {
        put(&store, &pods, name, "").await;
    }
    let snapshot = pods.snapshot();
    let names = |namespace, after: Option<&str>| -> Vec<String> {
        let after = after.map(key);
        assert_eq!(snapshot.count(namespace, after.as_ref()), snapshot.range(namespace, after.as_ref()).count());
        snapshot.range(namespace, after.as_ref()).map(|entry| entry.key().to_string()).collect()
    };
    assert_eq!(names("", None), ["a-b/x", "a/x", "a/y", "a/z", "b/x"]);
    assert_eq!(names("a", None), ["a/x", "a/y", "a/z"]);
    assert_eq!(names("a", Some("a/x")), ["a/y", "a/z"]);
    assert_eq!(names("", Some("a/z")), ["b/x"]);
    assert_eq!(names("b", Some("a/z")), ["b/x"]);
    assert!(names("c", None).is_empty());
}

#[tokio::test]
async fn snapshots_of_the_past_are_exact() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let mut past = Vec::new();
    for round in 0..300 {
        let name = format!("a/{}", round * 7 % 40);
        match pods.snapshot().get(&key(&name)) {
            Some(_) if round % 3 == 0 => delete(&store, &pods, &name).await,
            _ => put(&store, &pods, &name, &round.to_string()).await,
        };
        past.push(pods.snapshot());
    }
    for then in past {
        let again = pods.snapshot_at(then.revision()).unwrap();
        let list = |snapshot: &store::Snapshot| snapshot.iter().map(|entry| text(entry.bytes())).collect::<Vec<_>>();
        assert_eq!(list(&again), list(&then));
    }
    let future = pods.snapshot_at(Revision(301)).map(|_| ()).unwrap_err();
    assert_eq!(future, SnapshotError::Future { asked: Revision(301), current: Revision(300) });
}

#[tokio::test]
async fn a_watch_replays_then_goes_on() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let first = put(&store, &pods, "a/x", "1").await.revision;
    put(&store, &pods, "a/x", "2").await;
    put(&store, &pods, "b/x", "1").await;
    delete(&store, &pods, "a/x").await;
    let mut watch = pods.watch(first, Filter::in_namespace("a")).unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!((event.kind(), event.revision()), (EventKind::Modified, Revision(2)));
    assert_eq!(event.previous().map(|entry| entry.mod_revision()), Some(first));
    assert_eq!(watch.progress(), Revision(3));
    let event = watch.next().await.unwrap();
    assert_eq!((event.kind(), text(event.entry().bytes()).as_str()), (EventKind::Deleted, r#"{"rv":"4","v":"2"}"#));
    assert_eq!(watch.progress(), Revision(4));
    assert!(watch.try_next().unwrap().is_none());

    let live = tokio::spawn(async move { (watch.next().await.unwrap().revision(), watch.progress()) });
    put(&store, &pods, "b/y", "1").await;
    put(&store, &store.resource("nodes"), "n", "1").await;
    let revision = put(&store, &pods, "a/y", "1").await.revision;
    assert_eq!(live.await.unwrap(), (revision, revision));
}

#[tokio::test]
async fn progress_moves_with_other_resources() {
    let store = open(&Memory::new());
    let (pods, nodes) = (store.resource("pods"), store.resource("nodes"));
    let watch = pods.watch(store.revision(), Filter::all()).unwrap();
    let revision = put(&store, &nodes, "n", "").await.revision;
    assert_eq!(watch.progress(), revision);
}

#[tokio::test]
async fn a_transaction_of_several_keys_has_one_revision() {
    let store = open(&Memory::new());
    let (pods, nodes) = (store.resource("pods"), store.resource("nodes"));
    let mut watch = pods.watch(Revision::ZERO, Filter::all()).unwrap();
    let txn = Txn::new()
        .put(&pods, key("a/x"), Expect::Absent, value("1"))
        .put(&nodes, key("n"), Expect::Absent, value("2"))
        .put(&pods, key("a/y"), Expect::Absent, value("3"));
    let committed = store.commit(txn).await.unwrap();
    assert!(committed.entries.iter().all(|entry| entry.mod_revision() == Revision(1)));
    assert_eq!(watch.next().await.unwrap().key(), &key("a/x"));
    assert_eq!(watch.progress(), Revision(0), "half of a revision is not seen");
    assert_eq!(watch.next().await.unwrap().key(), &key("a/y"));
    assert_eq!(watch.progress(), Revision(1));
    assert_eq!(nodes.snapshot().revision(), Revision(1));
}

#[tokio::test]
async fn history_is_bounded_by_count_and_the_slow_are_cut_off() {
    let history = HistoryLimits { events: 10, ..HistoryLimits::default() };
    let store = Store::open(Memory::new(), StoreOptions { history, ..StoreOptions::default() }).unwrap();
    let pods = store.resource("pods");
    let mut slow = pods.watch(Revision::ZERO, Filter::all()).unwrap();
    let mut quick = pods.watch(Revision::ZERO, Filter::all()).unwrap();
    for round in 1..=30 {
        put(&store, &pods, "a/x", &round.to_string()).await;
        assert_eq!(quick.next().await.unwrap().revision(), Revision(round));
    }
    assert_eq!(slow.next().await.unwrap_err(), WatchError::Lagged);
    assert_eq!(pods.oldest(), Revision(20));
    let (asked, oldest) = (Revision(19), Revision(20));
    assert_eq!(pods.watch(asked, Filter::all()).map(|_| ()).unwrap_err(), WatchError::Compacted { asked, oldest });
    assert_eq!(pods.snapshot_at(asked).map(|_| ()).unwrap_err(), SnapshotError::Compacted { asked, oldest });
    assert_eq!(pods.watch(oldest, Filter::all()).unwrap().next().await.unwrap().revision(), Revision(21));
    assert_eq!(pods.snapshot_at(oldest).unwrap().get(&key("a/x")).unwrap().mod_revision(), Revision(20));
}

#[tokio::test]
async fn history_is_bounded_by_age_also_where_nobody_writes() {
    let start = Instant::now();
    let time = Arc::new(Mutex::new(start));
    let clock = Arc::clone(&time);
    let options = StoreOptions { now: Arc::new(move || *clock.lock()), ..StoreOptions::default() };
    let store = Store::open(Memory::new(), options).unwrap();
    let (pods, nodes) = (store.resource("pods"), store.resource("nodes"));
    put(&store, &pods, "a/x", "").await;
    *time.lock() = start + Duration::from_secs(299);
    put(&store, &nodes, "n", "").await;
    put(&store, &nodes, "n", "").await;
    assert_eq!(pods.oldest(), Revision(0));
    *time.lock() = start + Duration::from_secs(301);
    // Each write looks at one resource, after it is acknowledged.
    for _ in 0..3 {
        put(&store, &nodes, "n", "").await;
    }
    assert_eq!(pods.oldest(), Revision(1));
    assert_eq!(nodes.oldest(), Revision(0));
}

/// A watch of what does not change goes on from anywhere; the next page of a list is not to be had for ever.
#[tokio::test]
async fn snapshots_of_the_past_end_also_where_nothing_changes() {
    let start = Instant::now();
    let time = Arc::new(Mutex::new(start));
    let clock = Arc::clone(&time);
    let options = StoreOptions { now: Arc::new(move || *clock.lock()), ..StoreOptions::default() };
    let store = Store::open(Memory::new(), options).unwrap();
    let (pods, nodes) = (store.resource("pods"), store.resource("nodes"));
    put(&store, &pods, "a/x", "").await;
    *time.lock() = start + Duration::from_secs(20);
    put(&store, &nodes, "n", "").await;
    *time.lock() = start + Duration::from_secs(319);
    put(&store, &nodes, "n", "").await;
    assert!(pods.snapshot_at(Revision(1)).is_ok());
    *time.lock() = start + Duration::from_secs(321);
    let (asked, oldest) = (Revision(1), Revision(2));
    assert_eq!(pods.snapshot_at(asked).map(|_| ()).unwrap_err(), SnapshotError::Compacted { asked, oldest });
    assert!(pods.snapshot_at(oldest).is_ok());
    assert!(pods.watch(asked, Filter::all()).is_ok());
    *time.lock() = start + Duration::from_secs(3600);
    assert!(pods.snapshot_at(Revision(3)).is_ok(), "what is current does not age");
}

#[tokio::test]
async fn a_refused_write_changes_nothing() {
    let memory = Memory::new();
    let store = open(&memory);
    let pods = store.resource("pods");
    memory.set_fault(Fault::Refuse);
    let error = store.commit(Txn::new().put(&pods, key("x"), Expect::Any, value("1"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(pods.snapshot().is_empty());
    memory.set_fault(Fault::None);
    put(&store, &pods, "x", "1").await;
}

#[tokio::test]
async fn an_unknown_outcome_shows_once_it_is_known() {
    for (fault, kept) in [(Fault::BreakKept, true), (Fault::BreakLost, false)] {
        let memory = Memory::new();
        let store = open(&memory);
        let pods = store.resource("pods");
        put(&store, &pods, "gone", "1").await;
        let mut watch = pods.watch(store.revision(), Filter::all()).unwrap();
        memory.set_fault(fault);
        let txn = Txn::new().put(&pods, key("x"), Expect::Any, value("1")).delete(&pods, key("gone"), Expect::Any);
        let error = store.commit(txn).await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)), "{error}");
        memory.set_fault(Fault::None);
        put(&store, &pods, "y", "1").await;
        let names: Vec<String> = pods.snapshot().iter().map(|entry| entry.key().to_string()).collect();
        if kept {
            assert_eq!(names, ["x", "y"]);
            let mut seen = [watch.next().await.unwrap(), watch.next().await.unwrap()].map(|event| format!("{event:?}"));
            seen.sort();
            assert_eq!(seen, ["Added x@2", "Deleted gone@2"]);
        } else {
            assert_eq!(names, ["gone", "y"]);
        }
        assert_eq!(watch.next().await.unwrap().key(), &key("y"));
    }
}

#[tokio::test]
async fn an_engine_that_cannot_be_opened_refuses_writes_and_reads_go_on() {
    let memory = Memory::new();
    let store = open(&memory);
    let pods = store.resource("pods");
    put(&store, &pods, "x", "1").await;
    memory.set_fault(Fault::BreakLost);
    memory.refuse_open(true);
    assert!(store.commit(Txn::new().put(&pods, key("y"), Expect::Any, value("1"))).await.is_err());
    let error = store.commit(Txn::new().put(&pods, key("y"), Expect::Any, value("1"))).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert_eq!(pods.snapshot().len(), 1);
}

#[tokio::test]
async fn a_restart_gives_everything_back() {
    let memory = Memory::new();
    let before = {
        let store = open(&memory);
        let pods = store.resource("pods");
        put(&store, &pods, "a/x", "1").await;
        put(&store, &pods, "a/y", "1").await;
        delete(&store, &pods, "a/y").await;
        store.shutdown().await.unwrap();
        let refused = store.commit(Txn::new().delete(&pods, key("a/x"), Expect::Any)).await;
        assert!(matches!(refused, Err(StoreError::Closed)));
        assert_eq!(pods.watch(store.revision(), Filter::all()).map(|_| ()).unwrap_err(), WatchError::Closed);
        pods.snapshot()
    };
    let store = open(&memory);
    let after = store.resource("pods").snapshot();
    assert_eq!(after.revision(), before.revision());
    let list = |snapshot: &store::Snapshot| snapshot.iter().map(|entry| text(entry.bytes())).collect::<Vec<_>>();
    assert_eq!(list(&after), list(&before));
}

#[tokio::test]
async fn shutdown_ends_watches_and_waits() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let mut watch = pods.watch(store.revision(), Filter::all()).unwrap();
    let watching = tokio::spawn(async move { watch.next().await.unwrap_err() });
    let waiter = store.clone();
    let waiting = tokio::spawn(async move { waiter.wait_for(Revision(5)).await });
    let observer = store.clone();
    let closing = tokio::spawn(async move { observer.closed().await });
    store.shutdown().await.unwrap();
    closing.await.unwrap();
    assert_eq!(watching.await.unwrap(), WatchError::Closed);
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_revision_can_be_waited_for() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    let waiter = store.clone();
    let waiting = tokio::spawn(async move { waiter.wait_for(Revision(2)).await.map(|()| waiter.revision()) });
    put(&store, &pods, "x", "1").await;
    put(&store, &pods, "x", "2").await;
    assert_eq!(waiting.await.unwrap().unwrap(), Revision(2));
}

#[tokio::test]
async fn a_watch_by_index_sees_what_comes_and_what_goes() {
    let store = open(&Memory::new());
    let pods = store.resource("pods");
    // The value's first letter.
    pods.index_by(|bytes| String::from_utf8_lossy(bytes).split('"').nth(7).unwrap_or("")[..1].into());
    let mut watch = pods.watch(Revision::ZERO, Filter::all().indexed("b")).unwrap();
    let mut named = pods.watch(Revision::ZERO, Filter::all().named("y")).unwrap();
    for (name, text) in [("x", "a1"), ("x", "b1"), ("y", "b2"), ("x", "b3"), ("x", "c1"), ("x", "c2"), ("y", "b4")] {
        put(&store, &pods, name, text).await;
    }
    delete(&store, &pods, "x").await;
    delete(&store, &pods, "y").await;
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        seen.push(event.revision().0);
    }
    assert_eq!(seen, [2, 3, 4, 5, 7, 9]);
    assert_eq!(watch.progress(), Revision(9));
    for revision in [3, 7, 9] {
        assert_eq!(named.next().await.unwrap().revision(), Revision(revision));
    }

    let live = tokio::spawn(async move { watch.next().await.unwrap().revision() });
    let named = tokio::spawn(async move { named.next().await.unwrap().revision() });
    tokio::task::yield_now().await;
    put(&store, &pods, "x", "a1").await;
    put(&store, &pods, "x", "b1").await;
    assert_eq!(live.await.unwrap(), Revision(11));
    put(&store, &pods, "y", "a1").await;
    assert_eq!(named.await.unwrap(), Revision(12));
}

#[tokio::test]
async fn many_updates_of_one_object_take_turns() {
    let store = open(&Memory::new());
    let leases = store.resource("leases");
    put(&store, &leases, "x", "0").await;
    let update = || async {
        loop {
            let seen = leases.snapshot().get(&key("x")).unwrap();
            let txn = Txn::new().put(&leases, key("x"), Expect::Revision(seen.mod_revision()), value("1"));
            match store.commit(txn).await {
                Ok(_) => return,
                Err(StoreError::Conflict { current, .. }) => assert!(current.is_some()),
                Err(error) => panic!("{error}"),
            }
        }
    };
    futures::future::join_all((0..100).map(|_| update())).await;
    assert_eq!(store.revision(), Revision(101));
}
