//! What a pod asks for altogether: aggregated requests and limits, pod-level defaults, quality of service.
//!
//! Upstream counterpart: `k8s.io/component-helpers/resource` and `pkg/apis/core/helper/qos`.

use std::collections::BTreeMap;

use apimachinery::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::columns::is_sidecar;
use crate::meta::quantity;
use crate::optional::Items;

pub(crate) const HUGE_PAGES: &str = "hugepages-";

type Amounts = BTreeMap<String, Quantity>;
type TextList = BTreeMap<String, Text>;

pub(crate) fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Kubernetes' own resources: without a prefix, or with one of `kubernetes.io`.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether more may be promised than there is.
pub(crate) fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

pub(crate) fn is_supported_at_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_pages(name)
}

/// What all containers together request: the sum of those that run at once, or what starting needs, if more.
pub(crate) fn aggregate_requests(spec: &PodSpec) -> Amounts {
    aggregate(spec, |resources| resources.requests.as_ref())
}

pub(crate) fn aggregate_limits(spec: &PodSpec) -> Amounts {
    aggregate(spec, |resources| resources.limits.as_ref())
}

fn aggregate(spec: &PodSpec, list: fn(&ResourceRequirements) -> Option<&TextList>) -> Amounts {
    let amounts = |container: &Container| -> Amounts {
        let list = container.resources.as_ref().and_then(list);
        list.into_iter().flatten().map(|(name, text)| (name.clone(), quantity::amount(Some(text)))).collect()
    };
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &amounts(container));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.items() {
        let mut own = amounts(container);
        if is_sidecar(container) {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut starting, &own);
    }
    raise(&mut running, &starting);
    running
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|sum| *sum = sum.plus(amount)).or_insert(*amount);
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        to.entry(name.clone()).and_modify(|to| *to = (*to).max(*amount)).or_insert(*amount);
    }
}

/// Completes partly stated pod-level resources from the containers'.
pub(super) fn default_pod_level(spec: &mut PodSpec) {
    if spec.resources.is_none() {
        return;
    }
    huge_page_limits(spec);
    requests(spec);
    limits(spec);
}

fn huge_page_limits(spec: &mut PodSpec) {
    let from_containers = aggregate_limits(spec);
    let Some(resources) = &mut spec.resources else { return };
    if is_empty(resources.limits.as_ref()) && is_empty(resources.requests.as_ref()) {
        return;
    }
    for (name, amount) in from_containers.into_iter().filter(|(name, _)| is_huge_pages(name)) {
        let requested = resources.requests.as_ref().is_some_and(|requests| requests.contains_key(&name));
        if !requested {
            let limits = resources.limits.get_or_insert_default();
            limits.entry(name).or_insert_with(|| quantity::to_text(amount));
        }
    }
}

fn requests(spec: &mut PodSpec) {
    let from_containers = aggregate_requests(spec);
    let Some(resources) = &mut spec.resources else { return };
    let Some(limits) = resources.limits.clone().filter(|limits| !limits.is_empty()) else { return };
    let mut requests = resources.requests.take().unwrap_or_default();
    for (name, amount) in from_containers {
        if is_supported_at_pod_level(&name) && is_overcommit_allowed(&name) {
            requests.entry(name).or_insert_with(|| quantity::to_text(amount));
        }
    }
    for (name, limit) in limits.into_iter().filter(|(name, _)| is_supported_at_pod_level(name)) {
        requests.entry(name).or_insert(limit);
    }
    resources.requests = Some(requests).filter(|requests| !requests.is_empty());
}

fn limits(spec: &mut PodSpec) {
    let from_containers = aggregate_limits(spec);
    let everywhere = |spec: &PodSpec, name: &str| {
        spec.containers.iter().chain(spec.init_containers.items()).all(|container| {
            let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
            limits.is_some_and(|limits| limits.contains_key(name))
        })
    };
    let found: Vec<(String, Quantity)> = from_containers
        .into_iter()
        .filter(|(name, _)| is_supported_at_pod_level(name) && is_overcommit_allowed(name) && everywhere(spec, name))
        .collect();
    let Some(resources) = &mut spec.resources else { return };
    if !is_empty(resources.limits.as_ref()) || is_empty(resources.requests.as_ref()) || found.is_empty() {
        return;
    }
    resources.limits = Some(found.into_iter().map(|(name, amount)| (name, quantity::to_text(amount))).collect());
}

fn is_empty(list: Option<&TextList>) -> bool {
    list.is_none_or(BTreeMap::is_empty)
}

/// `Guaranteed`, `Burstable` or `BestEffort` (`ComputePodQOS`).
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    let pod_level = spec.resources.as_ref().filter(|r| !is_empty(r.limits.as_ref()) || !is_empty(r.requests.as_ref()));
    let containers = spec.containers.iter().chain(spec.init_containers.items());
    let mut requirements: Vec<Option<&ResourceRequirements>> =
        containers.map(|container| container.resources.as_ref()).collect();
    if let Some(pod_level) = pod_level {
        requirements = vec![Some(pod_level)];
    }
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut guaranteed = true;
    for resources in requirements {
        let take = |list: Option<&TextList>, sum: &mut Amounts| -> usize {
            let mut counted = 0;
            for (name, text) in list.into_iter().flatten().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"))
            {
                let amount = quantity::amount(Some(text));
                if amount.sign() > 0 {
                    counted += 1;
                    add(sum, &Amounts::from([(name.clone(), amount)]));
                }
            }
            counted
        };
        take(resources.and_then(|resources| resources.requests.as_ref()), &mut requests);
        guaranteed &= take(resources.and_then(|resources| resources.limits.as_ref()), &mut limits) == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
