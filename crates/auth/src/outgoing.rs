//! Asks webhooks: a review goes out, the same with its status comes back. Tried again a few times, with growing pauses.
//! Upstream: `k8s.io/apiserver/pkg/util/webhook.GenericWebhook`.

use std::{path::Path, time::Duration};

use outbound::{CallError, Client, Kubeconfig, Post};
use serde_json::Value;

/// Largest review that is read.
const MAX_ANSWER: usize = 1 << 20;
const TRIES: u32 = 5;
/// Upstream's `DefaultRetryBackoffWithInitialDelay`: growing by half each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A kubeconfig that names no server, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("webhook configuration {path}: {why}")]
pub struct WebhookConfigError {
    path: String,
    why: String,
}

/// The server of a kubeconfig's current context.
pub(crate) fn client(path: &Path) -> Result<Client, WebhookConfigError> {
    let failed = |why: String| WebhookConfigError { path: path.display().to_string(), why };
    let kubeconfig = Kubeconfig::read(path).map_err(|error| failed(error.to_string()))?;
    let (cluster, credentials) =
        kubeconfig.current().ok_or_else(|| failed("no current context with a cluster".to_owned()))?;
    Client::for_cluster(&cluster, credentials).map_err(|error| failed(error.to_string()))
}

/// Sends a review and returns the answer. `timeout` is of each try.
pub(crate) async fn ask(client: &Client, review: &Value, timeout: Duration) -> Result<Value, String> {
    let body = bytes::Bytes::from(review.to_string());
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let post = Post { body: body.clone(), timeout, max_answer: MAX_ANSWER, tell_timeout: false };
        match client.post(post).await {
            Ok(answer) => return serde_json::from_slice(&answer).map_err(|error| error.to_string()),
            Err(error) if attempt < TRIES && is_worth_another(&error) => {
                tracing::debug!(%error, attempt, "webhook did not answer");
                tokio::time::sleep(pause).await;
                pause = pause * 3 / 2;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("no answer".to_owned())
}

/// Upstream: `webhook.DefaultShouldRetry`.
fn is_worth_another(error: &CallError) -> bool {
    match error {
        CallError::Transport { .. } => true,
        CallError::Status(status) => {
            let code = status.code;
            code == 429 || code == 500 || code == 503 || code == 504
        }
        CallError::Config(_) | CallError::Timeout { .. } | CallError::TooLarge(_) => false,
    }
}
