//! The records by which Services hold their addresses and node ports, mended where they are missing or left over, and
//! the ServiceCIDR of the cluster's own range.
//! Upstream: `pkg/registry/core/service/ipallocator/controller` (`repairip`), `portallocator/controller`,
//! `controller/defaultservicecidr`.
//!
//! A Service and its records are written together, so there is nothing to mend but what others did: a record that
//! somebody deleted, Services of a store that knew no such records, and what a very large Service had claimed before a
//! crash. The stored Services are the truth.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use api::{
    core::v1::Service,
    networking::v1::{IPAddress, ServiceCIDR},
};
use apimachinery::ApiError;
use bytes::Bytes;
use ipnet::IpNet;
use jiff::Timestamp;
use registry::{
    Kind, Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::{DeleteOptions, WriteOptions},
    pipeline::{Change, Patch, PatchKind},
};
use resources::core::service::claims::{self, Claims, Holder};
use serde_json::{Value, json};
use store::{Entry, Expect, Filter, Key, StoreError, Template, Txn, Watch, WatchError};
use supervisor::Supervisor;

const GROUP: &str = "networking.k8s.io";
/// As long a record may be there before its Service.
const GRACE: Duration = Duration::from_secs(60);
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

/// Mends what is stored, before anybody is served, and then keeps it in order.
pub async fn keep(registry: &Registry, supervisor: &Supervisor) {
    // The watches begin before the look, so that nothing is missed in between.
    let mut watches = watch(registry);
    let mut young = mend(registry).await;
    let registry = registry.clone();
    supervisor.spawn("service addresses", async move {
        while let Some(following) = &mut watches {
            // Only what was too young to be judged has to be looked at again without a reason.
            let end = match young {
                Some(wait) => tokio::time::timeout(wait, follow(&registry, following)).await.unwrap_or(None),
                None => follow(&registry, following).await,
            };
            if end == Some(WatchError::Closed) {
                return;
            }
            watches = watch(&registry);
            young = mend(&registry).await;
        }
    });
}

fn watch(registry: &Registry) -> Option<[Watch; 3]> {
    let (store, from) = (registry.store(), registry.store().revision());
    let of = |name: &str| store.resource(name).watch(from, Filter::all()).ok();
    Some([of("services")?, of(claims::ADDRESSES)?, of(claims::NODE_PORTS)?])
}

/// Until a watch ends, or something could not be written: then everything is looked at again.
async fn follow(registry: &Registry, watches: &mut [Watch; 3]) -> Option<WatchError> {
    loop {
        let next = futures::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
        let (event, index, _) = next.await;
        let event = match event {
            Ok(event) => event,
            Err(error) => return Some(error),
        };
        let is_gone = event.kind() == store::EventKind::Deleted;
        let outcome = match (index, &**event.entry()) {
            // Whoever wrote it may have done so without its records.
            (0, entry) => {
                let before = event.previous().and_then(|before| decode::<Service>(before));
                let after = decode::<Service>(entry).filter(|_| !is_gone);
                service_changed(registry, before.as_ref(), after.as_ref()).await
            }
            (1, entry) if is_gone => {
                match decode::<IPAddress>(entry).and_then(|object| claims::address_holder(&object)) {
                    Some(holder) => write_held(registry, &holder).await,
                    None => Ok(()),
                }
            }
            (2, entry) if is_gone => match claims::port_claim(entry.bytes()) {
                Some(claim) => write_held(registry, &claim.holder).await,
                None => Ok(()),
            },
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a record of a service was not written");
            return None;
        }
    }
}

fn decode<T: registry::Object>(entry: &Entry) -> Option<T> {
    apimachinery::json::without_owners(entry.bytes()).ok()
}

