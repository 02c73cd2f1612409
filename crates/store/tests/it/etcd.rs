//! Several stores over one real etcd: what one writes the others see, in one order, and nobody acknowledges what is
//! not so.

use std::sync::Arc;
use std::time::Duration;

use engine::transfer::Contents;
use engine::{Codec, EngineError, Mark, Plain, Revision, Template};
use futures::future::join_all;
use store::{EventKind, Expect, Filter, Key, StoreError, StoreOptions, Txn, WatchError};

use crate::etcd_server::{EtcdServer, object, text};

fn key(name: &str) -> Key {
    Key::new("default", name).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn one_writes_and_the_others_see_it() {
    let Some(etcd) = EtcdServer::start() else { return };
    let (one, two) = (etcd.open(), etcd.open());
    runtime().block_on(async {
        let (pods, theirs) = (one.resource("pods"), two.resource("pods"));
        let mut watch = theirs.watch(two.revision(), Filter::all()).unwrap();
        let created = one.commit(Txn::new().put(&pods, key("a"), Expect::Absent, object("1"))).await.unwrap();
        // Own writes are there at once, those of others after asking.
        assert_eq!(pods.snapshot().get(&key("a")).unwrap().mod_revision(), created.revision);
        assert!(two.refresh().await.unwrap() >= created.revision);
        let entry = theirs.snapshot().get(&key("a")).unwrap();
        assert_eq!(entry.bytes(), created.entry().bytes());
        assert_eq!((entry.create_revision(), entry.mod_revision()), (created.revision, created.revision));

        // Of two that update the same version one wins, and the other sees by what.
        let update = |text: &str| object(text);
        let expect = Expect::Revision(created.revision);
        let (left, right) = futures::join!(
            one.commit(Txn::new().put(&pods, key("a"), expect, update("left"))),
            two.commit(Txn::new().put(&theirs, key("a"), expect, update("right"))),
        );
        let (winner, loser) = if left.is_ok() { (left, right) } else { (right, left) };
        let winner = winner.unwrap();
        let Err(StoreError::Conflict { current: Some(current), .. }) = loser else { panic!("{loser:?}") };
        assert_eq!(current.bytes(), winner.entry().bytes());
        assert_eq!(current.create_revision(), created.revision);

        let gone = two.commit(Txn::new().delete(&theirs, key("a"), Expect::Any)).await.unwrap();
        one.refresh().await.unwrap();
        assert!(pods.snapshot().get(&key("a")).is_none());
        let again = one.commit(Txn::new().delete(&pods, key("a"), Expect::Any)).await;
        assert!(matches!(again, Err(StoreError::Conflict { current: None, .. })), "{again:?}");

        let mut seen = Vec::new();
        for _ in 0..3 {
            let event = watch.next().await.unwrap();
            seen.push((event.kind(), event.revision()));
        }
        assert_eq!(
            seen,
            [
                (EventKind::Added, created.revision),
                (EventKind::Modified, winner.revision),
                (EventKind::Deleted, gone.revision)
            ]
        );
        one.shutdown().await.unwrap();
        let refused = one.commit(Txn::new().put(&pods, key("b"), Expect::Any, object("1"))).await;
        assert!(matches!(refused, Err(StoreError::Closed)));
        two.shutdown().await.unwrap();
    });
}

#[test]
fn one_of_many_racing_creates_wins() {
    let Some(etcd) = EtcdServer::start() else { return };
    let stores: Vec<_> = (0..3).map(|_| etcd.open()).collect();
    runtime().block_on(async {
        for round in 0..20 {
            let creates = stores.iter().enumerate().flat_map(|(number, store)| {
                (0..5).map(move |task| {
                    let name = key(&format!("r{round}"));
                    let value = object(&format!("{number} {task}"));
                    store.commit(Txn::new().put(&store.resource("things"), name, Expect::Absent, value))
                })
            });
            let results = join_all(creates).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
            assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict { current: Some(_), .. }))));
        }
    });
}

