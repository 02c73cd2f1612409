//! What objects count for in resource quotas, and which quotas they count in. Upstream: `pkg/quota/v1/evaluator/core`.
//!
//! Admission and the controller that counts again must agree, so both count here.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::{Quantity, quantity::Format};
use jiff::{SignedDuration, Timestamp};

use crate::{
    core::v1::{Container, PersistentVolumeClaim, Pod, ResourceQuota, ScopedResourceSelectorRequirement, Service},
    requests::{Amounts, Side, of_spec},
    resource::v1::ResourceClaim,
};

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
const DEVICE_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
/// What each container must say for itself where a quota counts it.
const STATED: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds whose number has a name from before there was `count/`.
const LEGACY: &[&str] = &[
    "configmaps",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "persistentvolumeclaims",
    "pods",
];

fn count(number: usize) -> Quantity {
    Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// `count/deployments.apps`.
pub fn count_name(group: &str, plural: &str) -> String {
    if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") }
}

/// Group and plural of a name that counts objects of a kind, also in its old form.
pub fn counted(name: &str) -> Option<(&str, &str)> {
    match name.strip_prefix("count/") {
        Some(rest) => Some(rest.split_once('.').map_or(("", rest), |(plural, group)| (group, plural))),
        None => LEGACY.contains(&name).then_some(("", name)),
    }
}

/// What one object of a kind counts for whatever is in it.
pub fn object_usage(group: &str, plural: &str) -> Amounts {
    let mut usage = Amounts::from([(count_name(group, plural), count(1))]);
    // Pods that have ended do not count as pods any more.
    if group.is_empty() && LEGACY.contains(&plural) && plural != "pods" {
        usage.insert(plural.to_owned(), count(1));
    }
    usage
}

/// What a pod counts for.
pub fn pod_usage(pod: &Pod, now: Timestamp) -> Amounts {
    let mut usage = object_usage("", "pods");
    if !is_charged(pod, now) {
        return usage;
    }
    usage.insert("pods".to_owned(), count(1));
    if let Some(spec) = &pod.spec {
        compute_usage(&of_spec(spec, Side::Requests), &of_spec(spec, Side::Limits), &mut usage);
    }
    usage
}

/// Whether a quota of this name is about pods, also about those that ask for none of it.
pub fn is_of_pods(name: &str) -> bool {
    let asked = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    matches!(name, "pods" | "count/pods")
        || matches!(asked, "cpu" | "memory" | "ephemeral-storage")
        || asked.starts_with("hugepages-")
        || (name.starts_with("requests.") && asked.contains('/'))
}

/// Neither ended, nor overdue.
fn is_charged(pod: &Pod, now: Timestamp) -> bool {
    if crate::pod::is_terminal(pod) {
        return false;
    }
    let (deleted, grace) = (&pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds);
    match (deleted, grace) {
        (Some(at), Some(grace)) => {
            let overdue = at.0.checked_add(SignedDuration::from_secs(grace.max(0))).is_ok_and(|end| now > end);
            !overdue
        }
        _ => true,
    }
}

fn compute_usage(requests: &Amounts, limits: &Amounts, usage: &mut Amounts) {
    for (name, amount) in requests {
        match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ if name.starts_with("hugepages-") => {
                usage.insert(name.clone(), *amount);
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ if name.contains('/') => {
                usage.insert(format!("requests.{name}"), *amount);
            }
            _ => {}
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
}

/// What a claim counts for.
pub fn claim_usage(claim: &PersistentVolumeClaim) -> Amounts {
    let mut usage = object_usage("", "persistentvolumeclaims");
    let annotations = claim.metadata.annotations.as_ref();
    let annotated = annotations.and_then(|all| all.get("volume.beta.kubernetes.io/storage-class").cloned());
    let class = annotated.or_else(|| claim.spec.as_ref()?.storage_class_name.clone()).unwrap_or_default();
    if !class.is_empty() {
        usage.insert(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), count(1));
    }
    let storage = |amounts: Option<&BTreeMap<String, crate::Quantity>>| -> Option<Quantity> {
        amounts?.get("storage")?.0.parse().ok()
    };
    let requested = storage(claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()));
    // While a growth that failed is being taken back, the larger size counts.
    let allocated = storage(claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref()));
    if let Some(requested) = requested {
        let amount = allocated.map_or(requested, |allocated| allocated.max(requested));
        usage.insert("requests.storage".to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), amount);
        }
    }
    usage
}

