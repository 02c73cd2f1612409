//! Nodes for the registry. Upstream: `pkg/registry/core/node`.

mod columns;
mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::Node;
use registry::{Column, Handler, Info, RequestCx, SelectableField, Strategy, Subresource};

use crate::core::pod;
use crate::core::pod::warnings::node_label;
use crate::optional::{Items, Text};

pub struct Nodes;

impl Strategy for Nodes {
    type Object = Node;

    const INFO: Info = Info::cluster("", "v1", "Node", "nodes").short(&["no"]);
    const COLUMNS: &'static [Column<Node>] = columns::COLUMNS;
    const SUBRESOURCES: &'static [Subresource] =
        &[Subresource::new("proxy", Handler::ConnectPath).body("", "v1", "NodeProxyOptions"), Subresource::STATUS];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField::new("spec.unschedulable", &[&["spec", "unschedulable"]]).absent("false")];

    fn set_defaults(&self, node: &mut Node) {
        set_defaults(node);
    }

    fn validate(&self, _cx: &RequestCx, node: &Node) -> ErrorList {
        validation::validate(node)
    }

    fn warnings(&self, _cx: &RequestCx, node: &Node, old: Option<&Node>) -> Vec<String> {
        warnings(node, old)
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut Node, old: &Node) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _cx: &RequestCx, new: &Node, old: &Node) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut Node, old: &Node) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &Node, old: &Node) -> ErrorList {
        validation::validate_update(new, old)
    }
}

fn set_defaults(node: &mut Node) {
    let spec = node.spec.get_or_insert_default();
    // The single range is the first of the list, whichever was written.
    match (spec.pod_cidr.text(), spec.pod_cidrs.items().first()) {
        ("", Some(first)) => spec.pod_cidr = Some(first.clone()),
        (single, None) if !single.is_empty() => spec.pod_cidrs = Some(vec![single.to_owned()]),
        _ => {}
    }
    let status = node.status.get_or_insert_default();
    for list in [&mut status.capacity, &mut status.allocatable].into_iter().flatten() {
        pod::defaults::resource_list(list);
    }
    if status.allocatable.is_none() {
        status.allocatable.clone_from(&status.capacity);
    }
}

/// Upstream: `pkg/api/node/util.go` and `nodeStrategy.WarningsOn…`.
fn warnings(node: &Node, old: Option<&Node>) -> Vec<String> {
    let mut warnings = Vec::new();
    let labels = |node: &Node| node.metadata.labels.clone().unwrap_or_default();
    let before = old.map(labels).unwrap_or_default();
    for key in labels(node).keys().filter(|key| !before.contains_key(*key)) {
        if let Some(message) = node_label(key) {
            // Kubelets still set the old labels beside the new ones, so only people are told.
            warnings.push(format!("metadata.labels[{key}]: {message}"));
        }
    }
    let spec = node.spec.as_ref();
    let old_spec = old.and_then(|old| old.spec.as_ref());
    if spec.is_some_and(|spec| spec.config_source.is_some()) && old_spec.is_none_or(|spec| spec.config_source.is_none())
    {
        warnings.push("spec.configSource: the feature is no longer supported".to_owned());
    }
    if spec.is_some_and(|spec| spec.external_id.as_ref().is_some_and(|id| !id.is_empty()))
        && old_spec.is_none_or(|spec| spec.external_id.is_none())
    {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    warnings
}
