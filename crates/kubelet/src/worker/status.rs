//! Writes a pod's status: at once when it changed, one write at a time, what changed meanwhile in the next one.
//! Upstream: pkg/kubelet/status/status_manager.go.

use futures::future::BoxFuture;
use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A pod that starts quickly is written once, as running, instead of first as being created.
const HOLD: SignedDuration = SignedDuration::from_millis(40);
const RETRY_FIRST: SignedDuration = SignedDuration::from_millis(100);
const RETRY_LAST: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the pod is gone or was replaced")]
    Gone,
    #[error(transparent)]
    Client(kube::Error),
}

pub(super) struct Publisher {
    /// The status as the API last had it, as far as known.
    known: Value,
    current: Option<PodStatus>,
    dirty: bool,
    in_flight: Option<Value>,
    hold: Option<Timestamp>,
    retry: Option<(Timestamp, SignedDuration)>,
    stopped: bool,
}

/// All that is read of an answer.
#[derive(Deserialize)]
struct Ignored {}

impl Publisher {
    pub(super) fn new(pod: &Pod) -> Self {
        let fresh = pod.status.as_ref().is_none_or(|status| status.start_time.is_none());
        Publisher {
            known: to_value(pod.status.as_ref()),
            current: pod.status.clone(),
            dirty: false,
            in_flight: None,
            hold: fresh.then(|| Timestamp::now().checked_add(HOLD).unwrap_or(Timestamp::MAX)),
            retry: None,
            stopped: false,
        }
    }

    pub(super) fn current(&self) -> Option<&PodStatus> {
        self.current.as_ref()
    }

    /// A write is under way or due.
    pub(super) fn is_busy(&self) -> bool {
        !self.stopped && (self.dirty || self.in_flight.is_some())
    }

    pub(super) fn wakeup(&self) -> Option<Timestamp> {
        if !self.dirty || self.in_flight.is_some() || self.stopped {
            return None;
        }
        self.retry.map(|(at, _)| at).or(self.hold)
    }

    /// The status should be this. True when that is news.
    pub(super) fn propose(&mut self, status: PodStatus) -> bool {
        if self.current.as_ref() == Some(&status) {
            return false;
        }
        self.current = Some(status);
        self.dirty = true;
        true
    }

    /// What came back through the watch.
    pub(super) fn saw(&mut self, pod: &Pod) {
        if self.in_flight.is_none() {
            self.known = to_value(pod.status.as_ref());
        }
    }

    /// The object is gone; there is nothing to write to.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// The write that is due now.
    pub(super) fn next_write(
        &mut self,
        client: &Client,
        pod: &Pod,
        settled: bool,
        now: Timestamp,
    ) -> Option<BoxFuture<'static, Result<(), WriteError>>> {
        if !self.dirty || self.in_flight.is_some() || self.stopped {
            return None;
        }
        let status = self.current.as_ref()?;
        let news = status.phase.as_deref() != Some("Pending") || settled;
        if self.hold.is_some_and(|hold| hold > now) && !news {
            return None;
        }
        self.hold = None;
        if self.retry.is_some_and(|(at, _)| at > now) {
            return None;
        }
        let wanted = to_value(Some(status));
        let Some(patch) = difference(&self.known, &wanted, pod) else {
            self.dirty = false;
            return None;
        };
        self.dirty = false;
        self.in_flight = Some(wanted);
        let (namespace, name) =
            (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
        let client = client.clone();
        Some(Box::pin(async move { write(&client, &namespace, &name, &patch).await }))
    }

    /// A write ended. True when the pod turned out to be gone.
    pub(super) fn written(&mut self, result: Result<(), WriteError>) -> bool {
        let wanted = self.in_flight.take();
        match result {
            Ok(()) => {
                self.known = wanted.unwrap_or(Value::Null);
                self.retry = None;
                false
            }
            Err(WriteError::Gone) => {
                self.stopped = true;
                true
            }
            Err(error) => {
                let delay = self.retry.map_or(RETRY_FIRST, |(_, delay)| (delay + delay).min(RETRY_LAST));
                tracing::warn!(%error, ?delay, "pod status not written");
                self.retry = Some((Timestamp::now().checked_add(delay).unwrap_or(Timestamp::MAX), delay));
                self.dirty = true;
                false
            }
        }
    }
}

