//! What a claim asks for. Upstream: `validateDeviceClaim` in `pkg/apis/resource/validation`.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClaim, DeviceConstraint, DeviceRequest, DeviceToleration, ResourceClaimSpec,
};

use super::{MAX_CONFIGS, names, opaque, selectors, set, slice, toleration};
use crate::check::{self, Report};
use crate::optional::{Items, Text};

pub(crate) const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_TOLERATIONS: usize = 16;
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Names of the requests with those of their alternatives.
pub(crate) struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    pub(crate) fn of(claim: Option<&'a DeviceClaim>) -> Self {
        let requests = claim.map_or(&[][..], |claim| claim.requests.items());
        let named = requests.iter().map(|request| {
            let alternatives = request.first_available.items().iter().map(|sub| sub.name.as_str()).collect();
            (request.name.as_str(), alternatives)
        });
        Self(named.collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, sub)) => self.0.get(request).is_some_and(|subs| subs.contains(sub)),
        }
    }

    /// `request` or `request/alternative`, and there must be one.
    pub(crate) fn reference(&self, name: &str, path: &Path, errors: &mut ErrorList) {
        if name.matches('/').count() > 1 {
            errors.invalid(path, name, NOT_A_REQUEST);
            return;
        }
        for part in name.split('/') {
            check::dns_label(part, path, errors);
        }
        if !self.has(name) {
            errors.invalid(path, name, NOT_A_REQUEST);
        }
    }

    pub(crate) fn references(&self, names: &[String], path: &Path, errors: &mut ErrorList) {
        set(names, MAX_REQUESTS, (String::clone, ""), path, errors, |name, path, errors| {
            self.reference(name, path, errors);
        });
    }
}

pub(crate) fn spec(spec: &ResourceClaimSpec, path: &Path, stored: bool, errors: &mut ErrorList) {
    let Some(claim) = &spec.devices else { return };
    let path = path.child("devices");
    let names = Requests::of(Some(claim));
    let key = (|request: &DeviceRequest| request.name.clone(), "name");
    set(claim.requests.items(), MAX_REQUESTS, key, &path.child("requests"), errors, request);
    slice(claim.constraints.items(), MAX_CONSTRAINTS, &path.child("constraints"), errors, |each, path, errors| {
        constraint(each, &names, path, errors);
    });
    slice(claim.config.items(), MAX_CONFIGS, &path.child("config"), errors, |config, path, errors| {
        names.references(config.requests.items(), &path.child("requests"), errors);
        opaque(config.opaque.as_ref(), path, stored, errors);
    });
}

/// What a request and its alternatives have in common.
struct Wanted<'a> {
    class: &'a str,
    mode: &'a str,
    count: i64,
    selectors: &'a [k8s_openapi::api::resource::v1::DeviceSelector],
    tolerations: &'a [DeviceToleration],
    capacity: Option<&'a CapacityRequirements>,
}

fn request(request: &DeviceRequest, path: &Path, errors: &mut ErrorList) {
    check::dns_label(&request.name, &path.child("name"), errors);
    let alternatives = request.first_available.items();
    match &request.exactly {
        None if alternatives.is_empty() => {
            errors.required(path, "exactly one of `exactly` or `firstAvailable` is required");
        }
        Some(_) if !alternatives.is_empty() => {
            let message = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path, "{`exactly`, `firstAvailable`}", message);
        }
        Some(exact) => {
            let exact = Wanted {
                class: &exact.device_class_name,
                mode: exact.allocation_mode.text(),
                count: exact.count.unwrap_or(0),
                selectors: exact.selectors.items(),
                tolerations: exact.tolerations.items(),
                capacity: exact.capacity.as_ref(),
            };
            wanted(&exact, &path.child("exactly"), errors);
        }
        None => {
            let key = (|sub: &k8s_openapi::api::resource::v1::DeviceSubRequest| sub.name.clone(), "name");
            let path = path.child("firstAvailable");
            set(alternatives, MAX_ALTERNATIVES, key, &path, errors, |sub, path, errors| {
                check::dns_label(&sub.name, &path.child("name"), errors);
                let sub = Wanted {
                    class: &sub.device_class_name,
                    mode: sub.allocation_mode.text(),
                    count: sub.count.unwrap_or(0),
                    selectors: sub.selectors.items(),
                    tolerations: sub.tolerations.items(),
                    capacity: sub.capacity.as_ref(),
                };
                wanted(&sub, path, errors);
            });
        }
    }
}

fn wanted(wanted: &Wanted<'_>, path: &Path, errors: &mut ErrorList) {
    let class_path = path.child("deviceClassName");
    if wanted.class.is_empty() {
        errors.required(&class_path, "");
    } else {
        check::dns_subdomain(wanted.class, &class_path, errors);
    }
    selectors(wanted.selectors, &path.child("selectors"), errors);
    let count_path = path.child("count");
    match wanted.mode {
        "All" if wanted.count != 0 => {
            errors.invalid(&count_path, wanted.count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if wanted.count <= 0 => errors.invalid(&count_path, wanted.count, check::NOT_POSITIVE),
        "ExactCount" => {}
        other => errors.not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    slice(wanted.tolerations, MAX_TOLERATIONS, &path.child("tolerations"), errors, toleration);
    let requests = wanted.capacity.and_then(|capacity| capacity.requests.as_ref());
    for (name, _) in requests.into_iter().flatten() {
        let path = path.child("capacity").child("requests").key(&names::shortened(name));
        names::qualified(name, &path, errors);
    }
}

fn constraint(constraint: &DeviceConstraint, names: &Requests<'_>, path: &Path, errors: &mut ErrorList) {
    names.references(constraint.requests.items(), &path.child("requests"), errors);
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (Some(attribute), None) => names::fully_qualified(attribute, &path.child("matchAttribute"), errors),
        (None, Some(attribute)) => names::fully_qualified(attribute, &path.child("distinctAttribute"), errors),
        (Some(_), Some(_)) => {
            let message =
                "exactly one of `matchAttribute` or `distinctAttribute` is required, but multiple fields are set";
            errors.invalid(path, "{`matchAttribute`, `distinctAttribute`}", message);
        }
        (None, None) => errors.required(path, "exactly one of `matchAttribute` or `distinctAttribute` is required"),
    }
}
