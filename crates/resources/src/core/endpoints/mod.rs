//! Endpoints for the registry. Upstream: `pkg/registry/core/endpoint`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints as Object};
use registry::{Column, Info, RequestCx, Strategy};
use serde_json::json;

use crate::check::{self, Report};
use crate::meta::addresses::ip_warning;
use crate::optional::{Items, Text, default_text};

type C = Column<Object>;

pub struct Endpoints;

impl Strategy for Endpoints {
    type Object = Object;

    const INFO: Info = Info::namespaced("", "v1", "Endpoints", "endpoints").short(&["ep"]).list_kind("EndpointsList");
    const COLUMNS: &'static [Column<Object>] = COLUMNS;
    const ALLOW_CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&self, endpoints: &mut Object) {
        for port in endpoints.subsets.items_mut().iter_mut().flat_map(|subset| subset.ports.items_mut()) {
            default_text(&mut port.protocol, "TCP");
        }
    }

    fn validate(&self, _cx: &RequestCx, endpoints: &Object) -> ErrorList {
        let mut errors = ErrorList::default();
        for (index, each) in endpoints.subsets.items().iter().enumerate() {
            subset(each, &Path::new("subsets").index(index), &mut errors);
        }
        errors
    }

    fn warnings(&self, _cx: &RequestCx, endpoints: &Object, _old: Option<&Object>) -> Vec<String> {
        // The controller's come from elsewhere, where somebody was warned.
        let labels = endpoints.metadata.labels.as_ref();
        let manager = labels.and_then(|labels| labels.get("endpoints.kubernetes.io/managed-by"));
        if manager.is_some_and(|manager| manager == "endpoint-controller") {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (index, subset) in endpoints.subsets.items().iter().enumerate() {
            let path = Path::new("subsets").index(index);
            for (field, addresses) in
                [("addresses", subset.addresses.items()), ("notReadyAddresses", subset.not_ready_addresses.items())]
            {
                let addresses = addresses.iter().enumerate();
                let path = path.child(field);
                warnings.extend(addresses.filter_map(|(i, each)| ip_warning(&each.ip, &path.index(i).child("ip"))));
            }
        }
        warnings
    }
}

fn subset(subset: &EndpointSubset, path: &Path, errors: &mut ErrorList) {
    let lists = [("addresses", subset.addresses.items()), ("notReadyAddresses", subset.not_ready_addresses.items())];
    if lists.iter().all(|(_, addresses)| addresses.is_empty()) {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for (field, addresses) in lists {
        for (index, each) in addresses.iter().enumerate() {
            address(each, &path.child(field).index(index), errors);
        }
    }
    let ports = subset.ports.items();
    for (index, each) in ports.iter().enumerate() {
        port(each, ports.len() > 1, &path.child("ports").index(index), errors);
    }
}

fn address(address: &EndpointAddress, path: &Path, errors: &mut ErrorList) {
    check::ip(&address.ip, &path.child("ip"), errors);
    if !address.hostname.text().is_empty() {
        check::dns_label(address.hostname.text(), &path.child("hostname"), errors);
    }
    if let Some(node) = &address.node_name {
        check::dns_subdomain(node, &path.child("nodeName"), errors);
    }
    check::non_special_ip(&address.ip, &path.child("ip"), errors);
}

fn port(port: &EndpointPort, needs_name: bool, path: &Path, errors: &mut ErrorList) {
    let name = port.name.text();
    if needs_name && name.is_empty() {
        errors.required(&path.child("name"), "");
    } else if !name.is_empty() {
        check::dns_label(name, &path.child("name"), errors);
    }
    check::port_number(port.port, &path.child("port"), errors);
    check::protocol(port.protocol.text(), &path.child("protocol"), errors);
    if let Some(protocol) = &port.app_protocol {
        check::qualified_name(protocol, &path.child("appProtocol"), errors);
    }
}

/// The first three of all addresses with all ports.
fn addresses(endpoints: &Object) -> String {
    const MAX: usize = 3;
    let mut shown = Vec::new();
    let mut count = 0;
    for subset in endpoints.subsets.items() {
        let addresses = subset.addresses.items();
        let ports: Vec<Option<i32>> = match subset.ports.items() {
            // Headless services may have no ports.
            [] => vec![None],
            ports => ports.iter().map(|port| Some(port.port)).collect(),
        };
        for port in ports {
            count += addresses.len();
            for address in addresses.iter().take(MAX - shown.len()) {
                shown.push(match port {
                    None => address.ip.clone(),
                    Some(port) if address.ip.contains(':') => format!("[{}]:{port}", address.ip),
                    Some(port) => format!("{}:{port}", address.ip),
                });
            }
        }
    }
    match count.saturating_sub(MAX) {
        _ if endpoints.subsets.items().is_empty() => "<none>".to_owned(),
        0 => shown.join(","),
        more => format!("{} + {more} more...", shown.join(",")),
    }
}

static COLUMNS: &[Column<Object>] = &[
    Column::NAME,
    C::string("Endpoints", |endpoints, _| json!(addresses(endpoints))).describe("The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service."),
    Column::AGE,
];
