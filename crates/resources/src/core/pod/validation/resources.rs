//! Validation of resource requests and limits.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{Error, ErrorList, Path};
use apimachinery::{Quantity, names};
use k8s_openapi::api::core::v1::{PodSpec, ResourceClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::json;

use super::PodOptions;
use crate::check::{self, Report};
use crate::core::pod::resources::{
    HUGE_PAGES, aggregate_requests, is_huge_pages, is_native, is_overcommit_allowed, is_supported_at_pod_level,
};
use crate::meta::quantity;
use crate::optional::{Items, Text as _};

/// Which resources may be named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResourceScope {
    Container,
    Pod,
}

/// `validateResourceRequirements`. `claims` are the names in `spec.resourceClaims`.
pub(crate) fn requirements(
    requirements: &ResourceRequirements,
    scope: ResourceScope,
    claims: &BTreeSet<&str>,
    path: &Path,
    options: &PodOptions,
    errors: &mut ErrorList,
) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    let (mut compute, mut huge_pages) = (false, false);
    for (name, text) in requirements.limits.iter().flatten() {
        let path = limits_path.key(name);
        resource_of(name, text, scope, &path, options, errors);
        compute |= is_compute(name);
        huge_pages |= is_huge_pages(name);
    }
    for (name, text) in requirements.requests.iter().flatten() {
        let path = requests_path.key(name);
        let limit = requirements.limits.as_ref().and_then(|limits| limits.get(name));
        scoped_name(name, scope, &path, errors);
        quantity_of(name, text, &path, errors);
        let request = quantity::amount(Some(text));
        if let Some(limit) = limit.and_then(quantity::parse) {
            if request != limit && !is_overcommit_allowed(name) {
                let message = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&requests_path, request.to_string(), message);
            } else if request > limit {
                let message = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&requests_path, request.to_string(), message);
            }
        } else if !is_overcommit_allowed(name) {
            errors.required(&limits_path, "Limit must be set for non overcommitable resources");
        }
        huge_page_size(name, request, &path, options, errors);
        compute |= is_compute(name);
        huge_pages |= is_huge_pages(name);
    }
    if huge_pages && !compute {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    claim_names(requirements.claims.items(), claims, &path.child("claims"), errors);
}

fn is_compute(name: &str) -> bool {
    matches!(name, "cpu" | "memory")
}

fn resource_of(
    name: &str,
    text: &Text,
    scope: ResourceScope,
    path: &Path,
    options: &PodOptions,
    errors: &mut ErrorList,
) {
    scoped_name(name, scope, path, errors);
    quantity_of(name, text, path, errors);
    huge_page_size(name, quantity::amount(Some(text)), path, options, errors);
}

fn huge_page_size(name: &str, amount: Quantity, path: &Path, options: &PodOptions, errors: &mut ErrorList) {
    if is_huge_pages(name) && !options.allow_indivisible_huge_pages && !is_divisible(name, amount) {
        let message = format!("{amount} is not positive integer multiple of {name}");
        errors.invalid(path, amount.to_string(), message);
    }
}

fn is_divisible(name: &str, amount: Quantity) -> bool {
    let size = name.strip_prefix(HUGE_PAGES).and_then(|size| size.parse::<Quantity>().ok());
    size.is_some_and(|size| size.sign() > 0 && amount.sign() >= 0 && amount.nanos() % size.nanos() == 0)
}

pub(super) fn has_indivisible_huge_pages(spec: &PodSpec) -> bool {
    let containers = spec.containers.iter().chain(spec.init_containers.items());
    containers.filter_map(|container| container.resources.as_ref()).any(|resources| {
        let lists = [&resources.limits, &resources.requests];
        lists
            .into_iter()
            .flatten()
            .flatten()
            .any(|(name, text)| is_huge_pages(name) && !is_divisible(name, quantity::amount(Some(text))))
    })
}

/// Not negative, and whole where only whole makes sense (`ValidateResourceQuantityValue`).
/// `validateBasicResource`: an amount, of whatever it is.
pub(crate) fn basic_resource(text: &Text, path: &Path, errors: &mut ErrorList) {
    match text.0.parse::<Quantity>() {
        Ok(amount) if amount.value() < 0 => errors.invalid(path, amount.value(), "must be a valid resource quantity"),
        Ok(_) => {}
        Err(error) => errors.invalid(path, &text.0, error.to_string()),
    }
}