async fn service_changed(
    registry: &Registry,
    before: Option<&Service>,
    after: Option<&Service>,
) -> Result<(), ApiError> {
    let held = after.map(Claims::of).unwrap_or_default();
    if let Some(service) = after {
        write_all(registry, &claims::holder(service), &held).await?;
    }
    if let Some(service) = before {
        let left = Claims::of(service).without(&held);
        for address in left.addresses {
            release_address(registry, &address.to_string()).await?;
        }
        for port in left.ports {
            release_port(registry, &port.to_string()).await?;
        }
    }
    Ok(())
}

/// What a Service holds, if it is there.
async fn write_held(registry: &Registry, holder: &Holder) -> Result<(), ApiError> {
    match registry.reader().get::<Service>("", "services", &holder.0, &holder.1) {
        Some(service) => write_all(registry, holder, &Claims::of(&service)).await,
        None => Ok(()),
    }
}

async fn write_all(registry: &Registry, holder: &Holder, held: &Claims) -> Result<(), ApiError> {
    for address in &held.addresses {
        write_address(registry, *address, holder).await?;
    }
    for port in &held.ports {
        write_port(registry, *port, holder).await?;
    }
    Ok(())
}

/// As [`repair`], with what went wrong in the log. The same again is due after what it says.
async fn mend(registry: &Registry) -> Option<Duration> {
    match repair(registry).await {
        Ok(young) => young,
        Err(error) => {
            tracing::warn!(%error, "records of services were not written");
            Some(GRACE)
        }
    }
}

/// Everything that is missing, and everything that is too much. Says when to look again, where a record is too young to
/// be told from one whose Service is being written.
async fn repair(registry: &Registry) -> Result<Option<Duration>, ApiError> {
    let services: Vec<Service> = registry.reader().list("", "services", None);
    let mut addresses: BTreeMap<IpAddr, Holder> = BTreeMap::new();
    let mut ports: BTreeMap<i32, Holder> = BTreeMap::new();
    for service in &services {
        let (held, holder) = (Claims::of(service), claims::holder(service));
        for address in held.addresses {
            if let Some(other) = addresses.insert(address, holder.clone()) {
                tracing::error!(%address, ?other, ?holder, "two services hold the same address; recreate one of them");
            }
        }
        for port in held.ports {
            if let Some(other) = ports.insert(port, holder.clone()) {
                tracing::error!(port, ?other, ?holder, "two services hold the same node port; recreate one of them");
            }
        }
    }
    let mut young = None;
    let now = Timestamp::now();
    let mut is_young = |since: Option<Timestamp>| {
        let age = since.map_or(Duration::MAX, |since| now.duration_since(since).try_into().unwrap_or_default());
        let left = GRACE.checked_sub(age).filter(|left| !left.is_zero());
        young = young.max(left);
        left.is_some()
    };
    let objects: Vec<IPAddress> = registry.reader().list(GROUP, "ipaddresses", None);
    for object in objects.iter().filter(|object| claims::is_managed(object)) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let holder = name.parse::<IpAddr>().ok().and_then(|address| addresses.get(&address));
        let since = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let is_held = holder.is_some() && holder == claims::address_holder(object).as_ref();
        if !is_held && !is_young(since) {
            release_address(registry, name).await?;
        }
    }
    for entry in registry.store().resource(claims::NODE_PORTS).snapshot().iter() {
        let claim = claims::port_claim(entry.bytes());
        let holder = entry.key().name().parse::<i32>().ok().and_then(|port| ports.get(&port));
        let is_held = holder.is_some() && holder == claim.as_ref().map(|claim| &claim.holder);
        if !is_held && !is_young(claim.and_then(|claim| claim.since)) {
            release_port(registry, entry.key().name()).await?;
        }
    }
    for (address, holder) in &addresses {
        write_address(registry, *address, holder).await?;
    }
    for (port, holder) in &ports {
        write_port(registry, *port, holder).await?;
    }
    Ok(young)
}

