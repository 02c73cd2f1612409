//! What every namespace has, and how one goes.

use api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount},
};
use kube::Api;
use serde_json::json;

use crate::{
    harness::Harness,
    workloads::{deployment, is_complete},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_has_an_account_and_the_authorities() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.create_cluster::<Namespace>(json!({"metadata": {"name": "team"}})).await?;
    harness.wait::<ServiceAccount>("team", "default", |account| account.is_some()).await;
    harness
        .wait::<ConfigMap>("team", "kube-root-ca.crt", |map| {
            map.and_then(|map| map.data.clone()).is_some_and(|data| data["ca.crt"] == "PEM")
        })
        .await;
    // Both come back.
    harness.delete::<ServiceAccount>("team", "default", Default::default()).await?;
    harness.delete::<ConfigMap>("team", "kube-root-ca.crt", Default::default()).await?;
    harness.wait::<ServiceAccount>("team", "default", |account| account.is_some()).await;
    harness.wait::<ConfigMap>("team", "kube-root-ca.crt", |map| map.is_some()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_all_that_is_in_it() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    harness.create_cluster::<Namespace>(json!({"metadata": {"name": "team"}})).await?;
    harness.wait::<ServiceAccount>("team", "default", |account| account.is_some()).await;
    harness.create::<Deployment>("team", deployment("web", 2, "nginx:1")).await?;
    harness.create::<Secret>("team", json!({"metadata": {"name": "s"}})).await?;
    harness.wait::<Deployment>("team", "web", |web| web.is_some_and(|web| is_complete(web, 2))).await;
    Api::<Namespace>::all(harness.client.clone()).delete("team", &Default::default()).await?;
    harness.wait::<Namespace>("", "team", |namespace| namespace.is_none()).await;
    let pods = Api::<Pod>::namespaced(harness.client.clone(), "team").list(&Default::default()).await?;
    let secrets = Api::<Secret>::namespaced(harness.client.clone(), "team").list(&Default::default()).await?;
    assert!(pods.items.is_empty() && secrets.items.is_empty());
    Ok(())
}
