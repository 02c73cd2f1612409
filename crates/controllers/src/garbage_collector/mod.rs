//! Deletes what its owners have left behind, and carries out foreground and orphaning deletion, for every kind of
//! object that discovery knows. Upstream: `pkg/controller/garbagecollector`.
//!
//! The graph is only a hint of what may have to be done: before anything is deleted, the server is asked whether the
//! object and its owners are what the graph says.

mod act;
mod feed;
mod graph;
mod patch;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use informer::{Queue, Recorder};
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{debug, warn};

use self::{
    feed::Feeds,
    graph::{Graph, Work},
};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "garbage-collector-controller",
    service_account: "generic-garbage-collector",
    watches: &[Watch::of("*", "*")],
    rules: &[Rule::of("*", "*", &["get", "list", "watch", "patch", "update", "delete"]), Rule::EVENTS],
    start,
};

/// Upstream: `--concurrent-gc-syncs`.
const WORKERS: usize = 20;

struct Collector {
    client: Client,
    recorder: Recorder,
    graph: Mutex<Graph>,
    queue: Queue<Work>,
    feeds: Feeds,
    /// False while the graph lacks objects of some resource: an owner that seems absent may only be unseen.
    complete: watch::Sender<bool>,
}

fn start(context: Context) {
    let collector = Arc::new(Collector {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        graph: Mutex::new(Graph::default()),
        queue: Queue::new(),
        feeds: Feeds::default(),
        complete: watch::Sender::new(false),
    });
    context.supervisor.spawn(ENTRY.name, feed::follow_discovery(collector.clone(), context.clone()));
    for _ in 0..WORKERS {
        context.supervisor.spawn(ENTRY.name, work(collector.clone()));
    }
}

async fn work(collector: Arc<Collector>) {
    let mut complete = collector.complete.subscribe();
    while let Some(item) = collector.queue.get().await {
        if complete.wait_for(|complete| *complete).await.is_err() {
            return;
        }
        match collector.handle(&item).await {
            Ok(()) => collector.queue.forget(&item),
            Err(error) => {
                let delay = collector.queue.add_rate_limited((*item).clone());
                if error.is_outdated() {
                    debug!(item = ?*item, %error, ?delay, "object changed meanwhile");
                } else {
                    warn!(item = ?*item, %error, ?delay, "garbage collection failed");
                }
            }
        }
    }
}
