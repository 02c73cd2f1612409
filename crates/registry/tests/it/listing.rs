//! List: selectors, pages, versions.

use registry::pipeline::WatchItem;
use serde_json::{Value, json};
use store::{HistoryLimits, StoreOptions};

use crate::fixture::{Fixture, map};

impl Fixture {
    fn names(&self, query: &str) -> (Vec<String>, String, Option<u64>) {
        let (selection, options) = self.selection(query);
        let page = self.registry.list(&self.maps, "default", &selection, &options).unwrap();
        let (token, remaining) = (page.continue_token, page.remaining);
        let names = page.items.map(|entry| entry.key().name().to_owned()).collect();
        (names, token, remaining)
    }

    fn list_error(&self, query: &str) -> (u16, String) {
        let (selection, options) = self.selection(query);
        let error = self.registry.list(&self.maps, "default", &selection, &options).err().unwrap();
        (error.code, error.message)
    }
}

async fn three() -> Fixture {
    let fixture = Fixture::new();
    for (name, tier) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let mut object = map(name);
        object["metadata"]["labels"] = json!({"tier": tier});
        fixture.create(object).await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn selectors_choose() {
    let fixture = three().await;
    for (query, expected) in [
        ("", "a b c"),
        ("labelSelector: tier=web", "a c"),
        ("labelSelector: tier!=web", "b"),
        ("labelSelector: tier in (db,x)", "b"),
        ("labelSelector: !tier", ""),
        ("fieldSelector: metadata.name=b", "b"),
        ("fieldSelector: metadata.name!=b", "a c"),
        ("fieldSelector: metadata.namespace=default,metadata.name!=a", "b c"),
    ] {
        assert_eq!(fixture.names(query).0.join(" "), expected, "{query}");
    }
}

#[tokio::test]
async fn pages_are_of_one_version() {
    let fixture = three().await;
    let (names, token, remaining) = fixture.names("limit: 2");
    assert_eq!((names.join(" ").as_str(), remaining), ("a b", Some(1)));
    fixture.create(map("bb")).await.unwrap();
    let (names, end, _) = fixture.names(&format!("limit: 2&continue: {token}"));
    assert_eq!((names.join(" ").as_str(), end.as_str()), ("c", ""));
    assert_eq!(fixture.list_error("limit: 2&continue: nonsense").0, 400);
}

#[tokio::test]
async fn versions_mean_what_upstream_says() {
    let fixture = three().await;
    let version = |value: Value| value["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let at = version(fixture.get("c").unwrap());
    fixture.create(map("d")).await.unwrap();
    let names = |query: String| fixture.names(&query).0.join(" ");
    assert_eq!(names(format!("resourceVersion: {at}&resourceVersionMatch: Exact")), "a b c");
    assert_eq!(names(format!("resourceVersion: {at}&resourceVersionMatch: NotOlderThan")), "a b c d");
    assert_eq!(names(format!("resourceVersion: {at}")), "a b c d");
    assert_eq!(names(format!("resourceVersion: {at}&limit: 10")), "a b c");
    assert_eq!(names("resourceVersion: 0".to_owned()), "a b c d");
    let (code, message) = fixture.list_error("resourceVersion: 99999&resourceVersionMatch: NotOlderThan");
    assert_eq!(code, 504);
    assert!(message.starts_with("Timeout: Too large resource version: 99999, current: "), "{message}");
}

#[tokio::test]
async fn who_comes_back_too_late_is_told_how_to_go_on() {
    let history = HistoryLimits { events: 2, ..HistoryLimits::default() };
    let fixture = Fixture::with(StoreOptions { history, ..StoreOptions::default() });
    for name in ["a", "b", "c"] {
        fixture.create(map(name)).await.unwrap();
    }
    let (names, token, _) = fixture.names("limit: 1");
    assert_eq!(names, ["a"]);
    let (selection, options) = fixture.selection("watch: true&resourceVersion: 1");
    let mut late = fixture.registry.watch(&fixture.maps, "default", selection, &options).unwrap();
    for name in ["bb", "d", "e"] {
        fixture.create(map(name)).await.unwrap();
    }
    let (selection, options) = fixture.selection(&format!("limit: 1&continue: {token}"));
    let expired = fixture.registry.list(&fixture.maps, "default", &selection, &options).err().unwrap();
    assert_eq!((expired.code, expired.reason.as_str()), (410, "Expired"));
    assert!(
        expired.message.starts_with("The provided continue parameter is too old to display a consistent list result.")
    );
    // The other token goes on with what is there now, and is of one version from then on.
    let other = expired.continue_token.unwrap();
    let (names, next, _) = fixture.names(&format!("limit: 2&continue: {other}"));
    assert_eq!(names, ["b", "bb"]);
    fixture.create(map("cc")).await.unwrap();
    assert_eq!(fixture.names(&format!("limit: 9&continue: {next}")).0, ["c", "d", "e"]);

    let Some(WatchItem::Error(error)) = late.next().await else { panic!("no error") };
    assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
    assert!(error.message.starts_with("too old resource version: 1 ("), "{}", error.message);
    let exact = fixture.list_error("resourceVersion: 1&resourceVersionMatch: Exact");
    assert_eq!(exact, (410, "The resourceVersion for the provided list is too old.".to_owned()));
}