/// What a service counts for.
pub fn service_usage(service: &Service) -> Amounts {
    let mut usage = object_usage("", "services");
    let ports = service.spec.as_ref().map_or(0, |spec| spec.ports.iter().flatten().count());
    let (mut node_ports, mut balancers) = (0, 0);
    match service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) {
        Some("NodePort") => node_ports = ports,
        Some("LoadBalancer") => {
            balancers = 1;
            let spec = service.spec.as_ref();
            if spec.and_then(|spec| spec.allocate_load_balancer_node_ports) == Some(false) {
                let set = spec.into_iter().flat_map(|spec| spec.ports.iter().flatten());
                node_ports = set.filter(|port| port.node_port.is_some_and(|port| port != 0)).count();
            } else {
                node_ports = ports;
            }
        }
        _ => {}
    }
    usage.insert("services.nodeports".to_owned(), count(node_ports));
    usage.insert("services.loadbalancers".to_owned(), count(balancers));
    usage
}

/// What a claim for devices counts for.
pub fn device_claim_usage(claim: &ResourceClaim) -> Amounts {
    /// As many as a claim may get where all there are, are asked for.
    const MOST: i64 = 32;
    let mut usage = object_usage("resource.k8s.io", "resourceclaims");
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    for request in requests {
        let number =
            |mode: Option<&str>, wanted: Option<i64>| if mode == Some("All") { MOST } else { wanted.unwrap_or(1) };
        let exact = request
            .exactly
            .iter()
            .map(|exact| (exact.device_class_name.clone(), number(exact.allocation_mode.as_deref(), exact.count)));
        // Of alternatives, the costliest counts for each class.
        let mut worst: BTreeMap<String, i64> = BTreeMap::new();
        for sub in request.first_available.iter().flatten() {
            let entry = worst.entry(sub.device_class_name.clone()).or_default();
            *entry = (*entry).max(number(sub.allocation_mode.as_deref(), sub.count));
        }
        for (class, number) in exact.chain(worst) {
            let amount = usage.entry(format!("{class}{DEVICE_SUFFIX}")).or_default();
            *amount = amount.plus(&Quantity::from_units(number, Format::DecimalSi));
        }
    }
    usage
}

/// What a pod leaves out though a quota counts it, as upstream words it; `None`: nothing.
pub fn unstated(pod: &Pod, counted: &BTreeSet<String>) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let required: Vec<&str> = STATED.iter().copied().filter(|name| counted.contains(*name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let pod_level = spec.resources.as_ref();
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let mut stated = Amounts::new();
        let of = |side| crate::requests::of_container(container, side);
        compute_usage(&of(Side::Requests), &of(Side::Limits), &mut stated);
        if let Some(resources) = pod_level {
            let whole = Container { resources: Some(pod_requirements(resources)), ..Container::default() };
            let of = |side| crate::requests::of_container(&whole, side);
            compute_usage(&of(Side::Requests), &of(Side::Limits), &mut stated);
        }
        for name in required.iter().filter(|name| !stated.contains_key(**name)) {
            missing.entry(name).or_default().insert(&container.name);
        }
    }
    let texts = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")));
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| format!("must specify {}", texts.join("; ")))
}

fn pod_requirements(resources: &crate::core::v1::ResourceRequirements) -> crate::core::v1::ResourceRequirements {
    crate::core::v1::ResourceRequirements {
        limits: resources.limits.clone(),
        requests: resources.requests.clone(),
        ..Default::default()
    }
}

/// An object that scopes may tell apart.
#[derive(Clone, Copy)]
pub enum Scoped<'a> {
    Pod(&'a Pod),
    Claim(&'a PersistentVolumeClaim),
    Other,
}

/// Whether all of a quota's scopes hold for the object.
pub fn in_scope(quota: &ResourceQuota, object: Scoped<'_>) -> bool {
    let Some(spec) = &quota.spec else { return true };
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".to_owned(),
        values: None,
    });
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten().cloned());
    plain.chain(selected).all(|requirement| scope_holds(&requirement, object))
}

