//! `/containerLogs`. Upstream: pkg/kubelet/kubelet_pods.go `validateContainerLogStatus`.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::sync::mpsc;

use super::{Body, Query, Refused, refuse};
use crate::logs::{LogOptions, Source, stream};
use crate::pod::api_statuses;
use crate::shared::Shared;
use crate::spec;

pub(super) fn answer(
    shared: &Arc<Shared>,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    let bad = |message: String| refuse(StatusCode::BAD_REQUEST, message);
    let options = LogOptions::parse(query, Timestamp::now())
        .map_err(|error| refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let entry = shared
        .pods
        .find(namespace, pod)
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist\n")))?;
    let view = entry.view.read().clone();
    if !crate::pod::containers_of(&view.pod).iter().any(|(own, _)| own.name == container) {
        return Err(refuse(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}\n")));
    }
    let attempt = attempt(&view.pod, pod, container, options.previous).map_err(bad)?;
    let path =
        Path::new(&spec::log_directory(&shared.config, &view.pod)).join(container).join(format!("{attempt}.log"));
    let ended = {
        let entry = entry.clone();
        let container = container.to_owned();
        move || {
            let view = entry.view.read();
            let own = view.containers.iter().find(|own| own.name == container);
            own.is_none_or(|own| !own.running || own.attempt != attempt)
        }
    };
    if !path.exists() {
        return Err(bad(format!("unable to retrieve container logs for {container} of pod {pod}: no log file")));
    }
    let source = Source { path, changed: entry.changed.subscribe(), ended: Box::new(ended) };
    let (sender, receiver) = mpsc::channel(4);
    shared.supervisor.spawn("log-stream", stream(source, options, sender));
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Which life's log is meant, or why there is none.
fn attempt(pod: &Pod, name: &str, container: &str, previous: bool) -> Result<u32, String> {
    let statuses = api_statuses(pod);
    let Some(status) = statuses.iter().find(|status| status.name == container) else {
        return Err(format!("container {container:?} in pod {name:?} is not available"));
    };
    let count = u32::try_from(status.restart_count).unwrap_or(0);
    let state = status.state.clone().unwrap_or_default();
    let last_ended = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    if previous {
        if !last_ended {
            return Err(format!("previous terminated container {container:?} in pod {name:?} not found"));
        }
        // While it waits for its next life the count is still that of the one that ended.
        return Ok(if state.waiting.is_some() { count } else { count.saturating_sub(1) });
    }
    if state.running.is_some() || state.terminated.is_some() || last_ended {
        return Ok(count);
    }
    Err(waiting(status, name, container))
}

fn waiting(status: &ContainerStatus, pod: &str, container: &str) -> String {
    let reason =
        status.state.as_ref().and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.clone());
    let why = match reason.as_deref() {
        Some("ErrImagePull") => "image can't be pulled".to_owned(),
        Some("ImagePullBackOff") => "trying and failing to pull image".to_owned(),
        Some(other) => other.to_owned(),
        None => return format!("container {container:?} in pod {pod:?} is waiting to start - no logs yet"),
    };
    format!("container {container:?} in pod {pod:?} is waiting to start: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(state: serde_json::Value, last: serde_json::Value, previous: bool) -> Result<u32, String> {
        let pod: Pod = serde_json::from_value(json!({"status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state, "lastState": last}]}}))
        .unwrap();
        attempt(&pod, "p", "c", previous)
    }

    #[test]
    fn which_log() {
        let ended = || json!({"terminated": {"exitCode": 1}});
        assert_eq!(check(json!({"running": {}}), ended(), false), Ok(3));
        assert_eq!(check(json!({"running": {}}), ended(), true), Ok(2));
        assert_eq!(check(json!({"waiting": {"reason": "CrashLoopBackOff"}}), ended(), true), Ok(3));
        assert_eq!(
            check(json!({"running": {}}), json!({}), true).unwrap_err(),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        assert_eq!(
            check(json!({"waiting": {"reason": "ImagePullBackOff"}}), json!({}), false).unwrap_err(),
            "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image"
        );
    }
}
