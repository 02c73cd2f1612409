//! The flow schemas and priority levels that every cluster has: made at start, and kept.
//! Upstream: `pkg/registry/flowcontrol/ensurer`, `rest.PostStartHookProvider` of flow control.
//!
//! Mandatory objects are put back whatever happened to them. Suggested ones follow this program while their annotation
//! says so, which is the case until somebody changes their spec; one that was deleted comes back with the next start.

use std::sync::Arc;

use apimachinery::ApiError;
use bytes::Bytes;
use futures::future::try_join_all;
use registry::{
    Kind, Registry, UpdateKind, UserInfo, Verb,
    options::WriteOptions,
    pipeline::{Change, Patch, PatchKind},
};
use resources::flowcontrol::bootstrap::{AUTO_UPDATE, Default, flow_schemas, priority_levels};
use serde_json::{Value, json};
use store::{Filter, WatchError};
use supervisor::Supervisor;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Makes what is missing, and brings up to date what follows this program.
pub async fn ensure(registry: &Registry) -> Result<(), ApiError> {
    write(registry, |_| true).await
}

/// Puts mandatory objects back when somebody changes or deletes them.
pub fn keep(registry: &Registry, supervisor: &Supervisor) {
    let registry = registry.clone();
    supervisor.spawn("flow control defaults", async move {
        let store = registry.store().clone();
        let tables =
            ["prioritylevelconfigurations", "flowschemas"].map(|plural| store.resource(&format!("{plural}.{GROUP}")));
        loop {
            // The watch begins before the look, so that nothing is missed in between.
            let from = store.revision();
            if let Err(error) = write(&registry, |default| default.mandatory).await {
                tracing::warn!(%error, "mandatory flow control objects were not written");
            }
            let watches: Result<Vec<_>, _> = tables.iter().map(|table| table.watch(from, Filter::all())).collect();
            let Ok(mut watches) = watches else { return };
            let next = futures::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
            if let (Err(WatchError::Closed), ..) = next.await {
                return;
            }
        }
    });
}

async fn write(registry: &Registry, which: impl Fn(&Default) -> bool) -> Result<(), ApiError> {
    // All at once: the store syncs them together.
    let mut writes = Vec::new();
    for (plural, kind, defaults) in [
        ("prioritylevelconfigurations", "PriorityLevelConfiguration", priority_levels()),
        ("flowschemas", "FlowSchema", flow_schemas()),
    ] {
        let served = registry
            .preferred_kind(GROUP, plural)
            .ok_or_else(|| ApiError::internal(format!("{plural} are not registered")))?;
        for default in defaults.into_iter().filter(|default| which(default)) {
            let served = Arc::clone(&served);
            writes.push(async move { one(registry, &served, kind, &default).await });
        }
    }
    try_join_all(writes).await.map(drop)
}

async fn one(registry: &Registry, kind: &Kind, name: &str, default: &Default) -> Result<(), ApiError> {
    let stored: Option<Value> = match registry.get(kind, "", default.name) {
        Ok(entry) => Some(serde_json::from_slice(entry.bytes()).map_err(ApiError::internal)?),
        Err(_) => None,
    };
    let Some(stored) = stored else {
        let object = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": name, "spec": default.spec,
            "metadata": {"name": default.name, "annotations": {AUTO_UPDATE: "true"}},
        });
        let cx = registry.context(Arc::new(UserInfo::loopback()), Verb::Create);
        return match registry.create(kind, &cx, &Bytes::from(object.to_string()), &WriteOptions::default()).await {
            Err(error) if error.is("AlreadyExists") => Ok(()),
            other => other.map(|_| ()),
        };
    };
    let Some(patch) = correction(&stored, default) else { return Ok(()) };
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), Verb::Patch);
    default.name.clone_into(&mut cx.name);
    let patch = Patch::new(PatchKind::Merge, patch);
    registry.modify(kind, &cx, UpdateKind::Object, Change::Patch(&patch), &WriteOptions::default()).await.map(|_| ())
}

/// What is to be changed in a stored object; none when nothing is.
fn correction(stored: &Value, default: &Default) -> Option<Value> {
    let annotation = stored["metadata"]["annotations"][AUTO_UPDATE].as_str();
    let untouched = stored["metadata"]["generation"] == 1;
    let follows = default.mandatory
        || match annotation {
            Some(text) => text == "true",
            // From before there was the annotation: who never wrote the spec does not mind.
            None => untouched,
        };
    let mut wanted = default.spec.clone();
    // How much the exempt level counts and lends is the operator's.
    if default.name == "exempt" && stored["spec"]["exempt"].is_object() && wanted["exempt"].is_object() {
        wanted["exempt"] = stored["spec"]["exempt"].clone();
    }
    let spec = follows && !same(&stored["spec"], &wanted);
    let mark = if follows { "true" } else { "false" };
    if !spec && annotation == Some(mark) {
        return None;
    }
    let mut patch = json!({"metadata": {"annotations": {AUTO_UPDATE: mark}}});
    if spec {
        // A merge leaves what is not named: what has to go is named as null.
        patch["spec"] = wanted;
        for field in stored["spec"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            if patch["spec"].get(field).is_none() {
                patch["spec"][field] = Value::Null;
            }
        }
    }
    Some(patch)
}

/// Equal but for fields that say nothing.
fn same(one: &Value, other: &Value) -> bool {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys());
            keys.into_iter().all(|key| match (one.get(key), other.get(key)) {
                (Some(one), Some(other)) => same(one, other),
                (Some(value), None) | (None, Some(value)) => says_nothing(value),
                (None, None) => true,
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(default: &Default, change: Value) -> Value {
        let mut object =
            json!({"metadata": {"generation": 1, "annotations": {AUTO_UPDATE: "true"}}, "spec": default.spec});
        apimachinery::patch::merge_patch(&mut object, change);
        object
    }

    #[test]
    fn suggestions_are_left_to_those_who_change_them() {
        let schemas = flow_schemas();
        let find = |name: &str| schemas.iter().find(|schema| schema.name == name).expect("a schema");
        let (probes, exempt) = (find("probes"), find("exempt"));
        assert_eq!(correction(&stored(probes, json!({})), probes), None);
        let changed = json!({"spec": {"matchingPrecedence": 7}});
        let corrected = correction(&stored(probes, changed.clone()), probes).expect("a patch");
        assert_eq!(corrected["spec"]["matchingPrecedence"], 2);
        let own = json!({"spec": {"matchingPrecedence": 7}, "metadata": {"annotations": {AUTO_UPDATE: "false"}}});
        assert_eq!(correction(&stored(probes, own.clone()), probes), None);
        assert!(correction(&stored(exempt, own), exempt).is_some(), "the mandatory ones are put back");
        let extra = json!({"spec": {"distinguisherMethod": {"type": "ByUser"}}});
        let corrected = correction(&stored(exempt, extra), exempt).expect("a patch");
        assert_eq!(corrected["spec"]["distinguisherMethod"], Value::Null);
    }
}
