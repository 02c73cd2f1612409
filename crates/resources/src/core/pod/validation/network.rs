//! Validation of what a pod says about its network: ports of the host, DNS, hosts file, hostname.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{HostAlias, PodSpec};
use serde_json::json;

use super::PodOptions;
use crate::check::{self, Report};
use crate::optional::{Flag, Items, Text};

// The limits of name resolution in libc.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;

/// On the host's network a container's port is the host's. Templates may leave the host port open.
pub(super) fn host_network_ports(spec: &PodSpec, path: &Path, options: &PodOptions, errors: &mut ErrorList) {
    if !spec.host_network.is_set() {
        return;
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for (port_index, port) in container.ports.items().iter().enumerate() {
            let host_port = port.host_port.unwrap_or(0);
            if (options.is_pod || host_port != 0) && host_port != port.container_port {
                let path = path.child("containers").index(index).child("ports").index(port_index);
                let message = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&path.child("hostPort"), host_port, message);
            }
        }
    }
}

pub(super) fn dns_config(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let nameservers_path = path.child("nameservers");
    let config = spec.dns_config.as_ref();
    if spec.dns_policy.text() == "None" {
        match config {
            None => {
                errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
                return;
            }
            Some(config) if config.nameservers.items().is_empty() => {
                let message = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                errors.required(&nameservers_path, message);
                return;
            }
            Some(_) => {}
        }
    }
    let Some(config) = config else { return };
    let nameservers = config.nameservers.items();
    if nameservers.len() > MAX_NAMESERVERS {
        let message = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.invalid(&nameservers_path, json!(nameservers), message);
    }
    for (index, nameserver) in nameservers.iter().enumerate() {
        check::ip(nameserver, &nameservers_path.index(index), errors);
    }
    let (searches, searches_path) = (config.searches.items(), path.child("searches"));
    if searches.len() > MAX_SEARCHES {
        let message = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.invalid(&searches_path, json!(searches), message);
    }
    if searches.join(" ").len() > MAX_SEARCH_BYTES {
        let message =
            format!("must not have more than {MAX_SEARCH_BYTES} characters (including spaces) in the search list");
        errors.invalid(&searches_path, json!(searches), message);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        subdomain_with_underscore(search, &searches_path.index(index), errors);
    }
    for (index, option) in config.options.items().iter().enumerate() {
        if option.name.text().is_empty() {
            errors.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

fn subdomain_with_underscore(value: &str, path: &Path, errors: &mut ErrorList) {
    if value.len() > 253 {
        errors.invalid(path, value, "must be no more than 253 bytes");
    }
    let is_edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let is_label = |label: &str| match (label.bytes().next(), label.bytes().last()) {
        (Some(first), Some(last)) => is_edge(first) && is_edge(last) && label.bytes().all(|b| is_edge(b) || b == b'-'),
        _ => false,
    };
    if !value.split('.').all(is_label) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*')";
        errors.invalid(path, value, message);
    }
}

pub(super) fn host_aliases(aliases: &[HostAlias], path: &Path, errors: &mut ErrorList) {
    for (index, alias) in aliases.iter().enumerate() {
        let path = path.index(index);
        check::ip(&alias.ip, &path.child("ip"), errors);
        for (name_index, name) in alias.hostnames.items().iter().enumerate() {
            check::dns_subdomain(name, &path.child("hostnames").index(name_index), errors);
        }
    }
}

pub(super) fn hostname_override(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(name) = spec.hostname_override.as_deref() else { return };
    let path = path.child("hostnameOverride");
    if name.is_empty() {
        return;
    }
    check::dns_subdomain(name, &path, errors);
    if name.len() > 64 {
        errors.too_long(&path, 64);
    }
    if spec.host_network.is_set() {
        errors.forbidden(&path, "may not be specified when hostNetwork is true");
    }
    if spec.set_hostname_as_fqdn.is_set() {
        errors.forbidden(&path, "may not be specified when setHostnameAsFQDN is true");
    }
}
