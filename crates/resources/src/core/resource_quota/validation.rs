//! Validation of resource quotas. Upstream: `ValidateResourceQuota` in `pkg/apis/core/validation`.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

use crate::check::{self, Report};
use crate::core::pod::validation::quantity_of;
use crate::optional::Items;

const COMPUTE: [&str; 7] = ["cpu", "memory", "pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const OTHERS: [&str; 12] = [
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "requests.storage",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

pub(super) fn validate(quota: &ResourceQuota) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(spec) = &quota.spec else { return errors };
    let path = Path::new("spec");
    amounts(spec.hard.as_ref(), &path.child("hard"), &mut errors);
    let path = path.child("scopes");
    let scopes = spec.scopes.items();
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(&path, json!(scopes), "unsupported scope");
            continue;
        }
        for name in spec.hard.iter().flatten().map(|(name, _)| name.as_str()).filter(|name| is_standard(name)) {
            if !fits(scope, name) {
                errors.invalid(&path, json!(scopes), "unsupported scope applied to resource");
            }
        }
    }
    for pair in CONFLICTS {
        if pair.iter().all(|scope| scopes.iter().any(|known| known == scope)) {
            errors.invalid(&path, json!(scopes), "conflicting scopes");
        }
    }
    errors
}

pub(super) fn validate_update(new: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
    let mut errors = validate(new);
    let scopes = |quota: &ResourceQuota| {
        let mut scopes = quota.spec.as_ref().map_or_else(Vec::new, |spec| spec.scopes.items().to_vec());
        scopes.sort_unstable();
        scopes
    };
    check::unchanged(&scopes(new), &scopes(old), &Path::new("spec").child("scopes"), &mut errors);
    errors
}

pub(super) fn validate_status(quota: &ResourceQuota) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(status) = &quota.status else { return errors };
    amounts(status.hard.as_ref(), &Path::new("status").child("hard"), &mut errors);
    amounts(status.used.as_ref(), &Path::new("status").child("used"), &mut errors);
    errors
}

fn amounts(list: Option<&BTreeMap<String, Quantity>>, path: &Path, errors: &mut ErrorList) {
    for (name, amount) in list.into_iter().flatten() {
        let path = path.key(name);
        let wrong = names::is_qualified_name(name);
        let malformed = !wrong.is_empty();
        check::all_invalid(wrong, name, &path, errors);
        if !malformed && !name.contains('/') && !is_standard(name) {
            errors.invalid(&path, name, "must be a standard resource for quota");
        }
        quantity_of(name, amount, &path, errors);
    }
}

fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name)
        || OTHERS.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            COMPUTE.contains(&name)
        }
        _ => matches!(name, "persistentvolumeclaims" | "requests.storage"),
    }
}
