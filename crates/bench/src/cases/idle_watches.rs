//! Watches in which nothing happens: what each costs in memory, as one of many over a connection, and with a connection
//! of its own.

use std::any::Any;

use crate::{Arguments, Report, http2::Connection, target::Target};

const NAMESPACE: &str = "bench-idle-watches";
/// Watches of one connection, as agents with many Secrets have them.
const PER_CONNECTION: usize = 200;
/// Of the watches with connections of their own, so many at most.
const ALONE: usize = 1000;

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    if !target.has_processes() {
        return Ok(());
    }
    target.namespace(NAMESPACE).await?;
    let mut held: Vec<Box<dyn Any>> = Vec::new();
    // What the first connection and watch cost once does not count for each.
    together(target, 1, &mut held).await?;
    alone(target, &mut held).await?;
    let before = target.usage()?.memory;
    let mut open = 0;
    while open < arguments.idle_watches {
        let count = PER_CONNECTION.min(arguments.idle_watches - open);
        together(target, count, &mut held).await?;
        open += count;
    }
    let after = target.usage()?.memory;
    report.add("idle watch, server memory each", (after - before) / open.max(1) as f64 / 1e3, "KB");
    let (before, count) = (after, ALONE.min(arguments.idle_watches));
    for _ in 0..count {
        alone(target, &mut held).await?;
    }
    let after = target.usage()?.memory;
    report.add(
        "idle watch with a connection of its own, server memory each",
        (after - before) / count.max(1) as f64 / 1e3,
        "KB",
    );
    drop(held);
    target.remove_namespace(NAMESPACE).await
}

fn path(index: usize) -> String {
    format!(
        "/api/v1/namespaces/{NAMESPACE}/secrets?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Ds-{index}"
    )
}

/// Watches over one connection, each of another name.
async fn together(target: &Target, count: usize, held: &mut Vec<Box<dyn Any>>) -> anyhow::Result<()> {
    let mut connection = Connection::open(target.config()).await?;
    for index in 0..count {
        held.push(Box::new(connection.get(&path(index)).await?));
    }
    held.push(Box::new(connection));
    Ok(())
}

/// A watch over HTTP/1.1.
async fn alone(target: &Target, held: &mut Vec<Box<dyn Any>>) -> anyhow::Result<()> {
    let client = target.another_client()?;
    held.push(Box::new(client.request_stream(http::Request::get(path(0)).body(Vec::new())?).await?));
    Ok(())
}
