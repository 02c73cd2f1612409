//! Pods one at a time: create to Running as a watcher sees it, delete to gone.

use std::time::Instant;

use anyhow::Context as _;
use kube::api::{DeleteParams, PostParams};

use super::{micros_each, sleeping_pod};
use crate::{
    Arguments, Report,
    report::Latencies,
    target::{PATIENCE, Target, is_running, objects, wait},
};

const NAMESPACE: &str = "bench-pods";

pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let pods = objects(target.client.clone(), Some(NAMESPACE), "pods", "Pod");
    let (mut running, mut gone) = (Latencies::new()?, Latencies::new()?);
    let before = target.usage()?;
    for index in 0..arguments.pods {
        let name = format!("pod-{index}");
        let fields = format!("metadata.name={name}");
        let start = Instant::now();
        pods.create(&PostParams::default(), &sleeping_pod(&name, &arguments.image)?).await?;
        let runs = wait(&pods, &fields, |known| known.values().any(is_running));
        tokio::time::timeout(PATIENCE, runs).await.with_context(|| format!("{name} does not run"))??;
        running.record(start.elapsed());
        let start = Instant::now();
        pods.delete(&name, &DeleteParams::default()).await?;
        let is_gone = wait(&pods, &fields, std::collections::HashMap::is_empty);
        tokio::time::timeout(PATIENCE, is_gone).await.with_context(|| format!("{name} does not go"))??;
        gone.record(start.elapsed());
    }
    let after = target.usage()?;
    report.add_latencies("pod create to Running", &running);
    report.add_latencies("pod delete to gone", &gone);
    if target.has_processes() {
        report.add("pod created and deleted, server CPU each", micros_each(before, after, arguments.pods) / 1e3, "ms");
    }
    target.remove_namespace(NAMESPACE).await
}
