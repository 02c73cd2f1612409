//! Completing and checking the address families of a service against those of the cluster.
//!
//! Upstream counterpart: `initIPFamilyFields` in `pkg/registry/core/service/storage/alloc.go`.

use apimachinery::ApiError;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde_json::json;

use super::{kind, spec, validation};
use crate::check::{self, Report};
use crate::optional::{Items, Text};

pub(super) const IPV4: &str = "IPv4";
pub(super) const IPV6: &str = "IPv6";

/// The family of an address that was validated.
pub(super) fn family_of(address: &str) -> &'static str {
    match check::parse_ip(address) {
        Some(address) if address.is_ipv6() => IPV6,
        _ => IPV4,
    }
}

fn other(family: &str) -> &'static str {
    if family == IPV4 { IPV6 } else { IPV4 }
}

/// Fills in policy and families. `cluster` are the cluster's families, the default first.
pub(super) fn complete(service: &mut Service, old: Option<&Service>, cluster: &[&'static str]) -> Result<(), ApiError> {
    if kind(service) == "ExternalName" {
        return Ok(());
    }
    if old.is_some_and(|old| prefers_dual_stack_as_before(service, old)) {
        return Ok(());
    }
    let old = old.map(spec);
    let headless_without_selector = {
        let spec = spec(service);
        spec.cluster_ip.text() == "None" && spec.selector.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
    };
    if spec(service).ip_family_policy.is_none() {
        let inherited = old.and_then(|old| old.ip_family_policy.clone());
        let default = if headless_without_selector { "RequireDualStack" } else { "SingleStack" };
        service.spec.get_or_insert_default().ip_family_policy = Some(inherited.unwrap_or_else(|| default.to_owned()));
    }
    let mut errors = ErrorList::default();
    validation::cluster_ips(spec(service), &mut errors);
    invalid(service, errors)?;

    let mut errors = ErrorList::default();
    let target = service.spec.get_or_insert_default();
    if let Some(old) = old {
        reduce(target, old, &mut errors);
    }
    single_stack_has_one(target, &mut errors);
    infer_from_addresses(target, cluster, &mut errors);
    invalid(service, errors)?;

    let Some(default) = cluster.first() else { return Ok(()) };
    let target = service.spec.get_or_insert_default();
    let single = target.ip_family_policy.text() == "SingleStack";
    if headless_without_selector {
        // Endpoints are somebody else's business here, so any family will do.
        let families = target.ip_families.get_or_insert_default();
        if families.is_empty() {
            families.push((*default).to_owned());
        }
        if families.len() < 2 && !single {
            families.push(other(&families[0]).to_owned());
        }
        return Ok(());
    }
    let mut errors = ErrorList::default();
    let path = Path::new("spec");
    if target.ip_family_policy.text() == "RequireDualStack" && cluster.len() < 2 {
        let message = "this cluster is not configured for dual-stack services";
        errors.invalid(&path.child("ipFamilyPolicy"), target.ip_family_policy.text(), message);
    }
    for (index, family) in target.ip_families.items().iter().enumerate() {
        if !cluster.contains(&family.as_str()) {
            errors.invalid(&path.child("ipFamilies").index(index), family, "not configured on this cluster");
        }
    }
    invalid(service, errors)?;
    let families = service.spec.get_or_insert_default().ip_families.get_or_insert_default();
    if families.is_empty() {
        families.push((*default).to_owned());
    }
    if !single && families.len() == 1 && cluster.len() == 2 {
        families.push(other(&families[0]).to_owned());
    }
    Ok(())
}

fn invalid(service: &Service, errors: ErrorList) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("", "Service", service.metadata.name.text(), &errors))
}

/// A single-stack service gives back its second address, when that is clearly meant.
fn reduce(new: &mut ServiceSpec, old: &ServiceSpec, errors: &mut ErrorList) {
    let path = Path::new("spec").child("ipFamilyPolicy");
    if new.ip_family_policy.text() == "SingleStack" {
        if new.cluster_ips == old.cluster_ips {
            new.cluster_ips.iter_mut().for_each(|addresses| addresses.truncate(1));
        }
        if new.ip_families == old.ip_families {
            new.ip_families.iter_mut().for_each(|families| families.truncate(1));
        }
        return;
    }
    let fewer = |new: &Option<Vec<String>>, old: &Option<Vec<String>>| {
        !new.items().is_empty() && new.items().len() < old.items().len()
    };
    if fewer(&new.cluster_ips, &old.cluster_ips) {
        let message = "must be 'SingleStack' to release the secondary cluster IP";
        errors.invalid(&path, new.ip_family_policy.text(), message);
    }
    if fewer(&new.ip_families, &old.ip_families) {
        let message = "must be 'SingleStack' to release the secondary IP family";
        errors.invalid(&path, new.ip_family_policy.text(), message);
    }
}

fn single_stack_has_one(spec: &ServiceSpec, errors: &mut ErrorList) {
    let path = Path::new("spec").child("ipFamilyPolicy");
    if spec.ip_family_policy.text() != "SingleStack" {
        return;
    }
    for (count, what) in
        [(spec.cluster_ips.items().len(), "cluster IPs"), (spec.ip_families.items().len(), "IP families")]
    {
        if count == 2 {
            let message = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.invalid(&path, spec.ip_family_policy.text(), message);
        }
    }
}

fn infer_from_addresses(spec: &mut ServiceSpec, cluster: &[&'static str], errors: &mut ErrorList) {
    let addresses = spec.cluster_ips.items().to_vec();
    for (index, address) in addresses.iter().enumerate().take_while(|(_, address)| *address != "None") {
        if index < spec.ip_families.items().len() {
            continue;
        }
        let family = family_of(address);
        if cluster.contains(&family) {
            spec.ip_families.get_or_insert_default().push(family.to_owned());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(index);
            errors.invalid(&path, json!(addresses), format!("{family} is not configured on this cluster"));
        }
    }
}

/// `PreferDualStack` takes what there was at creation; a cluster that changed since does not change the service.
fn prefers_dual_stack_as_before(new: &Service, old: &Service) -> bool {
    let (new_spec, old_spec) = (spec(new), spec(old));
    new_spec.ip_family_policy.as_deref() == Some("PreferDualStack")
        && kind(new) == kind(old)
        && matches!(kind(new), "ClusterIP" | "NodePort" | "LoadBalancer")
        && old_spec.ip_family_policy.as_deref().is_none_or(|policy| policy == "PreferDualStack")
        && new_spec.cluster_ips.items() == old_spec.cluster_ips.items()
        && new_spec.ip_families.items() == old_spec.ip_families.items()
}
