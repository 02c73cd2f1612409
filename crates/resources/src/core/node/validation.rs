//! Validation of nodes. Upstream: `ValidateNode`, `ValidateNodeUpdate`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{ConfigMapNodeConfigSource, Node, NodeConfigSource, NodeSpec, NodeStatus, Taint};
use serde_json::json;

use crate::check::{self, Report};
use crate::core::pod::validation::{node_taints, quantity_of};
use crate::optional::{Items, Text};

const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";

pub(super) fn validate(node: &Node) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = NodeSpec::default();
    let spec = node.spec.as_ref().unwrap_or(&empty);
    annotations(node, &mut errors);
    // Upstream reports taints below the metadata.
    node_taints(spec.taints.items(), &Path::new("metadata").child("taints"), &mut errors);
    resources(node, &mut errors);
    let ranges = spec.pod_cidrs.items();
    let path = Path::new("spec").child("podCIDRs");
    for (index, range) in ranges.iter().enumerate() {
        check::cidr(range, &path.index(index), &mut errors);
    }
    if ranges.len() > 1 {
        let addresses = ranges.iter().filter_map(|range| range.split('/').next());
        if !check::is_dual_stack(addresses) || ranges.len() > 2 {
            errors.invalid(&path, json!(ranges), "may specify no more than one CIDR for each IP family");
        }
        let mut seen = BTreeSet::new();
        for (index, range) in ranges.iter().enumerate() {
            if !seen.insert(range) {
                errors.duplicate(&path.index(index), range);
            }
        }
    }
    errors
}

fn annotations(node: &Node, errors: &mut ErrorList) {
    let Some(text) = node.metadata.annotations.as_ref().and_then(|annotations| annotations.get(TAINTS)) else { return };
    let path = Path::new("metadata").child("annotations");
    match serde_json::from_str::<Vec<Taint>>(text) {
        _ if text.is_empty() => {}
        Ok(taints) => node_taints(&taints, &path.child(TAINTS), errors),
        Err(error) => errors.invalid(&path, TAINTS, error.to_string()),
    }
}

fn resources(node: &Node, errors: &mut ErrorList) {
    let Some(status) = &node.status else { return };
    for (field, list) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
        for (name, amount) in list.iter().flatten() {
            quantity_of(name, amount, &Path::new("status").child(field).child(name), errors);
        }
    }
}

pub(super) fn validate_update(new: &Node, old: &Node) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty_spec, empty_status) = (NodeSpec::default(), NodeStatus::default());
    let (spec, old_spec) = (new.spec.as_ref().unwrap_or(&empty_spec), old.spec.as_ref().unwrap_or(&empty_spec));
    let status = new.status.as_ref().unwrap_or(&empty_status);
    let path = Path::new("spec");
    annotations(new, &mut errors);
    resources(new, &mut errors);
    let addresses = status.addresses.items();
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            errors.duplicate(&Path::new("status").child("addresses").index(index), json!(address));
        }
    }
    let ranges = old_spec.pod_cidrs.items();
    if !ranges.is_empty() && ranges != spec.pod_cidrs.items() {
        let message = r#"node updates may not change podCIDR except from "" to valid"#;
        errors.forbidden(&path.child("podCIDRs"), message);
    }
    let provider = old_spec.provider_id.text();
    if !provider.is_empty() && provider != spec.provider_id.text() {
        let message = r#"node updates may not change providerID except from "" to valid"#;
        errors.forbidden(&path.child("providerID"), message);
    }
    if let Some(source) = &spec.config_source {
        config_source(source, Place::Spec, &path.child("configSource"), &mut errors);
    }
    if let Some(config) = &status.config {
        let path = Path::new("status").child("config");
        for (field, source) in
            [("assigned", &config.assigned), ("active", &config.active), ("lastKnownGood", &config.last_known_good)]
        {
            if let Some(source) = source {
                config_source(source, Place::Status, &path.child(field), &mut errors);
            }
        }
    }
    node_taints(spec.taints.items(), &Path::new("metadata").child("taints"), &mut errors);
    if spec.external_id.text() != old_spec.external_id.text() {
        errors.forbidden(&path.child("externalID"), "may not be updated");
    }
    errors
}

/// A reference says in the spec what is wanted and in the status exactly which version is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Spec,
    Status,
}

fn config_source(source: &NodeConfigSource, place: Place, path: &Path, errors: &mut ErrorList) {
    match &source.config_map {
        None => errors.invalid(path, json!(source), "exactly one reference subfield must be non-nil"),
        Some(map) => config_map(map, place, &path.child("configMap"), errors),
    }
}

fn config_map(map: &ConfigMapNodeConfigSource, place: Place, path: &Path, errors: &mut ErrorList) {
    for (field, value) in [("uid", map.uid.text()), ("resourceVersion", map.resource_version.text())] {
        match place {
            Place::Spec if !value.is_empty() => {
                errors.forbidden(&path.child(field), format!("{field} must not be set in spec"));
            }
            Place::Status if value.is_empty() => {
                errors.required(&path.child(field), format!("{field} must be set in status"));
            }
            _ => {}
        }
    }
    if map.namespace.is_empty() {
        errors.required(&path.child("namespace"), "namespace must be set");
    } else {
        check::dns_label(&map.namespace, &path.child("namespace"), errors);
    }
    if map.name.is_empty() {
        errors.required(&path.child("name"), "name must be set");
    } else {
        check::dns_subdomain(&map.name, &path.child("name"), errors);
    }
    if map.kubelet_config_key.is_empty() {
        errors.required(&path.child("kubeletConfigKey"), "kubeletConfigKey must be set");
    } else {
        let messages = apimachinery::names::is_config_map_key(&map.kubelet_config_key);
        check::all_invalid(messages, &map.kubelet_config_key, &path.child("kubeletConfigKey"), errors);
    }
}
