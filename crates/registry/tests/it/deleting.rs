//! Delete: finalizers, grace periods, preconditions, propagation.

use registry::{
    options::{DeleteOptions, Propagation},
    pipeline::Deleted,
};
use serde_json::{Value, json};

use crate::fixture::{Fixture, map};

fn pending(deleted: Deleted) -> Value {
    match deleted {
        Deleted::Pending { bytes } => serde_json::from_slice(&bytes).unwrap(),
        Deleted::Gone { .. } => panic!("gone"),
    }
}

#[tokio::test]
async fn without_finalizers_it_is_gone_at_once() {
    let fixture = Fixture::new();
    fixture.create(map("a")).await.unwrap();
    assert!(matches!(fixture.delete("a", DeleteOptions::default()).await.unwrap(), Deleted::Gone { .. }));
    assert_eq!(fixture.get("a").unwrap_err().code, 404);
    assert_eq!(fixture.delete("a", DeleteOptions::default()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_finalizer_holds_it_until_it_is_taken_away() {
    let fixture = Fixture::new();
    let mut object = map("a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    fixture.create(object).await.unwrap();
    let marked = pending(fixture.delete("a", DeleteOptions::default()).await.unwrap());
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = pending(fixture.delete("a", DeleteOptions::default()).await.unwrap());
    assert_eq!(again["metadata"]["deletionTimestamp"], marked["metadata"]["deletionTimestamp"]);

    let mut more = again.clone();
    more["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
    let error = fixture.update("a", more).await.unwrap_err();
    assert!(
        error.message.contains("no new finalizers can be added if the object is being deleted"),
        "{}",
        error.message
    );

    let mut released = fixture.get("a").unwrap();
    released["metadata"]["finalizers"] = json!([]);
    fixture.update("a", released).await.unwrap();
    assert_eq!(fixture.get("a").unwrap_err().code, 404);
}

#[tokio::test]
async fn a_grace_period_can_only_be_shortened() {
    let fixture = Fixture::new();
    let mut object = map("a");
    object["data"] = json!({"slow": "yes"});
    fixture.create(object).await.unwrap();
    let seconds = |value: &Value| value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap();
    let options = |seconds| DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() };
    assert_eq!(seconds(&pending(fixture.delete("a", DeleteOptions::default()).await.unwrap())), 30);
    assert_eq!(seconds(&pending(fixture.delete("a", options(60)).await.unwrap())), 30);
    assert_eq!(seconds(&pending(fixture.delete("a", options(5)).await.unwrap())), 5);
    assert!(matches!(fixture.delete("a", options(0)).await.unwrap(), Deleted::Gone { .. }));
}

#[tokio::test]
async fn preconditions_are_checked() {
    let fixture = Fixture::new();
    fixture.create(map("a")).await.unwrap();
    let options = DeleteOptions { uid: Some("other".to_owned()), ..DeleteOptions::default() };
    let error = fixture.delete("a", options).await.unwrap_err();
    assert_eq!(error.code, 409);
    assert!(
        error.message.contains("the UID in the precondition (other) does not match the UID in record ("),
        "{}",
        error.message
    );
    let options = DeleteOptions { resource_version: Some("999".to_owned()), ..DeleteOptions::default() };
    assert_eq!(fixture.delete("a", options).await.unwrap_err().code, 409);
}

#[tokio::test]
async fn propagation_becomes_a_finalizer() {
    let fixture = Fixture::new();
    for (name, propagation, finalizer) in
        [("a", Propagation::Foreground, "foregroundDeletion"), ("b", Propagation::Orphan, "orphan")]
    {
        fixture.create(map(name)).await.unwrap();
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let marked = pending(fixture.delete(name, options).await.unwrap());
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
    }
}
