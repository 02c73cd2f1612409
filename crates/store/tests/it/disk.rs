//! A disk that runs full, and one whose sync fails: no false acknowledgement, and it goes on afterwards.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use engine::disk::sim::SimDisk;
use engine::log::{LogFactory, LogOptions};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use store::{Expect, Factory, Filter, Key, Revision, Store, StoreError, StoreOptions, Template, Txn};

fn key(number: usize) -> Key {
    Key::new("", &format!("{number:06}")).unwrap()
}

fn put(store: &Store, number: usize, len: usize) -> Txn {
    let value = Template::split(Bytes::from(vec![b'x'; len]), 0);
    Txn::new().put(&store.resource("configmaps"), key(number), Expect::Any, value)
}

fn open(factory: impl Factory) -> Store {
    Store::open(factory, StoreOptions { reopen: Duration::ZERO, ..StoreOptions::default() }).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// On a file system of a few megabytes that only this thread and its children see.
fn fill_and_empty(directory: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let data = directory.join("data");

    block_on(async {
        let store = open(LogFactory::new(&data));
        let mut kept = 0;
        let error = loop {
            match store.commit(put(&store, kept, 16 << 10)).await {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 1000, "the disk does not become full");
        };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("no space left to extend"), "{cause}");
        let revision = store.revision();
        // Reads go on, writes are refused again and again, and change nothing.
        for _ in 0..20 {
            store.commit(put(&store, kept, 16 << 10)).await.unwrap_err();
        }
        assert_eq!((store.revision(), store.resource("configmaps").snapshot().len()), (revision, kept));

        // Closing has something to write as well, which may fit or not. It opens again with what was acknowledged.
        store.shutdown().await.ok();
        let store = open(LogFactory::new(&data));
        assert_eq!((store.revision(), store.resource("configmaps").snapshot().len()), (revision, kept));

        std::fs::remove_file(&ballast).unwrap();
        for _ in 0..20 {
            store.commit(put(&store, kept, 16 << 10)).await.unwrap();
            kept += 1;
        }
        store.shutdown().await.unwrap();
        let store = open(LogFactory::new(&data));
        assert_eq!(store.resource("configmaps").snapshot().len(), kept);
    });
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    // A thread of its own: the mount namespace is that of a thread.
    std::thread::spawn(move || fill_and_empty(&path)).join().unwrap();
}

#[test]
fn a_failing_sync_is_never_acknowledged() {
    block_on(async {
        let disk = SimDisk::new(7);
        let factory = || LogFactory::on(disk.clone(), LogOptions { step_bytes: 8 << 10, ..LogOptions::default() });
        let store = open(factory());
        let resource = store.resource("configmaps");
        store.commit(put(&store, 1, 10)).await.unwrap();
        let mut watch = resource.watch(store.revision(), Filter::all()).unwrap();

        disk.fail_syncs(true);
        let error = store.commit(put(&store, 2, 10)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)), "{error}");
        assert!(watch.try_next().unwrap().is_none(), "readers saw what is not kept");
        // While it cannot be opened again, nothing is acknowledged either.
        let error = store.commit(put(&store, 3, 10)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");

        disk.fail_syncs(false);
        store.commit(put(&store, 4, 10)).await.unwrap();
        store.shutdown().await.unwrap();
        // What the failed sync left behind in the page cache is worth nothing now.
        disk.power_cut();
        let store = open(factory());
        let snapshot = store.resource("configmaps").snapshot();
        assert!(snapshot.get(&key(1)).is_some() && snapshot.get(&key(4)).is_some());
        assert!(snapshot.get(&key(3)).is_none());
    });
}

#[test]
fn relaxed_writes_that_readers_saw_survive_a_failing_sync() {
    block_on(async {
        let disk = SimDisk::new(7);
        let store = open(LogFactory::on(disk.clone(), LogOptions { step_bytes: 8 << 10, ..LogOptions::default() }));
        let resource = store.resource("leases");
        let value = || Template::split(Bytes::from_static(b"x"), 0);
        let key = Key::new("", "lease").unwrap();
        let seen = store.commit(Txn::new().put(&resource, key.clone(), Expect::Any, value()).relaxed()).await.unwrap();
        disk.fail_syncs(true);
        store.commit(put(&store, 1, 10)).await.unwrap_err();
        disk.fail_syncs(false);
        store.commit(put(&store, 2, 10)).await.unwrap();
        let now = resource.snapshot().get(&key).unwrap();
        assert!(now.mod_revision() >= seen.revision);
    });
}

#[test]
fn watches_resume_over_a_restart() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let store = open(LogFactory::new(&data));
        for number in 0..10 {
            store.commit(put(&store, number, 100)).await.unwrap();
        }
        store.commit(Txn::new().delete(&store.resource("configmaps"), key(3), Expect::Any)).await.unwrap();
        store.shutdown().await.unwrap();
        let store = open(LogFactory::new(&data));
        assert_eq!(store.revision(), Revision(11));
        let mut watch = store.resource("configmaps").watch(Revision(4), Filter::all()).unwrap();
        let mut revisions = Vec::new();
        while let Some(event) = watch.try_next().unwrap() {
            revisions.push(event.revision().0);
        }
        assert_eq!(revisions, [5, 6, 7, 8, 9, 10, 11]);
        let past = store.resource("configmaps").snapshot_at(Revision(10)).unwrap();
        assert!(past.get(&key(3)).is_some());
    });
}
