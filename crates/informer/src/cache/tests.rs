//! What readers and subscribers of a cache see.

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::*;

fn config_map(namespace: &str, name: &str, revision: u64) -> ConfigMap {
    let metadata = ObjectMeta {
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        uid: Some(format!("uid-{name}")),
        resource_version: Some(revision.to_string()),
        labels: Some([("app".to_owned(), name[..1].to_owned())].into()),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn told(changes: &mut Changes<ConfigMap>) -> Vec<String> {
    std::iter::from_fn(|| changes.try_next())
        .map(|change| {
            let revision = |object: &Option<Arc<ConfigMap>>| {
                object.as_ref().map_or("-".to_owned(), |object| revision_of(&**object).to_string())
            };
            format!("{} {}->{}", change.key, revision(&change.old), revision(&change.new))
        })
        .collect()
}

#[test]
fn a_relist_tells_only_differences() {
    let cache = Cache::unfed();
    cache.replace([config_map("a", "x", 1), config_map("a", "y", 2), config_map("b", "z", 3)], 3);
    let mut changes = cache.subscribe();
    assert_eq!(told(&mut changes), ["a/x -->1", "a/y -->2", "b/z -->3"]);
    cache.replace([config_map("a", "x", 1), config_map("a", "y", 5), config_map("c", "w", 6)], 7);
    assert_eq!(told(&mut changes), ["a/y 2->5", "c/w -->6", "b/z 3->-"]);
    assert_eq!(cache.revision(), 7);
}

#[test]
fn unread_changes_of_one_object_are_coalesced() {
    let cache = Cache::unfed();
    cache.replace([config_map("a", "x", 1)], 1);
    let mut changes = cache.subscribe();
    told(&mut changes);
    let key = ObjectKey::new("a", "x");
    cache.apply(&key, Some(config_map("a", "x", 2)), 2);
    cache.apply(&key, Some(config_map("a", "x", 3)), 3);
    cache.apply(&ObjectKey::new("a", "brief"), Some(config_map("a", "brief", 4)), 4);
    cache.apply(&ObjectKey::new("a", "brief"), None, 5);
    assert_eq!(told(&mut changes), ["a/x 1->3", "a/brief 4->-"]);
}

#[test]
fn a_namespace_is_a_range() {
    let cache = Cache::unfed();
    cache.replace([config_map("a", "x", 1), config_map("ab", "y", 2), config_map("b", "z", 3)], 3);
    let names: Vec<_> = cache.list_namespace("a").iter().map(|object| object.key().to_string()).collect();
    assert_eq!(names, ["a/x"]);
}

#[test]
fn an_index_follows_changes() {
    let cache = Cache::unfed();
    cache.replace([config_map("a", "x1", 1)], 1);
    let index = cache.index("app", |object: &ConfigMap| {
        object
            .metadata
            .labels
            .iter()
            .flatten()
            .filter(|(key, _)| *key == "app")
            .map(|(_, value)| value.clone())
            .collect()
    });
    cache.apply(&ObjectKey::new("a", "x2"), Some(config_map("a", "x2", 2)), 2);
    assert_eq!(index.get("x").len(), 2);
    cache.apply(&ObjectKey::new("a", "x1"), None, 3);
    assert_eq!(index.keys("x"), [ObjectKey::new("a", "x2")]);
    assert!(index.get("y").is_empty());
}

#[tokio::test]
async fn a_reader_waits_for_a_revision() {
    let cache = Cache::unfed();
    let waiting = cache.reached(2);
    let write = async {
        cache.apply(&ObjectKey::new("a", "x"), Some(config_map("a", "x", 2)), 2);
    };
    futures::join!(waiting, write);
    assert_eq!(cache.len(), 1);
}

#[tokio::test]
async fn a_dropped_cache_ends_its_subscriptions() {
    let cache = Cache::<ConfigMap>::unfed();
    let mut changes = cache.subscribe();
    drop(cache);
    assert!(changes.next().await.is_none());
}
