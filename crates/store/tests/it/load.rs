//! Many writers and watchers on several threads: each watcher keeps its own copy from events, and all agree in the end.

use std::collections::BTreeMap;

use bytes::Bytes;
use engine::memory::Memory;
use store::{EventKind, Expect, Filter, HistoryLimits, Key, Resource, Revision, Store, StoreError, StoreOptions};
use store::{Template, Txn, WatchError};

const WRITERS: u64 = 4;
const WATCHERS: usize = 40;
const WRITES: u64 = 600;

type Copy = BTreeMap<Key, u64>;

fn value() -> Template {
    Template::split(Bytes::from_static(b"{}"), 1)
}

/// Creates, updates and deletes the same few keys as the others, with the precondition of what it saw.
async fn write(store: Store, resource: Resource, writer: u64) {
    let mut random = writer.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..WRITES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = Key::new(["a", "b"][(random % 2) as usize], &format!("{}", random / 2 % 20)).unwrap();
        let seen = resource.snapshot().get(&key);
        let expect = seen.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.mod_revision()));
        let txn = match seen {
            Some(_) if random.is_multiple_of(3) => Txn::new().delete(&resource, key, expect),
            _ => Txn::new().put(&resource, key, expect, value()),
        };
        match store.commit(txn).await {
            Ok(committed) => {
                let now = resource.snapshot();
                assert!(now.revision() >= committed.revision, "acknowledged and not to be seen");
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lists and watches, and starts over when it was too slow. Returns its copy once it has seen `end`.
async fn follow(resource: Resource, mut end: tokio::sync::watch::Receiver<Revision>, slow: bool) -> (Copy, u64) {
    let mut restarts = 0;
    'list: loop {
        let snapshot = resource.snapshot();
        let mut copy: Copy = snapshot.iter().map(|entry| (entry.key().clone(), entry.mod_revision().0)).collect();
        let mut watch = match resource.watch(snapshot.revision(), Filter::all()) {
            Ok(watch) => watch,
            Err(WatchError::Compacted { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut last = snapshot.revision();
        loop {
            let end_now = *end.borrow();
            if end_now != Revision::ZERO && watch.progress() >= end_now {
                return (copy, restarts);
            }
            let event = tokio::select! {
                event = watch.next() => event,
                _ = end.changed() => continue,
            };
            match event {
                Ok(event) => {
                    assert!(event.revision() > last, "out of order");
                    last = event.revision();
                    let known = copy.get(event.key()).copied();
                    let previous = event.previous().map(|entry| entry.mod_revision().0);
                    assert_eq!(known, previous, "a gap or an overlap at {event:?}");
                    match event.kind() {
                        EventKind::Deleted => copy.remove(event.key()),
                        EventKind::Added | EventKind::Modified => copy.insert(event.key().clone(), last.0),
                    };
                }
                Err(WatchError::Lagged) => {
                    restarts += 1;
                    continue 'list;
                }
                Err(error) => panic!("{error}"),
            }
            if slow {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_agree_with_the_store() {
    let history = HistoryLimits { events: 100, ..HistoryLimits::default() };
    let store = Store::open(Memory::new(), StoreOptions { history, ..StoreOptions::default() }).unwrap();
    let resource = store.resource("pods");
    let (end, ended) = tokio::sync::watch::channel(Revision::ZERO);
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), resource.clone(), writer + 1))).collect();
    let watchers: Vec<_> =
        (0..WATCHERS).map(|number| tokio::spawn(follow(resource.clone(), ended.clone(), number % 4 == 0))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    end.send_replace(store.revision());
    let expected: Copy =
        resource.snapshot().iter().map(|entry| (entry.key().clone(), entry.mod_revision().0)).collect();
    for watcher in watchers {
        let (copy, _restarts) = watcher.await.unwrap();
        assert_eq!(copy, expected);
    }
    assert_eq!(resource.watchers(), 0);
}
