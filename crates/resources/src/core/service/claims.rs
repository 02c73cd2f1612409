//! The records by which a service claims its addresses and node ports: what they are, and whose.
//!
//! Upstream counterpart: `createIPAddress` of `ipallocator`, and the `RangeAllocation` of `portallocator`, which is one
//! object for all node ports; here each port has its own, so that writes of different services do not meet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::IPAddress;
use registry::{Companion, CompanionChange, Reader};
use serde::Deserialize;
use serde_json::json;

use super::{kind, needs_health_check, needs_node_port, spec};
use crate::check;
use crate::optional::{Items, Text};

const GROUP: &str = "networking.k8s.io";
/// What the store calls the objects of addresses.
pub const ADDRESSES: &str = "ipaddresses.networking.k8s.io";
/// What the store calls the records of node ports, by the port's number. They are no objects of the API.
pub const NODE_PORTS: &str = "tiphysnodeports";
/// Says in an IPAddress who made it.
pub const MANAGED_BY: &str = "ipallocator.k8s.io";

/// Namespace and name of a service.
pub type Holder = (String, String);

/// Addresses and node ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub addresses: BTreeSet<IpAddr>,
    pub ports: BTreeSet<i32>,
}

/// Who has a node port, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortClaim {
    pub holder: Holder,
    pub since: Option<Timestamp>,
}

// === impl Claims ===

impl Claims {
    /// What a service holds.
    pub fn of(service: &Service) -> Self {
        let spec = spec(service);
        let addresses = if kind(service) == "ExternalName" { &[][..] } else { spec.cluster_ips.items() };
        let mut ports: BTreeSet<i32> = spec.ports.items().iter().filter_map(|port| port.node_port).collect();
        if !needs_node_port(service) {
            ports.clear();
        }
        ports.extend(spec.health_check_node_port.filter(|_| needs_health_check(spec)));
        Self { addresses: addresses.iter().filter_map(|address| check::parse_ip(address)).collect(), ports }
    }

    /// What is in it and not in the other.
    pub fn without(&self, other: &Self) -> Self {
        Self {
            addresses: self.addresses.difference(&other.addresses).copied().collect(),
            ports: self.ports.difference(&other.ports).copied().collect(),
        }
    }

    pub(super) fn remove(&mut self, other: &Self) {
        *self = self.without(other);
    }

    /// The records that are written for them.
    pub(super) fn taken_for(&self, service: &Service, now: Timestamp) -> Vec<Companion> {
        let holder = holder(service);
        let put = |resource, name, json| Companion { resource, name, change: CompanionChange::Put(json) };
        let addresses =
            self.addresses.iter().map(|address| put(ADDRESSES, address.to_string(), address_object(*address, &holder)));
        let ports = self.ports.iter().map(|port| put(NODE_PORTS, port.to_string(), port_record(*port, &holder, now)));
        addresses.chain(ports).collect()
    }

    /// The records that go when a service lets go of them. Those of others stay.
    pub(super) fn released_by(&self, reader: &Reader, service: &Service) -> Vec<Companion> {
        let holder = holder(service);
        let gone = |resource, name, version: Option<u64>| {
            let change = CompanionChange::Delete { revision: version? };
            Some(Companion { resource, name, change })
        };
        let addresses = self.addresses.iter().filter_map(|address| {
            let name = address.to_string();
            let object = reader.get::<IPAddress>(GROUP, "ipaddresses", "", &name)?;
            let version = object.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
            (address_holder(&object).as_ref() == Some(&holder)).then(|| gone(ADDRESSES, name, version))?
        });
        let ports = self.ports.iter().filter_map(|port| {
            let name = port.to_string();
            let record = Record::read(&reader.record(NODE_PORTS, &name)?)?;
            let version = record.metadata.resource_version.parse().ok();
            (record.service.holder() == holder).then(|| gone(NODE_PORTS, name, version))?
        });
        addresses.chain(ports).collect()
    }
}

pub(super) fn has_address(reader: &Reader, address: IpAddr) -> bool {
    reader.exists(GROUP, "ipaddresses", "", &address.to_string())
}

pub(super) fn count_addresses(reader: &Reader) -> usize {
    reader.count(GROUP, "ipaddresses")
}

pub(super) fn has_port(reader: &Reader, port: i32) -> bool {
    reader.record(NODE_PORTS, &port.to_string()).is_some()
}

pub fn holder(service: &Service) -> Holder {
    (service.metadata.namespace.text().to_owned(), service.metadata.name.text().to_owned())
}

/// The object by which a service has an address.
pub fn address_object(address: IpAddr, (namespace, name): &Holder) -> Bytes {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "IPAddress",
        "metadata": {"name": address.to_string(), "labels": {
            "ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": MANAGED_BY,
        }},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    });
    Bytes::from(object.to_string())
}

/// The service that an address is kept for, if it is one.
pub fn address_holder(object: &IPAddress) -> Option<Holder> {
    let parent = &object.spec.parent_ref;
    let is_service = parent.group.text().is_empty() && parent.resource == "services";
    is_service.then(|| (parent.namespace.text().to_owned(), parent.name.clone()))
}

/// Whether the object was made for a service by the server, and not by somebody who wants to keep an address.
pub fn is_managed(object: &IPAddress) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get("ipaddress.kubernetes.io/managed-by")).is_some_and(|by| by == MANAGED_BY)
}

/// The record by which a service has a node port.
pub fn port_record(port: i32, (namespace, name): &Holder, now: Timestamp) -> Bytes {
    // As text, since the fields' order counts: room for the revision is made in the metadata.
    let service = json!({"namespace": namespace, "name": name});
    let record = format!(
        r#"{{"apiVersion":"v1","kind":"NodePort","metadata":{{"name":"{port}","creationTimestamp":"{now}"}},"service":{service}}}"#
    );
    Bytes::from(record)
}

/// Whose record it is.
pub fn port_claim(record: &[u8]) -> Option<PortClaim> {
    let record = Record::read(record)?;
    let since = record.metadata.creation_timestamp.parse().ok();
    Some(PortClaim { holder: record.service.holder(), since })
}

#[derive(Deserialize)]
struct Record {
    metadata: RecordMetadata,
    service: RecordService,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    creation_timestamp: String,
}

#[derive(Deserialize)]
struct RecordService {
    namespace: String,
    name: String,
}

impl Record {
    fn read(bytes: &[u8]) -> Option<Self> {
        match apimachinery::json::from_bytes(bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::error!(%error, "the record of a node port does not decode");
                None
            }
        }
    }
}

impl RecordService {
    fn holder(self) -> Holder {
        (self.namespace, self.name)
    }
}
