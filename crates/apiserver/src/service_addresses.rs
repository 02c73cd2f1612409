//! IPAddress objects for the addresses that Services hold, and the ServiceCIDR of the cluster's own range.
//! Upstream: `pkg/registry/core/service/ipallocator/controller` (`repairip`), `controller/defaultservicecidr`.
//!
//! The stored Services are the truth. Addresses that one holds get their object at once, also when somebody deleted it;
//! objects whose Service is gone, as after a crash between two writes, are taken away.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use api::{
    core::v1::Service,
    networking::v1::{IPAddress, ServiceCIDR},
};
use apimachinery::ApiError;
use bytes::Bytes;
use ipnet::IpNet;
use registry::{
    Kind, Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::{DeleteOptions, WriteOptions},
    pipeline::{Change, Patch, PatchKind},
};
use serde_json::{Value, json};
use store::{Filter, Watch, WatchError};
use supervisor::Supervisor;

const GROUP: &str = "networking.k8s.io";
const MANAGED_BY: &str = "ipallocator.k8s.io";
/// Name of the ServiceCIDR with the ranges from the command line.
const DEFAULT: &str = "kubernetes";

fn kind_of(registry: &Registry, plural: &str) -> Result<Arc<Kind>, ApiError> {
    let kind = registry.preferred_kind(GROUP, plural);
    kind.ok_or_else(|| ApiError::internal(format!("{plural} are not registered")))
}

fn context(registry: &Registry, verb: Verb, name: &str) -> RequestCx {
    let mut cx = registry.context(Arc::new(UserInfo::loopback()), verb);
    name.clone_into(&mut cx.name);
    cx
}

/// Makes the ServiceCIDR `kubernetes`, which is always ready. A second family is added; ranges that differ are only
/// spoken of, as addresses may be in use.
pub async fn default_range(registry: &Registry, ranges: &[IpNet]) -> Result<(), ApiError> {
    let kind = kind_of(registry, "servicecidrs")?;
    let cidrs: Vec<String> = ranges.iter().map(|range| range.trunc().to_string()).collect();
    let stored = registry.reader().get::<ServiceCIDR>(GROUP, "servicecidrs", "", DEFAULT);
    match stored.and_then(|stored| stored.spec).and_then(|spec| spec.cidrs) {
        None => {
            let object = json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": "ServiceCIDR",
                "metadata": {"name": DEFAULT}, "spec": {"cidrs": cidrs},
            });
            let cx = context(registry, Verb::Create, "");
            match registry.create(&kind, &cx, &Bytes::from(object.to_string()), &WriteOptions::default()).await {
                // Another server of the cluster was faster.
                Err(error) if error.is("AlreadyExists") => {}
                other => drop(other?),
            }
        }
        Some(known) if known == cidrs => {}
        Some(known) if known.len() == 1 && cidrs.len() == 2 && known[0] == cidrs[0] => {
            merge(registry, &kind, DEFAULT, UpdateKind::Object, json!({"spec": {"cidrs": cidrs}})).await?;
        }
        Some(known) => {
            tracing::warn!(?known, ?cidrs, "the default range of Services is another than the one that is configured");
        }
    }
    let stored = registry.reader().get::<ServiceCIDR>(GROUP, "servicecidrs", "", DEFAULT);
    let conditions = stored.and_then(|stored| stored.status).and_then(|status| status.conditions).unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return Ok(());
    }
    let now = jiff::Timestamp::now().to_string();
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "",
        "message": "Kubernetes default Service CIDR is ready", "lastTransitionTime": now,
    });
    merge(registry, &kind, DEFAULT, UpdateKind::Status, json!({"status": {"conditions": [ready]}})).await
}

async fn merge(
    registry: &Registry,
    kind: &Kind,
    name: &str,
    update: UpdateKind<'_>,
    patch: Value,
) -> Result<(), ApiError> {
    let mut cx = context(registry, Verb::Patch, name);
    if update == UpdateKind::Status {
        "status".clone_into(&mut cx.subresource);
    }
    let patch = Patch::new(PatchKind::Merge, patch);
    registry.modify(kind, &cx, update, Change::Patch(&patch), &WriteOptions::default()).await.map(|_| ())
}

/// Keeps an object for each address that a Service holds.
pub fn keep(registry: &Registry, supervisor: &Supervisor) {
    let registry = registry.clone();
    supervisor.spawn("service addresses", async move {
        let store = registry.store().clone();
        let tables = [store.resource("services"), store.resource(&format!("ipaddresses.{GROUP}"))];
        loop {
            // The watches begin before the look, so that nothing is missed in between.
            let from = store.revision();
            let watches: Result<Vec<Watch>, _> = tables.iter().map(|table| table.watch(from, Filter::all())).collect();
            let Ok(mut watches) = watches else { return };
            if let Err(error) = repair(&registry).await {
                tracing::warn!(%error, "addresses of services were not written");
            }
            if follow(&registry, &mut watches).await == Some(WatchError::Closed) {
                return;
            }
        }
    });
}

