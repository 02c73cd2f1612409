//! Whether the node takes a pod: the scheduler's view may be stale, and pods may name a node themselves.
//! Upstream: pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/sysctl, pkg/kubelet/lifecycle `podOSSelector`.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::Quantity;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod};

use crate::config::Config;
use crate::qos;
use crate::spec::forbidden_sysctl;

/// A refusal: the pod fails with this reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: String,
    pub message: String,
}

/// What is on the node already.
pub(crate) struct Load<'a> {
    pub allocatable: &'a BTreeMap<String, Quantity>,
    /// Pods that hold resources, without the one in question.
    pub pods: &'a [std::sync::Arc<Pod>],
    pub node: Option<&'a Node>,
}

/// Takes the pod or says why not.
pub(crate) fn admit(config: &Config, load: &Load<'_>, pod: &Pod) -> Result<(), Refusal> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if let Some(os) = spec.os.as_ref().filter(|os| os.name != "linux") {
        return Err(refusal(
            "PodOSNotSupported",
            format!("Failed to admit pod as the OS field doesn't match node OS, {:?}", os.name),
        ));
    }
    if let Some(sysctl) = forbidden_sysctl(pod, &config.allowed_unsafe_sysctls) {
        return Err(refusal("SysctlForbidden", format!("forbidden sysctl: {sysctl:?} not allowlisted")));
    }
    if let Some(node) = load.node
        && !node_matches(node, pod)
    {
        return Err(refusal(
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned(),
        ));
    }
    if let Some(name) = spec.node_name.as_deref().filter(|name| *name != config.node_name) {
        return Err(refusal("NodeName", format!("Predicate NodeName failed: pod asks for node {name}")));
    }
    if let Some(taken) = taken_port(load.pods, pod) {
        return Err(refusal("NodePorts", format!("Predicate NodePorts failed: host port {taken} is in use")));
    }
    fits(config, load, pod)
}

fn fits(config: &Config, load: &Load<'_>, pod: &Pod) -> Result<(), Refusal> {
    let pods = i64::try_from(load.pods.len()).unwrap_or(i64::MAX);
    let capacity = load.allocatable.get("pods").map_or(i64::from(config.max_pods), Quantity::value);
    if pods + 1 > capacity {
        return Err(out_of("pods", 1, pods, capacity));
    }
    for name in resource_names(pod) {
        let asked = qos::pod_total(pod, &name, qos::request);
        if asked.sign() <= 0 {
            continue;
        }
        let used =
            load.pods.iter().fold(Quantity::ZERO, |sum, other| sum.plus(&qos::pod_total(other, &name, qos::request)));
        let capacity = load.allocatable.get(&name).copied().unwrap_or(Quantity::ZERO);
        if used.plus(&asked) > capacity {
            let figure = |quantity: &Quantity| if name == "cpu" { quantity.milli_value() } else { quantity.value() };
            return Err(out_of(&name, figure(&asked), figure(&used), figure(&capacity)));
        }
    }
    Ok(())
}

fn out_of(name: &str, asked: i64, used: i64, capacity: i64) -> Refusal {
    refusal(
        &format!("OutOf{name}"),
        format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"),
    )
}

fn refusal(reason: &str, message: String) -> Refusal {
    Refusal { reason: reason.to_owned(), message }
}

fn resource_names(pod: &Pod) -> BTreeSet<String> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let lists = containers.filter_map(|container| container.resources.as_ref()).chain(spec.resources.as_ref());
    lists
        .flat_map(|resources| resources.requests.iter().chain(resources.limits.iter()))
        .flat_map(|list| list.keys().cloned())
        .chain(spec.overhead.iter().flat_map(|list| list.keys().cloned()))
        .collect()
}

/// The first host port of the pod that another one holds.
fn taken_port(others: &[std::sync::Arc<Pod>], pod: &Pod) -> Option<i32> {
    let wanted = host_ports(pod);
    if wanted.is_empty() {
        return None;
    }
    let held: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    wanted.into_iter().find_map(|(port, protocol, ip)| {
        let clash = held.iter().any(|(other, other_protocol, other_ip)| {
            *other == port && *other_protocol == protocol && (any(&ip) || any(other_ip) || *other_ip == ip)
        });
        clash.then_some(port)
    })
}

fn host_ports(pod: &Pod) -> Vec<(i32, String, String)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars =
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((host_port, protocol, port.host_ip.clone().unwrap_or_default()))
        })
        .collect()
}

/// Node selector and required node affinity.
fn node_matches(node: &Node, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    selected
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, labels, name)))
}

fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions
        .iter()
        .all(|requirement| requirement_matches(requirement, labels.get(&requirement.key).map(String::as_str)))
        && fields
            .iter()
            .all(|requirement| requirement_matches(requirement, (requirement.key == "metadata.name").then_some(name)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compared = |compare: fn(&i64, &i64) -> bool| {
        let pair = value.and_then(|value| value.parse().ok()).zip(values.first().and_then(|bound| bound.parse().ok()));
        pair.is_some_and(|(value, bound): (i64, i64)| compare(&value, &bound))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn check(spec: serde_json::Value, others: &[serde_json::Value]) -> Result<(), String> {
        let config = Config::new("node", "/data");
        let allocatable = BTreeMap::from([
            ("cpu".to_owned(), "2".parse().unwrap()),
            ("memory".to_owned(), "1Gi".parse().unwrap()),
            ("pods".to_owned(), "3".parse().unwrap()),
        ]);
        let others: Vec<_> = others.iter().map(|spec| Arc::new(pod(spec.clone()))).collect();
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "node", "labels": {"zone": "a"}}})).unwrap();
        let load = Load { allocatable: &allocatable, pods: &others, node: Some(&node) };
        admit(&config, &load, &pod(spec)).map_err(|refusal| format!("{}: {}", refusal.reason, refusal.message))
    }

    fn asking(cpu: &str) -> serde_json::Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
    }

    #[test]
    fn resources_must_fit() {
        assert_eq!(check(asking("1500m"), &[asking("500m")]), Ok(()));
        assert_eq!(
            check(asking("1600m"), &[asking("500m")]).unwrap_err(),
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 1600, used: 500, capacity: 2000"
        );
        let empty = json!({"containers": []});
        assert!(check(empty.clone(), &[empty.clone(), empty.clone(), empty]).unwrap_err().starts_with("OutOfpods"));
    }

    #[test]
    fn labels_must_match() {
        assert!(
            check(json!({"containers": [], "nodeSelector": {"zone": "b"}}), &[])
                .unwrap_err()
                .starts_with("NodeAffinity")
        );
        assert_eq!(check(json!({"containers": [], "nodeSelector": {"zone": "a"}}), &[]), Ok(()));
    }

    #[test]
    fn host_ports_must_be_free() {
        let with =
            |port: i32| json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": port}]}]});
        assert!(check(with(8080), &[with(8080)]).unwrap_err().starts_with("NodePorts"));
        assert_eq!(check(with(8080), &[with(8081)]), Ok(()));
    }

    #[test]
    fn unsafe_sysctls_are_refused() {
        let with =
            |name: &str| json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        assert_eq!(check(with("net.ipv4.tcp_syncookies"), &[]), Ok(()));
        assert_eq!(
            check(with("kernel.msgmax"), &[]).unwrap_err(),
            "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted"
        );
    }
}
