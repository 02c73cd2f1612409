//! Validation of network policies. Upstream: `ValidateNetworkPolicy` in `pkg/apis/networking/validation`.

use std::net::IpAddr;

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::Items;

const TYPES: &[&str] = &["Ingress", "Egress"];

pub(super) fn validate(policy: &NetworkPolicy) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(spec) = &policy.spec else { return errors };
    let path = Path::new("spec");
    if let Some(selector) = &spec.pod_selector {
        check::label_selector(selector, &path.child("podSelector"), &mut errors);
    }
    for (index, rule) in spec.ingress.items().iter().enumerate() {
        let path = path.child("ingress").index(index);
        ports(rule.ports.items(), &path, &mut errors);
        peers(rule.from.items(), &path.child("from"), &mut errors);
    }
    for (index, rule) in spec.egress.items().iter().enumerate() {
        let path = path.child("egress").index(index);
        ports(rule.ports.items(), &path, &mut errors);
        peers(rule.to.items(), &path.child("to"), &mut errors);
    }
    let (types, path) = (spec.policy_types.items(), path.child("policyTypes"));
    if types.len() > TYPES.len() {
        errors.invalid(&path, json!(types), "may not specify more than two policyTypes");
        return errors;
    }
    for (index, kind) in types.iter().enumerate() {
        if !TYPES.contains(&kind.as_str()) {
            errors.not_supported(&path.index(index), kind, TYPES);
        }
    }
    errors
}

fn ports(ports: &[NetworkPolicyPort], path: &Path, errors: &mut ErrorList) {
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        if let Some(protocol) = &port.protocol
            && !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP")
        {
            errors.not_supported(&path.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
        }
        let (port_path, end_path) = (path.child("port"), path.child("endPort"));
        match (&port.port, port.end_port) {
            (None, None) => {}
            (None, Some(end)) => errors.invalid(&end_path, end, "may not be specified when `port` is not specified"),
            (Some(IntOrString::String(name)), end) => {
                if let Some(end) = end {
                    errors.invalid(&end_path, end, "may not be specified when `port` is non-numeric");
                }
                check::all_invalid(names::is_valid_port_name(name), name, &port_path, errors);
            }
            (Some(IntOrString::Int(number)), end) => {
                check::port_number(*number, &port_path, errors);
                if let Some(end) = end {
                    if end < *number {
                        errors.invalid(&end_path, end, "must be greater than or equal to `port`");
                    }
                    check::port_number(end, &end_path, errors);
                }
            }
        }
    }
}

fn peers(peers: &[NetworkPolicyPeer], path: &Path, errors: &mut ErrorList) {
    for (index, peer) in peers.iter().enumerate() {
        let path = path.index(index);
        if let Some(selector) = &peer.pod_selector {
            check::label_selector(selector, &path.child("podSelector"), errors);
        }
        if let Some(selector) = &peer.namespace_selector {
            check::label_selector(selector, &path.child("namespaceSelector"), errors);
        }
        if let Some(block) = &peer.ip_block {
            ip_block(block, &path.child("ipBlock"), errors);
        }
        let by_labels = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
        match (by_labels, peer.ip_block.is_some()) {
            (false, false) => errors.required(&path, "must specify a peer"),
            (true, true) => errors.forbidden(&path, "may not specify both ipBlock and another peer"),
            _ => {}
        }
    }
}

fn ip_block(block: &IPBlock, path: &Path, errors: &mut ErrorList) {
    if block.cidr.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    check::cidr(&block.cidr, &path.child("cidr"), errors);
    let network = |text: &str| {
        let (address, prefix): (IpAddr, u8) = check::parse_cidr(text)?;
        IpNet::new(address, prefix).ok()
    };
    let Some(whole) = network(&block.cidr) else { return };
    for (index, text) in block.except.items().iter().enumerate() {
        let path = path.child("except").index(index);
        check::cidr(text, &path, errors);
        if let Some(part) = network(text)
            && (!whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len())
        {
            errors.invalid(&path, text, "must be a strict subset of `cidr`");
        }
    }
}