fn scope_holds(requirement: &ScopedResourceSelectorRequirement, object: Scoped<'_>) -> bool {
    match object {
        Scoped::Pod(pod) => match requirement.scope_name.as_str() {
            "Terminating" => is_bounded(pod),
            "NotTerminating" => !is_bounded(pod),
            "BestEffort" => crate::pod::is_best_effort(pod),
            "NotBestEffort" => !crate::pod::is_best_effort(pod),
            "PriorityClass" => {
                let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
                value_matches(requirement, class.filter(|class| !class.is_empty()))
            }
            "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
            _ => false,
        },
        Scoped::Claim(claim) => {
            let of_spec = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
            let of_status =
                claim.status.as_ref().and_then(|status| status.current_volume_attributes_class_name.as_deref());
            let mut classes = [of_spec, of_status].into_iter().flatten().filter(|class| !class.is_empty());
            requirement.scope_name == "VolumeAttributesClass"
                && match classes.next() {
                    None => value_matches(requirement, None),
                    Some(first) => {
                        value_matches(requirement, Some(first))
                            || classes.any(|class| value_matches(requirement, Some(class)))
                    }
                }
        }
        Scoped::Other => false,
    }
}

fn value_matches(requirement: &ScopedResourceSelectorRequirement, value: Option<&str>) -> bool {
    let listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|item| item == value));
    match requirement.operator.as_str() {
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

fn is_bounded(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some_and(|seconds| seconds >= 0)
}

fn reaches_other_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else { return false };
    let (with, without) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
    let required = [
        with.and_then(|own| own.required_during_scheduling_ignored_during_execution.as_ref()),
        without.and_then(|own| own.required_during_scheduling_ignored_during_execution.as_ref()),
    ];
    let preferred = [
        with.and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_ref()),
        without.and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_ref()),
    ];
    let required = required.into_iter().flatten().flatten();
    let preferred = preferred.into_iter().flatten().flatten().map(|term| &term.pod_affinity_term);
    required.chain(preferred).any(|term| {
        term.namespaces.as_ref().is_some_and(|namespaces| !namespaces.is_empty()) || term.namespace_selector.is_some()
    })
}

/// The amounts that a list of texts stands for.
pub fn amounts(texts: Option<&BTreeMap<String, crate::Quantity>>) -> Amounts {
    texts.into_iter().flatten().map(|(name, text)| (name.clone(), text.0.parse().unwrap_or_default())).collect()
}

/// The text of amounts.
pub fn texts(amounts: &Amounts) -> BTreeMap<String, crate::Quantity> {
    amounts.iter().map(|(name, amount)| (name.clone(), crate::Quantity(amount.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn print(usage: &Amounts) -> String {
        usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn pods_count_for_what_they_ask() {
        let running = pod(
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "example.com/gpu": "2"}, "limits": {"cpu": "2"}}}]}),
        );
        assert_eq!(
            print(&pod_usage(&running, Timestamp::UNIX_EPOCH)),
            "count/pods=1,cpu=1,limits.cpu=2,pods=1,requests.cpu=1,requests.example.com/gpu=2"
        );
        let ended: Pod =
            serde_json::from_value(json!({"spec": {"containers": []}, "status": {"phase": "Failed"}})).unwrap();
        assert_eq!(print(&pod_usage(&ended, Timestamp::UNIX_EPOCH)), "count/pods=1");
    }

    #[test]
    fn claims_and_services_count_by_class_and_port() {
        let claim = serde_json::from_value(
            json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
        )
        .unwrap();
        assert_eq!(
            print(&claim_usage(&claim)),
            "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi"
        );
        let service =
            serde_json::from_value(json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}}))
                .unwrap();
        assert_eq!(
            print(&service_usage(&service)),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2"
        );
    }

    #[test]
    fn scopes_tell_pods_apart() {
        let quota = |spec: Value| -> ResourceQuota { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let plain = pod(json!({"containers": [{"name": "c"}]}));
        let important = pod(
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}], "priorityClassName": "high", "activeDeadlineSeconds": 1}),
        );
        for (spec, of_plain, of_important) in [
            (json!({}), true, true),
            (json!({"scopes": ["BestEffort"]}), true, false),
            (json!({"scopes": ["NotTerminating"]}), true, false),
            (json!({"scopes": ["Terminating", "NotBestEffort"]}), false, true),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
                false,
                true,
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}),
                true,
                false,
            ),
        ] {
            let quota = quota(spec.clone());
            assert_eq!(in_scope(&quota, Scoped::Pod(&plain)), of_plain, "{spec}");
            assert_eq!(in_scope(&quota, Scoped::Pod(&important)), of_important, "{spec}");
        }
    }

    #[test]
    fn containers_must_say_what_is_counted() {
        let counted = BTreeSet::from(["cpu".to_owned(), "limits.memory".to_owned(), "pods".to_owned()]);
        let silent =
            pod(json!({"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]}));
        assert_eq!(unstated(&silent, &counted).unwrap(), "must specify cpu for: a; limits.memory for: a,b");
    }
}
