//! Watches in which nothing happens: what each costs in memory.

use futures::AsyncRead;

use crate::{Arguments, Report, target::Target};

const NAMESPACE: &str = "bench-idle-watches";
/// Watches of one connection, as agents with many Secrets have them.
const PER_CONNECTION: usize = 200;

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    if !target.has_processes() {
        return Ok(());
    }
    target.namespace(NAMESPACE).await?;
    // What the first connection and watch cost once does not count for each.
    let warm = open(target, 1).await?;
    drop(warm);
    let before = target.usage()?.memory;
    let mut open_watches: Vec<Box<dyn AsyncRead + Send>> = Vec::with_capacity(arguments.idle_watches);
    while open_watches.len() < arguments.idle_watches {
        let count = PER_CONNECTION.min(arguments.idle_watches - open_watches.len());
        open_watches.extend(open(target, count).await?);
    }
    let after = target.usage()?.memory;
    report.add("idle watch, server memory each", (after - before) / open_watches.len().max(1) as f64 / 1e3, "KB");
    drop(open_watches);
    target.remove_namespace(NAMESPACE).await
}

/// Watches over a connection of their own, each of another name.
async fn open(target: &Target, count: usize) -> anyhow::Result<Vec<Box<dyn AsyncRead + Send>>> {
    let client = target.another_client()?;
    let mut watches: Vec<Box<dyn AsyncRead + Send>> = Vec::with_capacity(count);
    for index in 0..count {
        let uri = format!(
            "/api/v1/namespaces/{NAMESPACE}/secrets?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Ds-{index}"
        );
        watches.push(Box::new(client.request_stream(http::Request::get(uri).body(Vec::new())?).await?));
    }
    Ok(watches)
}