#[test]
fn a_transaction_of_several_keys_is_whole_for_everybody() {
    let Some(etcd) = EtcdServer::start() else { return };
    let (one, two) = (etcd.open(), etcd.open());
    runtime().block_on(async {
        let (things, nodes) = (one.resource("things"), one.resource("nodes"));
        let node = Key::new("", "n").unwrap();
        for number in 0..50 {
            let value = || object(&number.to_string());
            let txn =
                Txn::new().put(&things, key("a"), Expect::Any, value()).put(&nodes, node.clone(), Expect::Any, value());
            let committed = one.commit(txn).await.unwrap();
            assert!(committed.entries.iter().all(|entry| entry.mod_revision() == committed.revision));
            two.refresh().await.unwrap();
            let theirs = [
                two.resource("things").snapshot().get(&key("a")).unwrap(),
                two.resource("nodes").snapshot().get(&node).unwrap(),
            ];
            assert!(theirs.iter().all(|entry| text(entry.bytes()) == number.to_string()));
        }
        // All or nothing.
        let txn = Txn::new().put(&things, key("new"), Expect::Any, object("x")).delete(&nodes, node, Expect::Absent);
        assert!(matches!(one.commit(txn).await, Err(StoreError::Conflict { op: 1, .. })));
        assert!(one.resource("things").snapshot().get(&key("new")).is_none());
    });
}

#[test]
fn what_has_a_lifetime_goes_by_itself() {
    let Some(etcd) = EtcdServer::start() else { return };
    let options = StoreOptions {
        lifetimes: vec![("leases.coordination.k8s.io".into(), Duration::from_secs(1))],
        ..Default::default()
    };
    let store = etcd.open_with(options);
    runtime().block_on(async {
        let leases = store.resource("leases.coordination.k8s.io");
        let mut watch = leases.watch(store.revision(), Filter::all()).unwrap();
        store.commit(Txn::new().put(&leases, key("l"), Expect::Any, object("x"))).await.unwrap();
        store.commit(Txn::new().put(&store.resource("things"), key("t"), Expect::Any, object("x"))).await.unwrap();
        assert_eq!(watch.next().await.unwrap().kind(), EventKind::Added);
        assert_eq!(watch.next().await.unwrap().kind(), EventKind::Deleted);
        assert!(leases.snapshot().is_empty() && store.resource("things").snapshot().len() == 1);
    });
}

