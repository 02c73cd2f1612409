//! How long a change takes from its writer to those who watch, while others write at a given rate.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use kube::api::PostParams;
use tokio::{sync::Notify, task::JoinSet};

use super::{config_map, micros_each};
use crate::{
    Arguments, Report,
    report::Latencies,
    target::{PATIENCE, Target, objects},
};

const NAMESPACE: &str = "bench-watch-latency";
/// Each is written again and again.
const OBJECTS: usize = 64;
/// So many writes are under way at most: who cannot keep up writes more slowly, and the report says so.
const WRITERS: usize = 64;
const SECONDS: usize = 5;
/// In front of the time at which a write was sent, in microseconds of the driver.
const MARK: &str = "\"sent\":\"";

/// What has arrived.
struct Seen {
    latencies: Mutex<Latencies>,
    count: AtomicUsize,
    enough: Notify,
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let maps = objects(target.client.clone(), Some(NAMESPACE), "configmaps", "ConfigMap");
    let post = PostParams::default();
    for index in 0..OBJECTS {
        maps.create(&post, &config_map(&format!("map-{index}"), 256)?).await?;
    }
    let version = maps.list(&kube::api::ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let epoch = Instant::now();
    let seen =
        Arc::new(Seen { latencies: Mutex::new(Latencies::new()?), count: AtomicUsize::new(0), enough: Notify::new() });
    let writes = arguments.write_rate * SECONDS;
    let expected = writes * arguments.latency_watchers;
    let mut watchers = JoinSet::new();
    for _ in 0..arguments.latency_watchers {
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&resourceVersion={version}");
        let stream = target.another_client()?.request_stream(http::Request::get(uri).body(Vec::new())?).await?;
        let seen = Arc::clone(&seen);
        watchers.spawn(async move {
            let mut lines = stream.lines();
            while let Some(Ok(line)) = lines.next().await {
                seen.event(&line, epoch, expected);
            }
        });
    }

    let (before, start) = (target.usage()?, Instant::now());
    let mut writers = JoinSet::new();
    let next = Arc::new(AtomicUsize::new(0));
    for writer in 0..WRITERS.min(OBJECTS) {
        let (maps, post, next) = (maps.clone(), post.clone(), Arc::clone(&next));
        let pause = Duration::from_secs(1) / u32::try_from(arguments.write_rate.max(1)).unwrap_or(u32::MAX);
        writers.spawn(async move {
            let name = format!("map-{writer}");
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= writes {
                    return anyhow::Ok(());
                }
                let due = start + pause * u32::try_from(number).unwrap_or(u32::MAX);
                tokio::time::sleep_until(due.into()).await;
                let mut object = config_map(&name, 256)?;
                object.data["data"]["sent"] = epoch.elapsed().as_micros().to_string().into();
                maps.replace(&name, &post, &object).await?;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let written = start.elapsed();
    tokio::time::timeout(PATIENCE, seen.enough.notified())
        .await
        .with_context(|| format!("{} of {expected} events arrived", seen.count.load(Ordering::Relaxed)))?;
    let after = target.usage()?;
    watchers.shutdown().await;
    report.add("watch latency, writes", writes as f64 / written.as_secs_f64(), "1/s");
    {
        let latencies = seen.latencies.lock().map_err(|_| anyhow::anyhow!("a watcher panicked"))?;
        report.add_latencies("watch latency, sent to delivered", &latencies);
    }
    if target.has_processes() {
        report.add("watch latency, server CPU each write", micros_each(before, after, writes), "us");
    }
    target.remove_namespace(NAMESPACE).await
}

// === impl Seen ===

impl Seen {
    fn event(&self, line: &str, epoch: Instant, expected: usize) {
        let sent = line.split_once(MARK).and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
        if let (Some(sent), Ok(mut latencies)) = (sent, self.latencies.lock()) {
            latencies.record(epoch.elapsed().saturating_sub(Duration::from_micros(sent)));
        }
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == expected {
            self.enough.notify_one();
        }
    }
}