pub(crate) fn quantity_of(name: &str, text: &Text, path: &Path, errors: &mut ErrorList) {
    let amount = match text.0.parse::<Quantity>() {
        Ok(amount) => amount,
        Err(error) => return errors.invalid(path, &text.0, error.to_string()),
    };
    if amount.sign() < 0 {
        errors.invalid(path, amount.to_string(), check::NEGATIVE);
    }
    if is_integer(name) && amount.milli_value() % 1000 != 0 {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
}

fn is_integer(name: &str) -> bool {
    const COUNTED: &[&str] = &[
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    COUNTED.contains(&name) || is_extended(name)
}

/// A resource that a device plugin or an operator provides.
fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// A name as quotas, ranges and nodes use it too (`validateResourceName`). Whether it was valid.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let messages = names::is_qualified_name(name);
    if !messages.is_empty() {
        check::all_invalid(messages, name, path, errors);
        return false;
    }
    if !name.contains('/') && !is_standard(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

fn is_standard(name: &str) -> bool {
    const STANDARD: &[&str] = &[
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
        "services.nodeports",
        "services.loadbalancers",
    ];
    STANDARD.contains(&name) || is_huge_pages(name) || name.starts_with("requests.hugepages-")
}

fn scoped_name(name: &str, scope: ResourceScope, path: &Path, errors: &mut ErrorList) {
    let valid = resource_name(name, path, errors);
    match scope {
        ResourceScope::Container => {
            if !name.contains('/') {
                if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_pages(name) {
                    errors.invalid(path, name, "must be a standard resource for containers");
                }
            } else if !is_native(name) && !is_extended(name) {
                errors.invalid(path, name, "doesn't follow extended resource name standard");
            }
        }
        ResourceScope::Pod if valid && !is_supported_at_pod_level(name) => {
            errors.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
        }
        ResourceScope::Pod => {}
    }
}

fn claim_names(claims: &[ResourceClaim], of_pod: &BTreeSet<&str>, path: &Path, errors: &mut ErrorList) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let (path, name, request) = (path.index(index), claim.name.as_str(), claim.request.text());
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if seen.contains(name) {
            // All requests of the claim are referenced already.
            errors.duplicate(&path, name);
        } else {
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !request.is_empty() {
                check::dns_label(request, &path.child("request"), errors);
            }
            if seen.contains(&key) {
                errors.duplicate(&path, &key);
            } else if request.is_empty() {
                let prefix = format!("{name}/");
                for _ in seen.iter().filter(|seen| seen.starts_with(&prefix)) {
                    errors.duplicate(&path, name);
                }
            }
            seen.insert(key);
        }
        if !of_pod.contains(name) {
            let mut error = Error::not_found(&path, name);
            error.detail = if of_pod.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                let names: Vec<&str> = of_pod.iter().copied().collect();
                format!("must be one of the names in pod.spec.resourceClaims: {}", names.join(", "))
            };
            errors.push(error);
        }
    }
}

pub(super) fn overhead(overhead: &BTreeMap<String, Text>, path: &Path, options: &PodOptions, errors: &mut ErrorList) {
    let limits = ResourceRequirements { limits: Some(overhead.clone()), ..Default::default() };
    requirements(&limits, ResourceScope::Container, &BTreeSet::new(), path, options, errors);
}

/// Resources of the pod as a whole must hold those of its containers.
pub(super) fn pod_level(
    spec: &PodSpec,
    claims: &BTreeSet<&str>,
    path: &Path,
    options: &PodOptions,
    errors: &mut ErrorList,
) {
    let Some(resources) = &spec.resources else { return };
    if resources.claims.is_some() {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(resources, ResourceScope::Pod, claims, path, options, errors);
    for (name, aggregated) in aggregate_requests(spec) {
        let Some(text) = resources.requests.as_ref().and_then(|requests| requests.get(&name)) else { continue };
        let request = quantity::amount(Some(text));
        if aggregated > request {
            let message = format!("must be greater than or equal to aggregate container requests of {aggregated}");
            errors.invalid(&path.child("requests").key(&name), request.to_string(), message);
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        for (name, text) in limits.into_iter().flatten() {
            let Some(of_pod) = resources.limits.as_ref().and_then(|limits| limits.get(name)) else { continue };
            let (limit, of_pod) = (quantity::amount(Some(text)), quantity::amount(Some(of_pod)));
            if limit > of_pod {
                let path = path.child("containers").index(index).key(name).child("limits");
                let message = format!("must be less than or equal to pod limits of {of_pod}");
                errors.invalid(&path, json!(limit.to_string()), message);
            }
        }
    }
}
