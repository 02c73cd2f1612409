//! Audit events to a webhook, many at a time or each before its request goes on. Upstream: `plugin/audit/webhook`.

use std::{path::Path, sync::Arc, time::Duration};

use apimachinery::ApiError;
use outbound::{Client, Kubeconfig, Post};
use serde_json::{Value, json};
use supervisor::Supervisor;

use super::{AuditOptions, ERRORS, Mode, Truncation, event};
use crate::batch::{Batching, Sender};

/// Of one try.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Upstream's `DefaultInitialBackoffDelay`, where nothing is said, and how often it is tried.
const BACKOFF: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
const MAX_ANSWER: usize = 64 * 1024;

/// A server that is told.
pub(super) struct Sink {
    pub(super) mode: Mode,
    way: Way,
    sender: Sender,
}

/// How it is reached.
#[derive(Clone)]
struct Way {
    client: Arc<Client>,
    backoff: Duration,
    truncation: Option<Truncation>,
    owner: Supervisor,
}

impl Sink {
    /// The server that the kubeconfig's current context names.
    pub(super) fn open(path: &Path, options: &AuditOptions, supervisor: &Supervisor) -> Result<Self, ApiError> {
        let wrong = |why: String| ApiError::bad_request(format!("audit webhook {}: {why}", path.display()));
        let kubeconfig = Kubeconfig::read(path).map_err(|error| wrong(error.to_string()))?;
        let (cluster, credentials) = kubeconfig.current().ok_or_else(|| wrong("no current context".to_owned()))?;
        let client = Client::for_cluster(&cluster, credentials).map_err(|error| wrong(error.to_string()))?;
        let backoff = if options.webhook_backoff.is_zero() { BACKOFF } else { options.webhook_backoff };
        let truncation = options.webhook_truncation;
        let way = Way { client: Arc::new(client), backoff, truncation, owner: supervisor.clone() };
        let mode = options.webhook_mode;
        // What is not waited for is sent at once in the blocking modes, too.
        let batching =
            if mode == Mode::Batch { options.webhook_batch } else { Batching { most: 1, ..options.webhook_batch } };
        let deliver = {
            let way = way.clone();
            move |events| way.clone().post(events)
        };
        let lost = |lost| ERRORS.with(["webhook"]).add(lost);
        Ok(Self { mode, way, sender: Sender::start("audit webhook", supervisor, batching, deliver, lost) })
    }

    /// False when too many wait.
    pub(super) fn send(&self, event: Value) -> bool {
        self.sender.send(event)
    }

    /// Returns when it was heard.
    pub(super) async fn deliver(&self, event: Value) -> Result<(), ApiError> {
        let told = self.way.clone().post(vec![event]).await;
        if let Err(error) = &told {
            ERRORS.with(["webhook"]).inc();
            tracing::error!(%error, "audit webhook did not take an event");
        }
        told
    }
}

impl Way {
    async fn post(self, events: Vec<Value>) -> Result<(), ApiError> {
        for events in self.parts(events) {
            self.post_once(events).await?;
        }
        Ok(())
    }

    /// No part is larger than it may be.
    fn parts(&self, events: Vec<Value>) -> Vec<Vec<Value>> {
        let Some(truncation) = self.truncation else { return vec![events] };
        let (mut parts, mut size) = (vec![Vec::new()], 0);
        for mut event in events {
            let length = event::truncate(&mut event, truncation.event);
            if size + length > truncation.batch && size > 0 {
                parts.push(Vec::new());
                size = 0;
            }
            size += length;
            if let Some(part) = parts.last_mut() {
                part.push(event);
            }
        }
        parts
    }

    async fn post_once(&self, events: Vec<Value>) -> Result<(), ApiError> {
        let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events });
        let body = bytes::Bytes::from(list.to_string());
        let mut pause = self.backoff;
        for attempt in 1.. {
            let call = Post { body: body.clone(), timeout: TIMEOUT, max_answer: MAX_ANSWER, tell_timeout: false };
            match self.client.post(call).await {
                Ok(_) => return Ok(()),
                Err(error) if attempt >= TRIES || self.owner.is_shutting_down() => {
                    return Err(ApiError::internal(error));
                }
                Err(error) => tracing::warn!(%error, "audit webhook did not take events"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.owner.shutting_down() => {}
            }
            // Upstream: `webhook.DefaultRetryBackoffWithInitialDelay`.
            pause = pause.mul_f64(1.5);
        }
        Ok(())
    }
}
