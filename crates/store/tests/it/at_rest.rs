//! What a codec makes of values is all that is kept: nothing of the clear text reaches a file, also not over key
//! rotation and checkpoints, and what is superseded need not be readable.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use engine::disk::RealDisk;
use engine::log::{LogFactory, LogOptions};
use parking_lot::Mutex;
use store::{Codec, EngineError, Expect, Filter, Key, Mark, Store, StoreOptions, Template, Txn};

use crate::etcd_server::{object, text};

/// Hides values behind the number of a key, one of which is in use, and some of which are known.
struct Veil {
    key: AtomicU32,
    known: Mutex<HashSet<u32>>,
}

impl Veil {
    fn new(key: u32, known: &[u32]) -> Arc<Veil> {
        Arc::new(Veil { key: AtomicU32::new(key), known: Mutex::new(known.iter().copied().collect()) })
    }
}

impl Codec for Veil {
    fn seal(&self, _resource: &str, _path: &str, value: &Template) -> Result<(Template, Mark), EngineError> {
        let key = self.key.load(Ordering::SeqCst);
        if key == 0 {
            return Ok((value.clone(), Mark(0)));
        }
        let veiled: Vec<u8> = value.to_json().iter().map(|byte| byte ^ 0x80 ^ key as u8).collect();
        Ok((Template::whole([b"k8s:enc:veil:", &[key as u8][..], &veiled].concat().into()), Mark(key)))
    }

    fn open(&self, resource: &Arc<str>, path: &Arc<str>, kept: Template) -> Result<(Template, Mark), EngineError> {
        let Some([key, veiled @ ..]) = kept.head.strip_prefix(b"k8s:enc:veil:") else { return Ok((kept, Mark(0))) };
        if !self.known.lock().contains(&u32::from(*key)) {
            let source = format!("key {key} is not known").into();
            return Err(EngineError::Sealed { resource: Arc::clone(resource), path: Arc::clone(path), source });
        }
        let plain: Vec<u8> = veiled.iter().map(|byte| byte ^ 0x80 ^ key).collect();
        Ok((Template::from_json(&Bytes::from(plain)).unwrap(), Mark(u32::from(*key))))
    }

    fn mark(&self, _resource: &str) -> Mark {
        Mark(self.key.load(Ordering::SeqCst))
    }
}

fn open(path: &Path, codec: &Arc<Veil>) -> Result<Store, EngineError> {
    let factory = LogFactory::on(RealDisk::new(path), LogOptions { checkpoint_bytes: 1 << 30, step_bytes: 8 << 10 });
    Store::open(factory, StoreOptions { codec: codec.clone(), ..StoreOptions::default() })
}

fn is_anywhere(directory: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

fn key(name: &str) -> Key {
    Key::new("default", name).unwrap()
}

async fn put(store: &Store, name: &str, value: &str) {
    let things = store.resource("things");
    store.commit(Txn::new().put(&things, key(name), Expect::Any, object(value))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_clear_text_is_in_the_files_and_keys_are_rotated() {
    let directory = tempfile::tempdir().unwrap();
    // First in the clear, as before anybody encrypted.
    let codec = Veil::new(0, &[]);
    let store = open(directory.path(), &codec).unwrap();
    for name in ["a", "b", "c"] {
        put(&store, name, "a-clear-secret").await;
    }
    assert!(is_anywhere(directory.path(), b"a-clear-secret"));
    let things = store.resource("things");
    let mut watch = things.watch(store.revision(), Filter::all()).unwrap();

    // Writing it again with a key, while it runs.
    codec.known.lock().insert(1);
    codec.key.store(1, Ordering::SeqCst);
    let entry = things.snapshot().get(&key("a")).unwrap();
    assert!(store.is_stale(&things, &entry));
    assert_eq!(store.rewrite_stale().await.unwrap(), 3);
    assert_eq!(store.rewrite_stale().await.unwrap(), 0);
    for _ in 0..3 {
        let event = watch.next().await.unwrap();
        assert_eq!(text(event.entry().bytes()), "a-clear-secret");
    }
    // The checkpoint goes on in the background; then the log with the clear text is gone.
    while is_anywhere(directory.path(), b"a-clear-secret") {
        tokio::task::yield_now().await;
    }
    put(&store, "d", "another-secret").await;
    store.shutdown().await.unwrap();
    drop(store);

    // Another key; the first one is forgotten while old records of the log still have it.
    let codec = Veil::new(2, &[1, 2]);
    let store = open(directory.path(), &codec).unwrap();
    assert_eq!(store.resource("things").snapshot().len(), 4);
    for name in ["a", "b", "c", "d"] {
        put(&store, name, "third-secret").await;
    }
    store.shutdown().await.unwrap();
    drop(store);
    let codec = Veil::new(2, &[2]);
    let store = open(directory.path(), &codec);
    let store = store.unwrap_or_else(|error| panic!("what is superseded need not be readable: {error}"));
    let things = store.resource("things");
    let texts: Vec<String> = things.snapshot().iter().map(|entry| text(entry.bytes())).collect();
    assert_eq!(texts, ["third-secret"; 4]);
    assert!(!is_anywhere(directory.path(), b"-secret"));
    store.shutdown().await.unwrap();
    drop(store);

    // Without any of the keys it does not open as if there were nothing.
    let Err(error) = open(directory.path(), &Veil::new(3, &[3])) else { panic!("it opened") };
    assert!(matches!(error, EngineError::Sealed { .. }), "{error}");
}
