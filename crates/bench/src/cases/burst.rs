//! Many pods at once: until all are Ready, what they cost in memory, until all are gone.

use std::time::Instant;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{DeleteParams, ListParams, PostParams};

use super::{micros_each, sleeping_pod};
use crate::{
    Arguments, Report,
    target::{PATIENCE, Target, is_ready, objects, wait},
};

const NAMESPACE: &str = "bench-burst";

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let pods = objects(target.client.clone(), Some(NAMESPACE), "pods", "Pod");
    let (before, start) = (target.usage()?, Instant::now());
    let manifests = (0..arguments.burst).map(|index| sleeping_pod(&format!("pod-{index}"), &arguments.image));
    let manifests = manifests.collect::<anyhow::Result<Vec<_>>>()?;
    let post = PostParams::default();
    futures::stream::iter(&manifests)
        .map(|pod| pods.create(&post, pod))
        .buffer_unordered(arguments.burst.max(1))
        .try_for_each(|_| futures::future::ready(Ok(())))
        .await?;
    let ready = wait(&pods, "", |known| known.values().filter(|pod| is_ready(pod)).count() >= arguments.burst);
    tokio::time::timeout(PATIENCE, ready).await.context("not all pods became ready")??;
    report.add(format!("{} pods at once to all Ready", arguments.burst), start.elapsed().as_secs_f64() * 1e3, "ms");
    let during = target.usage()?;
    let start = Instant::now();
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let gone = wait(&pods, "", std::collections::HashMap::is_empty);
    tokio::time::timeout(PATIENCE, gone).await.context("not all pods went")??;
    report.add(format!("{} pods at once to all gone", arguments.burst), start.elapsed().as_secs_f64() * 1e3, "ms");
    if target.has_processes() {
        let after = target.usage()?;
        report.add("pod of a burst, server CPU each", micros_each(before, after, arguments.burst) / 1e3, "ms");
        report.add(
            "pod of a burst, server memory each",
            (during.memory - before.memory) / 1e6 / arguments.burst.max(1) as f64,
            "MB",
        );
    }
    target.remove_namespace(NAMESPACE).await
}
