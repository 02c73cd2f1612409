//! How fast pods get nodes, with nodes that exist only as API objects.

use std::time::Instant;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::micros_each;
use crate::{
    Arguments, Report,
    target::{PATIENCE, Target, is_bound, object, objects, wait},
};

const NAMESPACE: &str = "bench-scheduling";
const LABEL: &str = "bench.tiphys.dev/simulated";

pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let nodes = objects(target.client.clone(), None, "nodes", "Node");
    let pods = objects(target.client.clone(), Some(NAMESPACE), "pods", "Pod");
    let outcome = measure(target, arguments, &nodes, &pods).await;
    // Nodes and their pods go whatever happened: nobody else would remove them.
    let now = DeleteParams::default().grace_period(0);
    pods.delete_collection(&now, &ListParams::default()).await?;
    nodes.delete_collection(&DeleteParams::default(), &ListParams::default().labels(LABEL)).await?;
    target.remove_namespace(NAMESPACE).await?;
    let (rate, cpu) = outcome?;
    report.add(format!("pods scheduled onto {} nodes, rate", arguments.simulate_nodes), rate, "1/s");
    if target.has_processes() {
        report.add("pod created and scheduled, server CPU each", cpu, "us");
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn measure(
    target: &Target,
    arguments: &Arguments,
    nodes: &Api<DynamicObject>,
    pods: &Api<DynamicObject>,
) -> anyhow::Result<(f64, f64)> {
    let post = PostParams::default();
    let post = &post;
    let make_node = |index: usize| async move {
        let name = format!("simulated-{index}");
        let node = object(json!({
            "metadata": {"name": name, "labels": {LABEL: "true"}},
            "spec": {"taints": [{"key": LABEL, "effect": "NoSchedule"}]},
        }))?;
        match nodes.create(post, &node).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(error.into()),
        }
        let amounts = json!({"cpu": "64", "memory": "256Gi", "pods": "500"});
        let status = json!({"status": {"capacity": amounts, "allocatable": amounts, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Simulated"}]}});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        // A new node is tainted until somebody says that it is ready; nobody else will.
        let spec = json!({"spec": {"taints": [{"key": LABEL, "effect": "NoSchedule"}]}});
        nodes.patch(&name, &PatchParams::default(), &Patch::Merge(spec)).await?;
        anyhow::Ok(())
    };
    futures::stream::iter((0..arguments.simulate_nodes).map(make_node))
        .buffer_unordered(arguments.concurrency)
        .try_collect::<()>()
        .await
        .context("make simulated nodes")?;
    let (before, start) = (target.usage()?, Instant::now());
    let make_pod = |index: usize| async move {
        let pod = object(json!({
            "metadata": {"name": format!("pod-{index}")},
            "spec": {
                "nodeSelector": {LABEL: "true"},
                "tolerations": [{"key": LABEL, "operator": "Exists"}],
                "containers": [{"name": "c", "image": "none", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
        anyhow::Ok(())
    };
    futures::stream::iter((0..arguments.schedule_pods).map(make_pod))
        .buffer_unordered(arguments.concurrency)
        .try_collect::<()>()
        .await
        .context("create pods")?;
    let bound = wait(pods, "", |known| known.len() >= arguments.schedule_pods && known.values().all(is_bound));
    tokio::time::timeout(PATIENCE, bound).await.context("not all pods got a node")??;
    let (after, elapsed) = (target.usage()?, start.elapsed());
    let rate = arguments.schedule_pods as f64 / elapsed.as_secs_f64();
    Ok((rate, micros_each(before, after, arguments.schedule_pods)))
}
