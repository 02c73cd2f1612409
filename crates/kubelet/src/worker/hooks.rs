//! Lifecycle hooks. Upstream: pkg/kubelet/lifecycle/handlers.go.

use std::time::Duration;

use informer::EventKind;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::Done;
use super::ops::Cx;
use crate::pod::{Index, Input};
use crate::prober::{http, resolve_port};

/// A post-start hook may take as long as it likes, an HTTP one not for ever.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn post_start(cx: Cx, index: Index, id: String) -> Done {
    let container = cx.container(index);
    let handler = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
    let result = match handler {
        Some(handler) => run(&cx, &container, &id, &handler, None).await,
        None => Ok(()),
    };
    // The detail may hold what a server answered, which is nobody else's business.
    let result = result.map_err(|error| {
        tracing::info!(%error, container = container.name, "post-start hook failed");
        "PostStartHook failed".to_owned()
    });
    Done::Input(Input::PostStart { container: index, id, result })
}

/// Runs for at most the grace period; what becomes of it does not keep the container from being stopped.
pub(super) async fn pre_stop(cx: &Cx, index: Index, id: &str, grace: SignedDuration) {
    let container = cx.container(index);
    let Some(handler) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()) else { return };
    let limit = Duration::try_from(grace).unwrap_or_default();
    let outcome = tokio::time::timeout(limit, run(cx, &container, id, &handler, Some(limit))).await;
    if let Ok(Err(error)) = outcome {
        tracing::info!(%error, container = container.name, "pre-stop hook failed");
        cx.event(Some(index), EventKind::Warning, "FailedPreStopHook", "PreStopHook failed");
    }
}

async fn run(
    cx: &Cx,
    container: &Container,
    id: &str,
    handler: &LifecycleHandler,
    limit: Option<Duration>,
) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = action.command.as_deref().unwrap_or_default();
        let result = cx.shared.runtime.exec_sync(id, command, limit).await.map_err(|error| error.to_string())?;
        if result.exit_code != 0 {
            return Err(format!("command {command:?} exited with {}", result.exit_code));
        }
        return Ok(());
    }
    if let Some(action) = &handler.http_get {
        let port = resolve_port(&action.port, container)?;
        let ips = cx.pod_ips();
        let host = action.host.as_deref().filter(|host| !host.is_empty()).or(ips.first().map(String::as_str));
        let get = http::Get {
            tls: action.scheme.as_deref() == Some("HTTPS"),
            host: host.ok_or("the pod has no address")?.to_owned(),
            port,
            path: action.path.clone().unwrap_or_else(|| "/".to_owned()),
            headers: action
                .http_headers
                .iter()
                .flatten()
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        };
        return http::hook(&get, limit.unwrap_or(HTTP_TIMEOUT).min(HTTP_TIMEOUT)).await;
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler".to_owned())
}
