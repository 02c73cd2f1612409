//! Lists of many objects.

use std::time::Instant;

use futures::{AsyncReadExt as _, StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;

use super::config_map;
use crate::{
    Arguments, Report,
    report::Latencies,
    target::{Target, objects},
};

const NAMESPACE: &str = "bench-list";
const LISTS: usize = 10;

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let maps = objects(target.client.clone(), Some(NAMESPACE), "configmaps", "ConfigMap");
    let post = PostParams::default();
    let writes = (0..arguments.list_objects).map(|index| {
        let (maps, post) = (maps.clone(), post.clone());
        async move {
            maps.create(&post, &config_map(&format!("map-{index}"), 1536)?).await?;
            anyhow::Ok(())
        }
    });
    futures::stream::iter(writes).buffer_unordered(arguments.concurrency).try_collect::<()>().await?;
    for (name, version) in [("list from cache", "&resourceVersion=0"), ("list consistent", "")] {
        let (before, mut bytes) = (target.usage()?, 0);
        let memory = if target.has_processes() { target.begin_peak()? } else { 0.0 };
        let mut latencies = Latencies::new()?;
        for _ in 0..LISTS {
            let uri = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?limit=0{version}");
            let start = Instant::now();
            let mut stream =
                std::pin::pin!(target.client.request_stream(http::Request::get(uri).body(Vec::new())?).await?);
            let mut buffer = vec![0; 1 << 16];
            bytes = 0;
            loop {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    read => bytes += read,
                }
            }
            latencies.record(start.elapsed());
        }
        let after = target.usage()?;
        report.add(format!("{name}, size"), bytes as f64 / 1e6, "MB");
        report.add_latencies(name, &latencies);
        if target.has_processes() {
            report.add(
                format!("{name}, server CPU each"),
                (after.cpu_seconds - before.cpu_seconds) * 1e3 / LISTS as f64,
                "ms",
            );
            report.add(format!("{name}, server memory on top"), (target.peak()? - memory) / 1e6, "MB");
        }
    }
    target.remove_namespace(NAMESPACE).await
}