async fn write_address(registry: &Registry, address: IpAddr, holder: &Holder) -> Result<(), ApiError> {
    let name = address.to_string();
    match registry.reader().get::<IPAddress>(GROUP, "ipaddresses", "", &name) {
        Some(known) if claims::address_holder(&known).as_ref() == Some(holder) => return Ok(()),
        Some(_) => {
            tracing::warn!(%address, service = %holder.1, namespace = %holder.0, "the address of a service is kept by another object");
            return Ok(());
        }
        None => {}
    }
    let kind = kind_of(registry, "ipaddresses")?;
    let cx = context(registry, Verb::Create, "");
    match registry.create(&kind, &cx, &claims::address_object(address, holder), &WriteOptions::default()).await {
        Err(error) if error.is("AlreadyExists") => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn write_port(registry: &Registry, port: i32, holder: &Holder) -> Result<(), ApiError> {
    let name = port.to_string();
    if let Some(known) = registry.reader().record(claims::NODE_PORTS, &name) {
        if claims::port_claim(&known).is_none_or(|claim| claim.holder != *holder) {
            tracing::warn!(port, service = %holder.1, namespace = %holder.0, "the node port of a service is another's");
        }
        return Ok(());
    }
    let record = claims::port_record(port, holder, Timestamp::now());
    let value = Template::from_json(&record).ok_or_else(|| ApiError::internal("a node port cannot be written"))?;
    let key = Key::new("", &name).map_err(ApiError::internal)?;
    let table = registry.store().resource(claims::NODE_PORTS);
    commit(registry, Txn::new().put(&table, key, Expect::Absent, value)).await
}

/// Who was faster, was right.
async fn commit(registry: &Registry, txn: Txn) -> Result<(), ApiError> {
    match registry.store().commit(txn).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(ApiError::service_unavailable(error.to_string())),
    }
}

/// Whether a Service holds something now. A record is read before this is asked: what its Service has since taken again,
/// it has written again.
fn holds(registry: &Registry, holder: &Holder, what: impl Fn(&Claims) -> bool) -> bool {
    let service = registry.reader().get::<Service>("", "services", &holder.0, &holder.1);
    service.is_some_and(|service| what(&Claims::of(&service)))
}

/// The record of a node port goes, unless its Service holds the port.
async fn release_port(registry: &Registry, name: &str) -> Result<(), ApiError> {
    let table = registry.store().resource(claims::NODE_PORTS);
    let key = Key::new("", name).map_err(ApiError::internal)?;
    let Some(entry) = table.snapshot().get(&key) else { return Ok(()) };
    let port = name.parse::<i32>().ok();
    let is_held = claims::port_claim(entry.bytes())
        .zip(port)
        .is_some_and(|(claim, port)| holds(registry, &claim.holder, |held| held.ports.contains(&port)));
    if is_held {
        return Ok(());
    }
    commit(registry, Txn::new().delete(&table, key, Expect::Revision(entry.mod_revision()))).await
}

/// The object of an address goes, unless its Service holds the address, or it is not for a Service.
async fn release_address(registry: &Registry, name: &str) -> Result<(), ApiError> {
    let Some(object) = registry.reader().get::<IPAddress>(GROUP, "ipaddresses", "", name) else { return Ok(()) };
    let address = name.parse::<IpAddr>().ok();
    let Some(holder) = claims::address_holder(&object).filter(|_| claims::is_managed(&object)) else { return Ok(()) };
    if address.is_some_and(|address| holds(registry, &holder, |held| held.addresses.contains(&address))) {
        return Ok(());
    }
    let kind = kind_of(registry, "ipaddresses")?;
    let cx = context(registry, Verb::Delete, name);
    let options =
        DeleteOptions { resource_version: object.metadata.resource_version.clone(), ..DeleteOptions::default() };
    match registry.delete(&kind, &cx, &options).await {
        Err(error) if error.is("NotFound") || error.is("Conflict") => Ok(()),
        other => other.map(|_| ()),
    }
}
