//! Create, get and update of ConfigMaps of 1 KB.

use std::{future::Future, time::Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;

use super::{config_map, micros_each};
use crate::{
    Arguments, Report,
    report::Latencies,
    target::{Target, objects},
};

const NAMESPACE: &str = "bench-objects";
const BYTES: usize = 1024;

pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let maps = objects(target.client.clone(), Some(NAMESPACE), "configmaps", "ConfigMap");
    let name = |index: usize| format!("map-{index}");
    let post = PostParams::default();
    measure(target, arguments, report, "object create", |index| {
        let (maps, post) = (maps.clone(), post.clone());
        async move {
            maps.create(&post, &config_map(&name(index), BYTES)?).await?;
            Ok(())
        }
    })
    .await?;
    measure(target, arguments, report, "object get", |index| {
        let maps = maps.clone();
        async move {
            maps.get(&name(index)).await?;
            Ok(())
        }
    })
    .await?;
    measure(target, arguments, report, "object update", |index| {
        let (maps, post) = (maps.clone(), post.clone());
        async move {
            let mut object = config_map(&name(index), BYTES)?;
            object.metadata.labels = Some([("updated".to_owned(), "yes".to_owned())].into());
            maps.replace(&name(index), &post, &object).await?;
            Ok(())
        }
    })
    .await?;
    target.remove_namespace(NAMESPACE).await
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
async fn measure<F>(
    target: &Target,
    arguments: &Arguments,
    report: &mut Report,
    name: &str,
    operation: impl Fn(usize) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let (before, start) = (target.usage()?, Instant::now());
    let timed = |index| {
        let operation = operation(index);
        async move {
            let start = Instant::now();
            operation.await.map(|()| start.elapsed())
        }
    };
    let mut latencies = Latencies::new()?;
    let mut done = futures::stream::iter((0..arguments.objects).map(timed)).buffer_unordered(arguments.concurrency);
    while let Some(latency) = done.try_next().await? {
        latencies.record(latency);
    }
    let (after, elapsed) = (target.usage()?, start.elapsed());
    report.add(format!("{name}, rate"), arguments.objects as f64 / elapsed.as_secs_f64(), "1/s");
    report.add_latencies(name, &latencies);
    if target.has_processes() {
        report.add(format!("{name}, server CPU each"), micros_each(before, after, arguments.objects), "us");
    }
    Ok(())
}
