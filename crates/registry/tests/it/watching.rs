//! Watch: initial state, changes, and objects that come and go through the selectors.

use registry::{
    options::DeleteOptions,
    pipeline::{EventType, WatchItem, WatchStream},
};
use serde_json::{Value, json};
use store::EventKind;

use crate::fixture::{Fixture, map};

fn describe(item: WatchItem) -> String {
    let (what, bytes) = match item {
        WatchItem::Shared(event) => {
            let what = match event.kind() {
                EventKind::Added => "ADDED",
                EventKind::Modified => "MODIFIED",
                EventKind::Deleted => "DELETED",
            };
            (what, event.entry().bytes().clone())
        }
        WatchItem::Initial(entry) => ("INITIAL", entry.bytes().clone()),
        WatchItem::Own { event, bytes } => {
            let what = match event {
                EventType::Added => "own ADDED",
                EventType::Modified => "own MODIFIED",
                EventType::Deleted => "own DELETED",
            };
            (what, bytes)
        }
        WatchItem::Bookmark { initial_end, .. } => return format!("BOOKMARK {initial_end}"),
        WatchItem::Error(error) => return format!("ERROR {} {}", error.code, error.message),
    };
    let object: Value = serde_json::from_slice(&bytes).unwrap();
    format!("{what} {}", object["metadata"]["name"].as_str().unwrap())
}

impl Fixture {
    fn watch(&self, query: &str) -> WatchStream {
        let (selection, options) = self.selection(&format!("watch: true&{query}"));
        self.registry.watch(&self.maps, "default", selection, &options).unwrap()
    }
}

async fn check(stream: &mut WatchStream, expected: &[&str]) {
    for expected in expected {
        assert_eq!(describe(stream.next().await.unwrap()), *expected);
    }
}

#[tokio::test]
async fn state_comes_first_then_changes() {
    let fixture = Fixture::new();
    fixture.create(map("a")).await.unwrap();
    let mut stream = fixture.watch("resourceVersion: 0");
    fixture.create(map("b")).await.unwrap();
    fixture.delete("a", DeleteOptions::default()).await.unwrap();
    check(&mut stream, &["INITIAL a", "ADDED b", "DELETED a"]).await;
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_bookmark() {
    let fixture = Fixture::new();
    fixture.create(map("a")).await.unwrap();
    let mut stream =
        fixture.watch("sendInitialEvents: true&resourceVersionMatch: NotOlderThan&allowWatchBookmarks: true");
    check(&mut stream, &["INITIAL a", "BOOKMARK true"]).await;
    fixture.create(map("b")).await.unwrap();
    check(&mut stream, &["ADDED b"]).await;
}

#[tokio::test]
async fn history_is_replayed_from_a_version() {
    let fixture = Fixture::new();
    let a = fixture.create(map("a")).await.unwrap();
    fixture.create(map("b")).await.unwrap();
    let version = a["metadata"]["resourceVersion"].as_str().unwrap();
    let mut stream = fixture.watch(&format!("resourceVersion: {version}"));
    check(&mut stream, &["ADDED b"]).await;
}

#[tokio::test]
async fn what_leaves_the_selection_is_deleted_for_the_watcher() {
    let fixture = Fixture::new();
    let mut stream = fixture.watch("labelSelector: on=yes");
    let with = |label: Option<&str>| {
        let mut object = map("a");
        if let Some(label) = label {
            object["metadata"]["labels"] = json!({"on": label});
        }
        object
    };
    fixture.create(with(None)).await.unwrap();
    fixture.update("a", with(Some("yes"))).await.unwrap();
    let mut same = with(Some("yes"));
    same["data"] = json!({"x": "y"});
    fixture.update("a", same).await.unwrap();
    let left = fixture.update("a", with(Some("no"))).await.unwrap();
    fixture.create(with(Some("yes"))).await.unwrap_err();
    check(&mut stream, &["own ADDED a", "MODIFIED a"]).await;
    let WatchItem::Own { bytes, .. } = stream.next().await.unwrap() else { panic!("not its own") };
    let gone: Value = serde_json::from_slice(&bytes).unwrap();
    // The last state that was selected, at the version of the change.
    assert_eq!(gone["metadata"]["labels"]["on"], "yes");
    assert_eq!(gone["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}
