//! Nodes that go silent or away.

use std::time::Duration;

use api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use controllers::Options;
use kube::Api;

use crate::{
    harness::Harness,
    workloads::{deployment, is_complete},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_tainted_and_its_pods_are_not_ready() -> anyhow::Result<()> {
    let options = Options { node_monitor_grace_period: Duration::from_secs(2), ..Options::default() };
    let harness = Harness::start_with(options).await?;
    harness.add_node("node").await?;
    harness.create::<Deployment>("default", deployment("web", 1, "nginx:1")).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_some_and(|web| is_complete(web, 1))).await;
    harness
        .wait::<Node>("", "node", |node| {
            let taints = node.map(api::taint::of).unwrap_or_default();
            taints.iter().any(|taint| taint.key == api::taint::UNREACHABLE && taint.effect == "NoSchedule")
        })
        .await;
    harness.wait_all::<Pod>("default", |pods| pods.len() == 1 && !api::pod::is_ready(&pods[0])).await;
    harness
        .wait::<Deployment>("default", "web", |web| {
            web.and_then(|web| web.status.clone()).unwrap_or_default().available_replicas.unwrap_or(0) == 0
        })
        .await;
    // The only node is lost, so it is likelier that the cluster is cut off than that the pod is.
    let node = harness.wait::<Node>("", "node", |node| node.is_some()).await.expect("the node");
    assert!(api::taint::of(&node).iter().all(|taint| taint.effect != "NoExecute"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cordoned_node_is_tainted_and_freed_again() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    let nodes = Api::<Node>::all(harness.client.clone());
    let cordon = |on: bool| kube::api::Patch::Merge(serde_json::json!({"spec": {"unschedulable": on}}));
    let tainted = |node: Option<&Node>| {
        node.map(api::taint::of).unwrap_or_default().iter().any(|taint| taint.key == api::taint::UNSCHEDULABLE)
    };
    nodes.patch("node", &Default::default(), &cordon(true)).await?;
    harness.wait::<Node>("", "node", tainted).await;
    nodes.patch("node", &Default::default(), &cordon(false)).await?;
    harness.wait::<Node>("", "node", |node| !tainted(node)).await;
    Ok(())
}
