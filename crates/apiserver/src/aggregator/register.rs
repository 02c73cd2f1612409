//! Registers the groups that this server serves: built-in ones once at start, those of definitions for as long as they
//! are. Upstream: `kube-aggregator/pkg/controllers/autoregister`, `pkg/controlplane/controller/crdregistration`.

use std::{collections::BTreeMap, sync::Arc};

use apimachinery::ApiError;
use bytes::Bytes;
use registry::{
    Kind, Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::{DeleteOptions, WriteOptions},
    pipeline::{Change, Patch, PatchKind},
};
use serde_json::{Value, json};
use store::{Filter, Resource, WatchError};
use supervisor::Supervisor;

use super::priorities;

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Registered once; an administrator may then change it.
const ON_START: &str = "onstart";
/// Kept as it is wanted.
const ALWAYS: &str = "true";

/// What is to be registered, by name.
type Wanted = BTreeMap<String, (Value, &'static str)>;

/// Everything is registered when this returns; then definitions are followed.
pub(super) async fn start(registry: &Registry, supervisor: &Supervisor) -> Result<(), ApiError> {
    let store = registry.store();
    let definitions = store.resource("customresourcedefinitions.apiextensions.k8s.io");
    let services = super::resource(store);
    let from = store.revision();
    sync(registry, &services, &definitions, true).await?;
    let registry = registry.clone();
    supervisor.spawn("API service registration", async move {
        let mut from = from;
        loop {
            let changed = {
                let watches = [&definitions, &services].map(|resource| resource.watch(from, Filter::all()));
                let [Ok(mut definitions), Ok(mut services)] = watches else { return };
                tokio::select! {
                    event = definitions.next() => event.map(drop),
                    event = services.next() => event.map(drop),
                }
            };
            if let Err(WatchError::Closed) = changed {
                return;
            }
            from = registry.store().revision();
            if let Err(error) = sync(&registry, &services, &definitions, false).await {
                tracing::warn!(%error, "API services not registered");
            }
        }
    });
    Ok(())
}

/// Upstream: `checkAPIService`. What somebody else has registered, or taken over by its label, is left alone.
async fn sync(
    registry: &Registry,
    services: &Resource,
    definitions: &Resource,
    at_start: bool,
) -> Result<(), ApiError> {
    let kind = super::kind(registry)?;
    let mut wanted = of_definitions(definitions);
    if at_start {
        wanted.extend(built_in(registry));
    }
    for entry in services.snapshot().iter() {
        let Ok(object) = serde_json::from_slice::<Value>(entry.bytes()) else { continue };
        let (name, label) = (entry.key().name(), object["metadata"]["labels"][LABEL].as_str().unwrap_or_default());
        let is_ours = label == ALWAYS || (label == ON_START && at_start);
        match wanted.remove(name) {
            Some((spec, label)) if is_ours && differs(&object["spec"], &spec) => {
                update(registry, &kind, name, spec, label).await?;
            }
            Some(_) => {}
            None if is_ours => delete(registry, &kind, name).await?,
            None => {}
        }
    }
    for (name, (spec, label)) in wanted {
        create(registry, &kind, &name, spec, label).await?;
    }
    Ok(())
}

fn built_in(registry: &Registry) -> Wanted {
    let kinds = registry.kinds();
    let built_in = kinds.iter().filter(|kind| kind.resource.custom().is_none());
    let specs = built_in.filter_map(|kind| {
        let (group, version) = (kind.gvr.group.as_str(), kind.gvr.version.as_str());
        let (group_priority, version_priority) = priorities::of(group, version)?;
        let spec = spec(group, version, group_priority, version_priority);
        Some((format!("{version}.{group}"), (spec, ON_START)))
    });
    specs.collect()
}

fn of_definitions(definitions: &Resource) -> Wanted {
    let mut wanted = Wanted::new();
    for entry in definitions.snapshot().iter() {
        let Ok(definition) = serde_json::from_slice::<Value>(entry.bytes()) else { continue };
        let group = definition["spec"]["group"].as_str().unwrap_or_default();
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        for version in versions.filter(|version| version["served"] == true) {
            let version = version["name"].as_str().unwrap_or_default();
            let (group_priority, version_priority) = priorities::CUSTOM;
            let spec = spec(group, version, group_priority, version_priority);
            wanted.insert(format!("{version}.{group}"), (spec, ALWAYS));
        }
    }
    wanted
}

fn spec(group: &str, version: &str, group_priority: i32, version_priority: i32) -> Value {
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    spec
}

fn differs(is: &Value, wanted: &Value) -> bool {
    let fields = ["group", "version", "groupPriorityMinimum", "versionPriority"];
    is["service"].is_object() || fields.iter().any(|field| is[*field] != wanted[*field])
}

fn context(registry: &Registry, verb: Verb, name: &str) -> RequestCx {
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), verb);
    name.clone_into(&mut cx.name);
    cx
}

async fn create(registry: &Registry, kind: &Kind, name: &str, spec: Value, label: &str) -> Result<(), ApiError> {
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name, "labels": {LABEL: label}}, "spec": spec,
    });
    let cx = context(registry, Verb::Create, "");
    match registry.create(kind, &cx, &Bytes::from(object.to_string()), &WriteOptions::default()).await {
        Err(error) if error.is("AlreadyExists") => Ok(()),
        other => other.map(drop),
    }
}

async fn update(registry: &Registry, kind: &Kind, name: &str, mut spec: Value, label: &str) -> Result<(), ApiError> {
    let cx = context(registry, Verb::Patch, name);
    for gone in ["service", "caBundle", "insecureSkipTLSVerify"] {
        spec[gone] = Value::Null;
    }
    let body = json!({"metadata": {"labels": {LABEL: label}}, "spec": spec});
    let patch = Patch::new(PatchKind::Merge, body);
    let change = Change::Patch(&patch);
    match registry.modify(kind, &cx, UpdateKind::Object, change, &WriteOptions::default()).await {
        Err(error) if error.is("NotFound") => Ok(()),
        other => other.map(drop),
    }
}

async fn delete(registry: &Registry, kind: &Kind, name: &str) -> Result<(), ApiError> {
    let cx = context(registry, Verb::Delete, name);
    match registry.delete(kind, &cx, &DeleteOptions::default()).await {
        Err(error) if error.is("NotFound") => Ok(()),
        other => other.map(drop),
    }
}
