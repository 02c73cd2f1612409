//! Taking a pod away from its node, so that its owner sees why. Upstream: the deletions of `pkg/controller/podgc`
//! and `pkg/controller/tainteviction`.

use api::{core::v1::Pod, pod};
use informer::uid_of;
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};

/// How a pod is taken away.
pub(crate) struct Eviction<'a> {
    /// Reason and message of the condition `DisruptionTarget`; `None`: the pod had ended or never begun.
    pub(crate) disruption: Option<(&'a str, &'a str)>,
    /// Whether the pod's phase is set, because no kubelet will do it any more.
    pub(crate) fail: bool,
    /// Seconds; `None`: the pod's own.
    pub(crate) grace: Option<u32>,
}

/// Deletes this very pod; one that is gone already is no error.
pub(crate) async fn evict(client: &Client, evicted: &Pod, how: &Eviction<'_>) -> Result<(), kube::Error> {
    let namespace = evicted.metadata.namespace.as_deref().unwrap_or_default();
    let name = evicted.metadata.name.as_deref().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    if let Some(status) = status_patch(evicted, how) {
        let patch = json!({"metadata": {"uid": evicted.metadata.uid}, "status": status});
        match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => return Ok(()),
            other => {
                other?;
            }
        }
    }
    let preconditions = Preconditions { uid: Some(uid_of(evicted).to_owned()), resource_version: None };
    let params =
        DeleteParams { grace_period_seconds: how.grace, ..DeleteParams::default() }.preconditions(preconditions);
    match api.delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn status_patch(evicted: &Pod, how: &Eviction<'_>) -> Option<Value> {
    if pod::is_terminal(evicted) {
        return None;
    }
    let condition = how.disruption.map(|(reason, message)| pod::disruption_target(reason, message, Timestamp::now()));
    match (condition, how.fail) {
        (None, false) => None,
        (Some(condition), false) => Some(json!({"conditions": [condition]})),
        (None, true) => Some(json!({"phase": "Failed"})),
        (Some(condition), true) => Some(json!({"phase": "Failed", "conditions": [condition]})),
    }
}