fn to_value(status: Option<&PodStatus>) -> Value {
    status.and_then(|status| apimachinery::json::to_value(status).ok()).unwrap_or(Value::Null)
}

/// A strategic merge patch of the fields that differ; conditions are merged by type, so that those of others stay.
fn difference(known: &Value, wanted: &Value, pod: &Pod) -> Option<Value> {
    let empty = Map::new();
    let known = known.as_object().unwrap_or(&empty);
    let wanted = wanted.as_object().unwrap_or(&empty);
    let mut patch = Map::new();
    for (field, value) in wanted {
        let old = known.get(field);
        if old == Some(value) {
            continue;
        }
        let changed = match (field.as_str(), value) {
            ("conditions", Value::Array(conditions)) => {
                let before = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let changed: Vec<_> =
                    conditions.iter().filter(|condition| !before.contains(condition)).map(full_condition).collect();
                if changed.is_empty() {
                    continue;
                }
                Value::Array(changed)
            }
            // Merged by key otherwise, which would keep an address that is no more.
            ("podIPs" | "hostIPs", Value::Array(list)) if old.is_some() => {
                let mut replaced = vec![json!({"$patch": "replace"})];
                replaced.extend(list.iter().cloned());
                Value::Array(replaced)
            }
            _ => value.clone(),
        };
        patch.insert(field.clone(), changed);
    }
    for field in known.keys().filter(|field| !wanted.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    if patch.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": patch}))
}

/// Merging would keep a reason or message that no longer holds: absent ones are removed by name.
fn full_condition(condition: &Value) -> Value {
    let mut condition = condition.clone();
    if let Some(fields) = condition.as_object_mut() {
        for field in ["reason", "message"] {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    condition
}

async fn write(client: &Client, namespace: &str, name: &str, patch: &Value) -> Result<(), WriteError> {
    let body = serde_json::to_vec(patch).map_err(|error| WriteError::Client(kube::Error::SerdeError(error)))?;
    let request = Request::patch(format!("/api/v1/namespaces/{namespace}/pods/{name}/status"))
        .header("content-type", "application/strategic-merge-patch+json")
        .header("accept", "application/json")
        .body(body)
        .map_err(|error| WriteError::Client(kube::Error::HttpError(error)))?;
    match client.request::<Ignored>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(WriteError::Gone),
        // The UID in the patch is a precondition: the name belongs to another pod now.
        Err(kube::Error::Api(status)) if status.code == 409 && status.message.contains("uid") => Err(WriteError::Gone),
        Err(error) => Err(WriteError::Client(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn patch(known: Value, wanted: Value) -> String {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}})).unwrap();
        difference(&known, &wanted, &pod).map(|patch| patch.to_string()).unwrap_or_default()
    }

    #[test]
    fn only_what_changed() {
        expect![[r#"{"metadata":{"uid":"u"},"status":{"phase":"Running","podIP":"1","reason":null}}"#]].assert_eq(
            &patch(
                json!({"phase": "Pending", "qosClass": "BestEffort", "reason": "x"}),
                json!({"phase": "Running", "qosClass": "BestEffort", "podIP": "1"}),
            ),
        );
        assert_eq!(patch(json!({"phase": "Running"}), json!({"phase": "Running"})), "");
    }

    #[test]
    fn conditions_of_others_are_left_alone() {
        let (a, b) = (json!({"type": "A", "status": "True"}), json!({"type": "B", "status": "False", "reason": "R"}));
        let new = json!({"type": "B", "status": "True"});
        expect![[r#"{"metadata":{"uid":"u"},"status":{"conditions":[{"message":null,"reason":null,"status":"True","type":"B"}]}}"#]]
            .assert_eq(&patch(json!({"conditions": [a, b]}), json!({"conditions": [a, new]})));
    }
}
