//! Things that are told together, a little later: audit events to a webhook, spans to a collector.
//!
//! The buffer is bounded, no timer runs while there is nothing to tell, and what is there at the end is still told.
//! Upstream: `plugin/audit/buffered`.

use std::{future::Future, time::Duration};

use apimachinery::ApiError;
use serde_json::Value;
use supervisor::Supervisor;
use tokio::sync::mpsc;

/// How things are gathered. Flags of upstream: `--audit-webhook-batch-*`.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Those that may wait; more are dropped and counted.
    pub buffer: usize,
    pub most: usize,
    pub longest: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self { buffer: 10_000, most: 400, longest: Duration::from_secs(30) }
    }
}

/// The way into a buffer whose contents are delivered together.
pub(crate) struct Sender(mpsc::Sender<Value>);

impl Sender {
    /// `deliver` tries as often as is worth it; `lost` hears how many it could not deliver.
    pub(crate) fn start<F>(
        name: &'static str,
        supervisor: &Supervisor,
        batching: Batching,
        deliver: impl Fn(Vec<Value>) -> F + Send + Sync + 'static,
        lost: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), ApiError>> + Send,
    {
        let (sender, mut things) = mpsc::channel(batching.buffer.max(1));
        let owner = supervisor.clone();
        supervisor.spawn_draining(name, async move {
            loop {
                let first = tokio::select! {
                    first = things.recv() => first,
                    () = owner.shutting_down() => {
                        // What is there already is still told.
                        things.close();
                        things.recv().await
                    }
                };
                let Some(first) = first else { return };
                let batch = gather(first, &mut things, batching, &owner).await;
                let count = batch.len() as u64;
                if let Err(error) = deliver(batch).await {
                    lost(count);
                    tracing::error!(name, %error, count, "not delivered");
                }
            }
        });
        Self(sender)
    }

    /// False when the buffer is full.
    pub(crate) fn send(&self, thing: Value) -> bool {
        self.0.try_send(thing).is_ok()
    }
}

async fn gather(
    first: Value,
    things: &mut mpsc::Receiver<Value>,
    batching: Batching,
    owner: &Supervisor,
) -> Vec<Value> {
    let mut batch = vec![first];
    let until = tokio::time::Instant::now() + batching.longest;
    while batch.len() < batching.most {
        let next = tokio::select! {
            next = tokio::time::timeout_at(until, things.recv()) => next.ok().flatten(),
            () = owner.shutting_down() => things.try_recv().ok(),
        };
        match next {
            Some(thing) => batch.push(thing),
            None => break,
        }
    }
    batch
}
