//! Validation of endpoint slices. Upstream: `pkg/apis/discovery/validation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use crate::check::{self, PROTOCOLS, Report};
use crate::optional::{Items, Text};

pub(super) const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
/// Slices from before there were families may keep their type.
const ALL_ADDRESS_TYPES: &[&str] = &["FQDN", "IP", "IPv4", "IPv6"];
const MAX_TOPOLOGY_LABELS: usize = 16;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_ENDPOINTS: usize = 1000;
const MAX_HINTS: usize = 8;

pub(super) fn validate(slice: &EndpointSlice, types: &[&str]) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("addressType");
    match slice.address_type.as_str() {
        "" => errors.required(&path, ""),
        kind if !types.contains(&kind) => errors.not_supported(&path, kind, types),
        _ => {}
    }
    let (endpoints, path) = (slice.endpoints.items(), Path::new("endpoints"));
    if endpoints.len() > MAX_ENDPOINTS {
        errors.too_many(&path, endpoints.len(), MAX_ENDPOINTS);
    } else {
        for (index, each) in endpoints.iter().enumerate() {
            endpoint(each, &slice.address_type, &path.index(index), &mut errors);
        }
    }
    ports(slice.ports.items(), &Path::new("ports"), &mut errors);
    errors
}

pub(super) fn validate_update(new: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
    let mut errors = validate(new, ALL_ADDRESS_TYPES);
    check::unchanged(&new.address_type, &old.address_type, &Path::new("addressType"), &mut errors);
    errors
}

fn endpoint(endpoint: &Endpoint, kind: &str, path: &Path, errors: &mut ErrorList) {
    let addresses_path = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&addresses_path, "must contain at least 1 address"),
        count if count > MAX_ADDRESSES => errors.too_many(&addresses_path, count, MAX_ADDRESSES),
        _ => {}
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        self::address(address, kind, &addresses_path.index(index), errors);
    }
    if let Some(node) = &endpoint.node_name {
        check::dns_subdomain(node, &path.child("nodeName"), errors);
    }
    let topology_path = path.child("deprecatedTopology");
    let count = endpoint.deprecated_topology.as_ref().map_or(0, std::collections::BTreeMap::len);
    if count > MAX_TOPOLOGY_LABELS {
        errors.too_many(&topology_path, count, MAX_TOPOLOGY_LABELS);
    }
    check::labels(endpoint.deprecated_topology.as_ref(), &topology_path, errors);
    for reserved in ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
        if endpoint.deprecated_topology.as_ref().is_some_and(|topology| topology.contains_key(reserved)) {
            let message = match reserved {
                "kubernetes.io/hostname" => "may not contain `kubernetes.io/hostname`; use `nodeName` instead",
                _ => "may not contain `topology.kubernetes.io/zone`; use `zone` instead",
            };
            errors.invalid(&topology_path.key(reserved), reserved, message);
        }
    }
    if let Some(hostname) = &endpoint.hostname {
        check::dns_label(hostname, &path.child("hostname"), errors);
    }
    let Some(hints) = &endpoint.hints else { return };
    let zones = hints.for_zones.items().iter().map(|zone| zone.name.as_str()).collect();
    hint_names(zones, &path.child("hints").child("forZones"), errors);
    let nodes = hints.for_nodes.items().iter().map(|node| node.name.as_str()).collect();
    hint_names(nodes, &path.child("hints").child("forNodes"), errors);
}

fn hint_names(names: Vec<&str>, path: &Path, errors: &mut ErrorList) {
    if names.len() > MAX_HINTS {
        errors.too_many(path, names.len(), MAX_HINTS);
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, name) in names.into_iter().enumerate() {
        let path = path.index(index).child("name");
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        for message in apimachinery::names::is_valid_label_value(name) {
            errors.invalid(&path, name, message);
        }
    }
}

fn address(address: &str, kind: &str, path: &Path, errors: &mut ErrorList) {
    let parsed = check::parse_ip(address);
    match kind {
        "IPv4" => {
            if !parsed.is_some_and(|parsed| parsed.is_ipv4()) {
                errors.invalid(path, address, "must be a valid IPv4 address");
            }
            check::non_special_ip(address, path, errors);
        }
        "IPv6" => {
            if !parsed.is_some_and(|parsed| parsed.is_ipv6()) {
                errors.invalid(path, address, "must be a valid IPv6 address");
            }
            check::non_special_ip(address, path, errors);
        }
        "IP" => check::ip(address, path, errors),
        "FQDN" => fully_qualified(address, path, errors),
        _ => {}
    }
}

fn fully_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let messages = check::is_dns_subdomain(name);
    if !messages.is_empty() {
        check::all_invalid(messages, name, path, errors);
        return;
    }
    if name.split('.').count() < 2 {
        errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    for label in name.split('.') {
        check::all_invalid(apimachinery::names::is_dns1123_label(label), label, path, errors);
    }
}

fn ports(ports: &[EndpointPort], path: &Path, errors: &mut ErrorList) {
    if ports.len() > MAX_PORTS {
        errors.too_many(path, ports.len(), MAX_PORTS);
        return;
    }
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(index), port.name.text());
        if !name.is_empty() {
            check::dns_label(name, &path.child("name"), errors);
        }
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        match &port.protocol {
            None => errors.required(&path.child("protocol"), ""),
            Some(protocol) if !PROTOCOLS.contains(&protocol.as_str()) => {
                errors.not_supported(&path.child("protocol"), protocol, PROTOCOLS);
            }
            Some(_) => {}
        }
        if let Some(protocol) = &port.app_protocol {
            check::qualified_name(protocol, &path.child("appProtocol"), errors);
        }
    }
}
