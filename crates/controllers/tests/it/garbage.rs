//! What becomes of dependents when their owner is deleted.

use api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Pod},
};
use kube::api::DeleteParams;
use serde_json::json;

use crate::{
    harness::Harness,
    workloads::{deployment, is_complete},
};

async fn running() -> anyhow::Result<Harness> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    harness.create::<Deployment>("default", deployment("web", 2, "nginx:1")).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_some_and(|web| is_complete(web, 2))).await;
    Ok(harness)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_go_in_the_background() -> anyhow::Result<()> {
    let harness = running().await?;
    harness.delete::<Deployment>("default", "web", DeleteParams::background()).await?;
    harness.wait_all::<ReplicaSet>("default", <[_]>::is_empty).await;
    harness.wait_all::<Pod>("default", <[_]>::is_empty).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_waits_for_its_dependents_in_the_foreground() -> anyhow::Result<()> {
    let harness = running().await?;
    harness.delete::<Deployment>("default", "web", DeleteParams::foreground()).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_none()).await;
    let client = harness.client.clone();
    let left = kube::Api::<Pod>::namespaced(client, "default").list(&Default::default()).await?;
    assert!(left.items.is_empty(), "the owner went before its dependents");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_kept_and_adopted_again() -> anyhow::Result<()> {
    let harness = running().await?;
    harness.delete::<Deployment>("default", "web", DeleteParams::orphan()).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_none()).await;
    let sets = harness
        .wait_all::<ReplicaSet>("default", |sets| {
            sets.len() == 1 && sets.iter().all(|set| set.metadata.owner_references.as_ref().is_none_or(Vec::is_empty))
        })
        .await;
    harness.create::<Deployment>("default", deployment("web", 2, "nginx:1")).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_some_and(|web| is_complete(web, 2))).await;
    let adopted = harness.cache::<ReplicaSet>().list_namespace("default");
    assert_eq!(adopted.len(), 1, "the pods were taken over, not made anew");
    assert_eq!(adopted[0].metadata.uid, sets[0].metadata.uid);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_owner_never_was_is_deleted() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "no-such-uid"}]);
    harness.create::<ConfigMap>("default", json!({"metadata": {"name": "left", "ownerReferences": owner}})).await?;
    harness.create::<ConfigMap>("default", json!({"metadata": {"name": "free"}})).await?;
    harness.wait::<ConfigMap>("default", "free", |free| free.is_some()).await;
    harness.wait::<ConfigMap>("default", "left", |left| left.is_none()).await;
    assert!(harness.cache::<ConfigMap>().get(&informer::ObjectKey::new("default", "free")).is_some());
    Ok(())
}
