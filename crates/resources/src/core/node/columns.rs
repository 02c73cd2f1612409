//! Table columns of nodes. Upstream: `printNode`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, NodeSystemInfo};
use registry::Column;
use serde_json::{Value, json};

use crate::optional::{Flag, Items};

type C = Column<Node>;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) static COLUMNS: &[Column<Node>] = &[
    Column::NAME,
    C::string("Status", |node, _| json!(status(node))).describe("The status of the node"),
    C::string("Roles", |node, _| json!(roles(node))).describe("The roles of the node"),
    Column::AGE,
    C::string("Version", |node, _| json!(info(node).map_or("", |info| &info.kubelet_version)))
        .describe("Kubelet Version reported by the node."),
    C::string("Internal-IP", |node, _| json!(address(node, "InternalIP"))).wide().describe(ADDRESSES),
    C::string("External-IP", |node, _| json!(address(node, "ExternalIP"))).wide().describe(ADDRESSES),
    C::string("OS-Image", |node, _| or_unknown(node, |info| &info.os_image))
        .wide()
        .describe("OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy))."),
    C::string("Kernel-Version", |node, _| or_unknown(node, |info| &info.kernel_version))
        .wide()
        .describe("Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64)."),
    C::string("Container-Runtime", |node, _| or_unknown(node, |info| &info.container_runtime_version)).wide().describe(
        "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
    ),
];

const ADDRESSES: &str = "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).";

fn info(node: &Node) -> Option<&NodeSystemInfo> {
    node.status.as_ref()?.node_info.as_ref()
}

fn or_unknown(node: &Node, field: fn(&NodeSystemInfo) -> &str) -> Value {
    let text = info(node).map_or("", field);
    json!(if text.is_empty() { "<unknown>" } else { text })
}

fn status(node: &Node) -> String {
    let conditions = node.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    // The last one counts, should there be several.
    let ready = conditions.iter().rev().find(|condition| condition.type_ == "Ready");
    let ready = match ready.map(|condition| condition.status.as_str()) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    };
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable.is_set());
    format!("{ready}{}", if cordoned { ",SchedulingDisabled" } else { "" })
}

fn roles(node: &Node) -> String {
    let roles: BTreeSet<&str> = node
        .metadata
        .labels
        .iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None => (key == ROLE_LABEL).then_some(value.as_str()),
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(node: &'a Node, kind: &str) -> &'a str {
    let addresses = node.status.as_ref().map_or(&[][..], |status| status.addresses.items());
    addresses.iter().find(|address| address.type_ == kind).map_or("<none>", |address| &address.address)
}
