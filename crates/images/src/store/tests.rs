//! Names, removal, collection, and archives that lie about themselves.

use std::fs;

use tar::{Builder, Header};

use crate::archive::Refusal;
use crate::{Digest, Error, Store};

/// A docker-archive with one image of one file; the layer's name in it can be wrong on purpose.
fn archive(tag: &str, content: &str, change: impl FnOnce(&mut Vec<u8>, &mut String)) -> Vec<u8> {
    let mut layer = Builder::new(Vec::new());
    append(&mut layer, "file", content.as_bytes());
    let mut layer = layer.into_inner().expect("finish");
    let mut config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["x"],"Env":null}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    );
    change(&mut layer, &mut config);
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{tag}"],"Layers":["layer.tar"]}}]"#);
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "layer.tar", &layer);
    append(&mut tar, "config.json", config.as_bytes());
    append(&mut tar, "manifest.json", manifest.as_bytes());
    tar.into_inner().expect("finish")
}

fn append(tar: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, name, content).expect("append");
}

fn good(tag: &str, content: &str) -> Vec<u8> {
    archive(tag, content, |_, _| {})
}

fn count(store: &Store, directory: &str) -> usize {
    fs::read_dir(store.root().join(directory)).expect("list").count()
}

#[test]
fn images_are_found_by_every_kind_of_name() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open");
    let id = store.import_stream(good("app:1", "a").as_slice(), &[]).expect("import")[0].id.clone();
    store.tag("app:1", &"team/app".parse().expect("a name")).expect("tag");
    let short = &id.hex()[..12];
    for name in ["app:1", "docker.io/library/app:1", "team/app", "team/app:latest", id.as_str(), id.hex(), short] {
        assert_eq!(store.find(name).expect(name).id, id);
    }
    assert!(matches!(store.find("app:2"), Err(Error::NotFound(_))));
    assert!(matches!(store.find("App:2"), Err(Error::InvalidReference { .. })));
    let reopened = Store::open(directory.path()).expect("open again");
    assert_eq!(reopened.find("team/app").expect("found").names.len(), 2);
}

#[test]
fn a_name_moves_to_the_newer_image() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open");
    let old = store.import_stream(good("app", "old").as_slice(), &[]).expect("import")[0].id.clone();
    let new = store.import_stream(good("app", "new").as_slice(), &[]).expect("import")[0].id.clone();
    assert_ne!(old, new);
    for store in [store, Store::open(directory.path()).expect("open again")] {
        assert_eq!(store.find("app").expect("found").id, new);
        assert!(store.find(old.as_str()).expect("found").names.is_empty());
    }
}

#[test]
fn unused_content_is_removed_unless_a_container_runs_on_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open");
    let image = store.import_stream(good("app", "a").as_slice(), &[]).expect("import").remove(0);
    assert_eq!((count(&store, "blobs/sha256"), count(&store, "layers")), (3, 1));
    store.hold("container", &image);
    let removed = store.remove("app").expect("remove");
    assert_eq!(removed.deleted, Some(image.id.clone()));
    assert_eq!((count(&store, "blobs/sha256"), count(&store, "layers")), (0, 1));
    assert!(store.lower_directories(&image)[0].join("file").exists());
    store.release("container");
    store.collect_garbage().expect("collect");
    assert_eq!(count(&store, "layers"), 0);
    assert!(matches!(store.remove("app"), Err(Error::NotFound(_))));
}

#[test]
fn content_that_is_not_what_it_claims_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open");
    let forged = archive("app", "a", |layer, _| {
        let mut other = Builder::new(Vec::new());
        append(&mut other, "file", b"forged");
        *layer = other.into_inner().expect("finish");
    });
    assert!(matches!(store.import_stream(forged.as_slice(), &[]), Err(Error::DigestMismatch { .. })));
    let windows = archive("app", "a", |_, config| *config = config.replace("linux", "windows"));
    assert!(matches!(store.import_stream(windows.as_slice(), &[]), Err(Error::InvalidDocument { .. })));
    let bad_name = archive("../app", "a", |_, _| {});
    assert!(matches!(store.import_stream(bad_name.as_slice(), &[]), Err(Error::InvalidReference { .. })));
    assert!(store.list().is_empty());
    store.collect_garbage().expect("collect");
    assert_eq!((count(&store, "blobs/sha256"), count(&store, "layers"), count(&store, "ingest")), (0, 0, 0));
}

#[test]
fn archives_that_are_none_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open");
    let import = |bytes: &[u8]| match store.import_stream(bytes, &[]) {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    let mut other = Builder::new(Vec::new());
    append(&mut other, "readme", b"hello");
    assert_eq!(import(&other.into_inner().expect("finish")), Refusal::Format);
    assert_eq!(import(b""), Refusal::Format);
    let whole = good("app", "a");
    assert!(matches!(import(&whole[..whole.len() / 2]), Refusal::Truncated | Refusal::Header { .. }));
    let missing = |text: &str| {
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, "manifest.json", text.as_bytes());
        tar.into_inner().expect("finish")
    };
    let refusal = import(&missing(r#"[{"Config":"config.json","RepoTags":[],"Layers":[]}]"#));
    assert_eq!(refusal, Refusal::Missing { path: "config.json".to_owned() });
    assert!(matches!(
        import(&missing(r#"[{"Config":"../../etc/shadow","RepoTags":[],"Layers":[]}]"#)),
        Refusal::Traversal { .. }
    ));
}

#[test]
fn an_unreadable_record_does_not_stop_the_node() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path()).expect("open");
    store.import_stream(good("app", "a").as_slice(), &[]).expect("import");
    fs::write(directory.path().join("images/broken.json"), "{").expect("write");
    let reopened = Store::open(directory.path()).expect("open again");
    assert_eq!(reopened.list().len(), 1);
}