/// Until a watch ends, or something could not be written: then everything is looked at again.
async fn follow(registry: &Registry, watches: &mut [Watch]) -> Option<WatchError> {
    loop {
        let next = futures::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
        let (event, index, _) = next.await;
        let event = match event {
            Ok(event) => event,
            Err(error) => return Some(error),
        };
        let key = event.entry().key().clone();
        let outcome = if index == 0 {
            let held = |bytes: &[u8]| {
                let service = apimachinery::json::from_bytes::<Service>(bytes);
                service.map(|service| addresses(&service)).unwrap_or_default()
            };
            let before = event.previous().map(|entry| held(entry.bytes())).unwrap_or_default();
            let after =
                if event.kind() == store::EventKind::Deleted { Vec::new() } else { held(event.entry().bytes()) };
            let parent = (key.namespace().to_owned(), key.name().to_owned());
            service_changed(registry, &parent, &before, &after).await
        } else if event.kind() == store::EventKind::Added {
            continue;
        } else {
            address_changed(registry, key.name()).await
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "an address was not written");
            return None;
        }
    }
}

type Parent = (String, String);

async fn service_changed(
    registry: &Registry,
    parent: &Parent,
    before: &[IpAddr],
    after: &[IpAddr],
) -> Result<(), ApiError> {
    for address in after {
        write(registry, *address, parent).await?;
    }
    for address in before.iter().filter(|address| !after.contains(address)) {
        if owner(registry, *address).as_ref() == Some(parent) {
            delete(registry, &address.to_string()).await?;
        }
    }
    Ok(())
}

/// Somebody wrote or deleted the object of an address.
async fn address_changed(registry: &Registry, name: &str) -> Result<(), ApiError> {
    let Ok(address) = name.parse::<IpAddr>() else { return Ok(()) };
    let services: Vec<Service> = registry.reader().list("", "services", None);
    match services.iter().find(|service| addresses(service).contains(&address)) {
        Some(service) => write(registry, address, &identity(service)).await,
        None => Ok(()),
    }
}

/// Everything that is missing, and everything that is too much.
async fn repair(registry: &Registry) -> Result<(), ApiError> {
    let services: Vec<Service> = registry.reader().list("", "services", None);
    let mut held: BTreeMap<IpAddr, Parent> = BTreeMap::new();
    for service in &services {
        for address in addresses(service) {
            let parent = identity(service);
            if let Some(other) = held.insert(address, parent.clone()) {
                tracing::error!(%address, ?other, ?parent, "two services hold the same address; recreate one of them");
            }
        }
    }
    let objects: Vec<IPAddress> = registry.reader().list(GROUP, "ipaddresses", None);
    for object in objects.iter().filter(|object| is_ours(object)) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let address = name.parse::<IpAddr>().ok();
        let parent = address.and_then(|address| held.get(&address));
        if parent != Some(&parent_of(object)) {
            delete(registry, name).await?;
        }
    }
    for (address, parent) in &held {
        write(registry, *address, parent).await?;
    }
    Ok(())
}

fn identity(service: &Service) -> Parent {
    let meta = &service.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The addresses that a Service has from the cluster's ranges.
fn addresses(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    spec.cluster_ips.iter().flatten().filter_map(|text| text.parse().ok()).collect()
}

fn parent_of(object: &IPAddress) -> Parent {
    let parent = &object.spec.parent_ref;
    (parent.namespace.clone().unwrap_or_default(), parent.name.clone())
}

/// Made here, and not by somebody who wants to keep an address for himself.
fn is_ours(object: &IPAddress) -> bool {
    let parent = &object.spec.parent_ref;
    let labels = object.metadata.labels.as_ref();
    let managed = labels.and_then(|labels| labels.get("ipaddress.kubernetes.io/managed-by"));
    managed.is_some_and(|by| by == MANAGED_BY)
        && parent.group.as_deref().unwrap_or_default().is_empty()
        && parent.resource == "services"
}

fn owner(registry: &Registry, address: IpAddr) -> Option<Parent> {
    let object = registry.reader().get::<IPAddress>(GROUP, "ipaddresses", "", &address.to_string())?;
    is_ours(&object).then(|| parent_of(&object))
}

async fn write(registry: &Registry, address: IpAddr, parent: &Parent) -> Result<(), ApiError> {
    let name = address.to_string();
    match registry.reader().get::<IPAddress>(GROUP, "ipaddresses", "", &name) {
        Some(known) if parent_of(&known) == *parent => return Ok(()),
        // Its parent cannot be changed.
        Some(known) if is_ours(&known) => delete(registry, &name).await?,
        Some(_) => {
            tracing::warn!(%address, service = %parent.1, namespace = %parent.0, "the address of a service is kept by another object");
            return Ok(());
        }
        None => {}
    }
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "IPAddress",
        "metadata": {"name": name, "labels": {
            "ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": MANAGED_BY,
        }},
        "spec": {"parentRef": {"resource": "services", "namespace": parent.0, "name": parent.1}},
    });
    let kind = kind_of(registry, "ipaddresses")?;
    let cx = context(registry, Verb::Create, "");
    match registry.create(&kind, &cx, &Bytes::from(object.to_string()), &WriteOptions::default()).await {
        Err(error) if error.is("AlreadyExists") => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn delete(registry: &Registry, name: &str) -> Result<(), ApiError> {
    let kind = kind_of(registry, "ipaddresses")?;
    let cx = context(registry, Verb::Delete, name);
    match registry.delete(&kind, &cx, &DeleteOptions::default()).await {
        Err(error) if error.is("NotFound") => Ok(()),
        other => other.map(|_| ()),
    }
}