#[test]
fn it_goes_on_when_etcd_comes_back() {
    let Some(mut etcd) = EtcdServer::start() else { return };
    let (one, two) = (etcd.open(), etcd.open());
    runtime().block_on(async {
        let (things, theirs) = (one.resource("things"), two.resource("things"));
        let mut watch = theirs.watch(two.revision(), Filter::all()).unwrap();
        one.commit(Txn::new().put(&things, key("a"), Expect::Absent, object("0"))).await.unwrap();
        for round in 1..4 {
            etcd.kill();
            let failed = one.commit(Txn::new().put(&things, key("b"), Expect::Any, object("lost"))).await.unwrap_err();
            assert!(matches!(failed, StoreError::Unavailable(_) | StoreError::Unknown(_)), "{failed}");
            assert!(two.refresh().await.is_err());
            // Reading from memory goes on.
            assert_eq!(text(things.snapshot().get(&key("a")).unwrap().bytes()), (round - 1).to_string());
            etcd.resume();
            let committed = loop {
                match one.commit(Txn::new().put(&things, key("a"), Expect::Any, object(&round.to_string()))).await {
                    Ok(committed) => break committed,
                    Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            };
            while two.refresh().await.is_err() {}
            assert_eq!(theirs.snapshot().get(&key("a")).unwrap().bytes(), committed.entry().bytes());
        }
        // The watch has seen every version, and no gap.
        let mut last = String::new();
        while let Some(event) = watch.try_next().unwrap() {
            last = text(event.entry().bytes());
        }
        assert_eq!(last, "3");
    });
}

#[test]
fn foreign_keys_and_revisions_do_not_disturb() {
    let Some(etcd) = EtcdServer::start() else { return };
    let (one, two) = (etcd.open(), etcd.open());
    runtime().block_on(async {
        let things = one.resource("things");
        one.commit(Txn::new().put(&things, key("a"), Expect::Absent, object("1"))).await.unwrap();
        // Revisions go on by what is none of ours: then the feed has to be told.
        for _ in 0..3 {
            etcd_put(&etcd, b"/elsewhere/x", b"y").await;
            etcd_put(&etcd, b"/registry/ranges/serviceips", b"y").await;
            let at = tokio::time::timeout(Duration::from_secs(5), two.refresh()).await.unwrap().unwrap();
            assert!(two.revision() >= at);
        }
        // As upstream writes it, with another order of fields.
        let json = br#"{"kind":"Thing","apiVersion":"v1","metadata":{"name":"u"},"v":"upstream"}"#;
        etcd_put(&etcd, b"/registry/things/default/u", json).await;
        two.refresh().await.unwrap();
        let entry = two.resource("things").snapshot().get(&key("u")).unwrap();
        let revision = entry.mod_revision();
        let expected = format!(
            r#"{{"kind":"Thing","apiVersion":"v1","metadata":{{"resourceVersion":"{revision}","name":"u"}},"v":"upstream"}}"#
        );
        assert_eq!(entry.bytes(), expected.as_bytes());
        one.shutdown().await.unwrap();
        two.shutdown().await.unwrap();
    });
    // What cannot be read is no reason to go on as if it were not there.
    runtime().block_on(etcd_put(&etcd, b"/registry/secrets/default/s", b"k8s:enc:aesgcm:v1:key1:abc"));
    assert!(store::Store::open(etcd.factory(), StoreOptions::default()).is_err());
}

async fn etcd_put(etcd: &EtcdServer, key: &[u8], value: &[u8]) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Put {
        #[prost(bytes = "vec", tag = "1")]
        key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Nothing {}
    let put = Put { key: key.to_vec(), value: value.to_vec() };
    etcd.channel().unary::<Nothing>("/etcdserverpb.KV/Put", &put).await.unwrap();
}

async fn etcd_compact(etcd: &EtcdServer, revision: Revision) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Compaction {
        #[prost(int64, tag = "1")]
        revision: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Nothing {}
    let question = Compaction { revision: i64::try_from(revision.0).unwrap() };
    etcd.channel().unary::<Nothing>("/etcdserverpb.KV/Compact", &question).await.unwrap();
}

#[test]
fn a_store_is_copied_to_etcd_and_back_and_no_revision_comes_again() {
    let Some(etcd) = EtcdServer::start() else { return };
    // It answers from here on.
    drop(etcd.open());
    let directory = tempfile::tempdir().unwrap();
    let (from, back) = (directory.path().join("from"), directory.path().join("back"));
    let open = |path: &std::path::Path| {
        store::Store::open(engine::log::LogFactory::new(path), StoreOptions::default()).unwrap()
    };
    let contents = |store: &store::Store| -> Vec<(String, String)> {
        let things = store.resource("things").snapshot();
        things.iter().map(|entry| (entry.key().to_string(), text(entry.bytes()))).collect()
    };
    let first = open(&from);
    runtime().block_on(async {
        let things = first.resource("things");
        for number in 0..300 {
            let name = key(&format!("{}", number % 250));
            first.commit(Txn::new().put(&things, name, Expect::Any, object(&number.to_string()))).await.unwrap();
        }
        first.shutdown().await.unwrap();
    });
    let expected = contents(&first);
    let options = etcd.options();
    let taken = Contents::of_log(&from).unwrap();
    let upto = taken.into_etcd(&options, taken.revision, &mut |_| ()).unwrap();
    assert!(upto > taken.revision && taken.revision >= first.revision());
    assert!(taken.into_etcd(&options, Revision(0), &mut |_| ()).is_err(), "over another cluster");

    let second = etcd.open();
    assert_eq!(contents(&second), expected);
    // Who had seen a revision of the old store cannot take one of the new for it.
    let watch = second.resource("things").watch(first.revision(), Filter::all());
    assert!(matches!(watch, Err(WatchError::Compacted { .. })));
    let snapshot = Contents::of_etcd(&options).unwrap();
    assert_eq!(snapshot.records.len(), 250);
    let later = Revision(snapshot.revision.0 + engine::transfer::BUMP);
    snapshot.into_log(&back, later).unwrap();
    let third = open(&back);
    assert_eq!((contents(&third), third.revision()), (expected, later));
}

#[test]
fn a_store_that_missed_what_was_compacted_reads_everything_again() {
    let Some(mut etcd) = EtcdServer::start() else { return };
    let stale = etcd.open();
    runtime().block_on(async {
        let things = stale.resource("things");
        for name in ["kept", "changed", "deleted"] {
            stale.commit(Txn::new().put(&things, key(name), Expect::Absent, object("old"))).await.unwrap();
        }
        let mut watch = things.watch(stale.revision(), Filter::all()).unwrap();
        // Its feed ends with this etcd; by the time it finds the next one, what it missed is gone.
        etcd.kill();
        etcd.resume();
        {
            let other = etcd.open();
            let theirs = other.resource("things");
            let txn = Txn::new()
                .put(&theirs, key("changed"), Expect::Any, object("new"))
                .put(&theirs, key("added"), Expect::Absent, object("new"))
                .delete(&theirs, key("deleted"), Expect::Any);
            let committed = other.commit(txn).await.unwrap();
            let more = other.commit(Txn::new().put(&theirs, key("more"), Expect::Absent, object("m"))).await.unwrap();
            assert!(more.revision > committed.revision);
            etcd_compact(&etcd, more.revision).await;
            other.shutdown().await.unwrap();
        }
        while stale.refresh().await.is_err() {}
        let names: Vec<(String, String)> =
            things.snapshot().iter().map(|e| (e.key().name().to_owned(), text(e.bytes()))).collect();
        let expected = [("added", "new"), ("changed", "new"), ("kept", "old"), ("more", "m")];
        assert_eq!(names, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        let mut kinds = Vec::new();
        loop {
            match watch.try_next() {
                Ok(Some(event)) => kinds.push((event.key().name().to_owned(), event.kind())),
                Ok(None) | Err(WatchError::Lagged) => break,
                Err(error) => panic!("{error}"),
            }
        }
        kinds.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [
            ("added", EventKind::Added),
            ("changed", EventKind::Modified),
            ("deleted", EventKind::Deleted),
            ("more", EventKind::Added),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
        // It writes again, too.
        let txn = Txn::new().put(&things, key("kept"), Expect::Any, object("again"));

        stale.commit(txn).await.unwrap();
    });
}

/// Knows nothing of what begins as upstream's protobuf.
struct OfOneVersion;

impl Codec for OfOneVersion {
    fn seal(&self, resource: &str, path: &str, value: &Template) -> Result<(Template, Mark), EngineError> {
        Plain.seal(resource, path, value)
    }

    fn open(&self, resource: &Arc<str>, path: &Arc<str>, kept: Template) -> Result<(Template, Mark), EngineError> {
        if kept.head.starts_with(b"k8s\0") {
            return Err(EngineError::OtherVersion { resource: Arc::clone(resource), path: Arc::clone(path) });
        }
        Plain.open(resource, path, kept)
    }

    fn mark(&self, resource: &str) -> Mark {
        Plain.mark(resource)
    }
}

#[test]
fn what_another_version_keeps_is_not_shown_and_not_touched() {
    let Some(etcd) = EtcdServer::start() else { return };
    drop(etcd.open());
    runtime().block_on(etcd_put(&etcd, b"/registry/things/default/old", b"k8s\0of another time"));
    let options = || StoreOptions { codec: Arc::new(OfOneVersion), reopen: Duration::ZERO, ..Default::default() };
    let store = etcd.open_with(options());
    runtime().block_on(async {
        let things = store.resource("things");
        let mut watch = things.watch(store.revision(), Filter::all()).unwrap();
        assert!(things.snapshot().get(&key("old")).is_none());
        // Its key stays taken.
        let over = Txn::new().put(&things, key("old"), Expect::Absent, object("new"));
        assert!(matches!(store.commit(over).await, Err(StoreError::Conflict { .. })));
        // While the store is open it is the same, and everything else goes on.
        store.commit(Txn::new().put(&things, key("a"), Expect::Absent, object("1"))).await.unwrap();
        etcd_put(&etcd, b"/registry/things/default/b", b"k8s\0another").await;
        etcd_put(&etcd, b"/registry/things/default/a", b"k8s\0another").await;
        store.refresh().await.unwrap();
        assert!(things.snapshot().is_empty());
        let kinds = [watch.next().await.unwrap().kind(), watch.next().await.unwrap().kind()];
        assert_eq!(kinds, [EventKind::Added, EventKind::Deleted]);
        // In a version that is known it is there again.
        etcd_put(&etcd, b"/registry/things/default/b", &object("2").to_json()).await;
        store.refresh().await.unwrap();
        assert_eq!(text(things.snapshot().get(&key("b")).unwrap().bytes()), "2");
    });
}
