//! One writer, many watchers: what an event costs the server for each that gets it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use tokio::sync::Notify;

use super::{config_map, micros_each};
use crate::{
    Arguments, Report,
    http2::{Connection, piece},
    target::{PATIENCE, Target, objects},
};

const NAMESPACE: &str = "bench-watch";
const EVENTS: usize = 500;
/// Watchers of one connection, as clients have them.
const PER_CONNECTION: usize = 100;

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    let maps = objects(target.client.clone(), Some(NAMESPACE), "configmaps", "ConfigMap");
    let version = maps.list(&kube::api::ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let seen = Arc::new((AtomicUsize::new(0), Notify::new()));
    let expected = EVENTS * arguments.watchers;
    let mut watchers = tokio::task::JoinSet::new();
    let mut connections = Vec::new();
    for index in 0..arguments.watchers {
        if index % PER_CONNECTION == 0 {
            connections.push(Connection::open(target.config()).await?);
        }
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&resourceVersion={version}");
        let connection = connections.last_mut().context("no connection")?;
        let mut body = connection.get(&path).await?;
        let seen = seen.clone();
        watchers.spawn(async move {
            // Events are counted by their lines: decoding them would measure the driver.
            while let Ok(Some(piece)) = piece(&mut body).await {
                let events = piece.iter().filter(|byte| **byte == b'\n').count();
                let before = seen.0.fetch_add(events, Ordering::Relaxed);
                if before < expected && before + events >= expected {
                    seen.1.notify_one();
                }
            }
        });
    }
    let (before, start) = (target.usage()?, Instant::now());
    let post = PostParams::default();
    let writes = (0..EVENTS).map(|index| {
        let (maps, post) = (maps.clone(), post.clone());
        async move {
            maps.create(&post, &config_map(&format!("map-{index}"), 1024)?).await?;
            anyhow::Ok(())
        }
    });
    futures::stream::iter(writes).buffer_unordered(arguments.concurrency).try_collect::<()>().await?;
    tokio::time::timeout(PATIENCE, seen.1.notified())
        .await
        .with_context(|| format!("{} of {expected} events arrived", seen.0.load(Ordering::Relaxed)))?;
    let (after, elapsed) = (target.usage()?, start.elapsed());
    watchers.shutdown().await;
    report.add("watch, events delivered", expected as f64 / elapsed.as_secs_f64(), "1/s");
    if target.has_processes() {
        report.add(
            "watch, server CPU each event delivered (writes included)",
            micros_each(before, after, expected),
            "us",
        );
    }
    target.remove_namespace(NAMESPACE).await
}
