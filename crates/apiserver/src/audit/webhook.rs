//! Audit events to a webhook, many at a time. Upstream: `plugin/audit/webhook`.

use std::{path::Path, sync::Arc, time::Duration};

use apimachinery::ApiError;
use outbound::{Client, Kubeconfig, Post};
use serde_json::{Value, json};
use supervisor::Supervisor;

use super::ERRORS;
use crate::batch::{Batching, Sender};

/// Of one try.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Upstream's `--audit-webhook-initial-backoff`, and how often it is tried.
const BACKOFF: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
const MAX_ANSWER: usize = 64 * 1024;

/// The server that the kubeconfig's current context names.
pub(super) fn open(path: &Path, batching: Batching, supervisor: &Supervisor) -> Result<Sender, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("audit webhook {}: {why}", path.display()));
    let kubeconfig = Kubeconfig::read(path).map_err(|error| wrong(error.to_string()))?;
    let (cluster, credentials) = kubeconfig.current().ok_or_else(|| wrong("no current context".to_owned()))?;
    let client = Client::for_cluster(&cluster, credentials).map_err(|error| wrong(error.to_string()))?;
    let (client, owner) = (Arc::new(client), supervisor.clone());
    let deliver = move |events| post(Arc::clone(&client), owner.clone(), events);
    Ok(Sender::start("audit webhook", supervisor, batching, deliver, |lost| ERRORS.with(["webhook"]).add(lost)))
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
