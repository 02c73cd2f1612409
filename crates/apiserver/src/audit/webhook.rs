//! Audit events to a webhook, many at a time. Upstream: `plugin/audit/buffered`, `plugin/audit/webhook`.
//!
//! No timer runs while there is nothing to send.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use apimachinery::ApiError;
use outbound::{Client, Kubeconfig, Post};
use serde_json::{Value, json};
use supervisor::Supervisor;
use tokio::sync::mpsc;

use super::{Batching, ERRORS};

/// Of one try.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Upstream's `--audit-webhook-initial-backoff`, and how often it is tried.
const BACKOFF: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
const MAX_ANSWER: usize = 64 * 1024;

/// The way into a buffer whose events are delivered together.
pub(super) struct Sender(mpsc::Sender<Value>);

impl Sender {
    pub(super) fn start<F>(
        supervisor: &Supervisor,
        batching: Batching,
        deliver: impl Fn(Vec<Value>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), ApiError>> + Send,
    {
        let (sender, mut events) = mpsc::channel(batching.buffer.max(1));
        let owner = supervisor.clone();
        supervisor.spawn_draining("audit", async move {
            loop {
                let first = tokio::select! {
                    first = events.recv() => first,
                    () = owner.shutting_down() => {
                        // What is there already is still told.
                        events.close();
                        events.recv().await
                    }
                };
                let Some(first) = first else { return };
                let batch = gather(first, &mut events, batching, &owner).await;
                let count = batch.len();
                if let Err(error) = deliver(batch).await {
                    ERRORS.with(["webhook"]).add(count as u64);
                    tracing::error!(%error, count, "audit events are lost");
                }
            }
        });
        Self(sender)
    }

    /// False when the buffer is full.
    pub(super) fn send(&self, event: Value) -> bool {
        self.0.try_send(event).is_ok()
    }
}

async fn gather(
    first: Value,
    events: &mut mpsc::Receiver<Value>,
    batching: Batching,
    owner: &Supervisor,
) -> Vec<Value> {
    let mut batch = vec![first];
    let until = tokio::time::Instant::now() + batching.longest;
    while batch.len() < batching.most {
        let next = tokio::select! {
            next = tokio::time::timeout_at(until, events.recv()) => next.ok().flatten(),
            () = owner.shutting_down() => events.try_recv().ok(),
        };
        match next {
            Some(event) => batch.push(event),
            None => break,
        }
    }
    batch
}

/// The server that the kubeconfig's current context names.
pub(super) fn open(path: &Path, batching: Batching, supervisor: &Supervisor) -> Result<Sender, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("audit webhook {}: {why}", path.display()));
    let kubeconfig = Kubeconfig::read(path).map_err(|error| wrong(error.to_string()))?;
    let (cluster, credentials) = kubeconfig.current().ok_or_else(|| wrong("no current context".to_owned()))?;
    let client = Client::for_cluster(&cluster, credentials).map_err(|error| wrong(error.to_string()))?;
    let (client, owner) = (Arc::new(client), supervisor.clone());
    Ok(Sender::start(supervisor, batching, move |events| post(Arc::clone(&client), owner.clone(), events)))
}

async fn post(client: Arc<Client>, owner: Supervisor, events: Vec<Value>) -> Result<(), ApiError> {
    let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events });
    let body = bytes::Bytes::from(list.to_string());
    let mut pause = BACKOFF;
    for attempt in 1.. {
        let call = Post { body: body.clone(), timeout: TIMEOUT, max_answer: MAX_ANSWER, tell_timeout: false };
        match client.post(call).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt >= TRIES || owner.is_shutting_down() => return Err(ApiError::internal(error)),
            Err(error) => tracing::warn!(%error, "audit webhook did not take events"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = owner.shutting_down() => {}
        }
        pause = pause.saturating_mul(2);
    }
    Ok(())
}
