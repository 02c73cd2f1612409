//! Validation of a claim's status. Upstream: `ValidatePersistentVolumeClaimStatusUpdate`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus};

use crate::check::{self, Report};
use crate::core::pod::validation::quantity_of;
use crate::meta::quantity;
use crate::optional::Items;

const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizePending",
];

pub(super) fn validate(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
    let mut errors = ErrorList::default();
    if new.metadata.resource_version.is_none() {
        errors.required(&Path::new("resourceVersion"), "");
    }
    let empty = PersistentVolumeClaimStatus::default();
    let path = Path::new("status");
    let status = new.status.as_ref().unwrap_or(&empty);
    let modes = new.spec.as_ref().map_or(&[][..], |spec| spec.access_modes.items());
    if modes.is_empty() {
        errors.required(&Path::new("Spec").child("accessModes"), "");
    }
    for (resource, amount) in status.capacity.iter().flatten() {
        quantity_of(resource, amount, &path.child("capacity").key(resource), &mut errors);
    }
    for (resource, state) in status.allocated_resource_statuses.iter().flatten() {
        let path = path.child("allocatedResourceStatus").key(resource);
        resource_name(resource, &path, &mut errors);
        if !RESIZE_STATES.contains(&state.as_str()) {
            errors.not_supported(&path, state, RESIZE_STATES);
        }
    }
    let old_capacity = old.status.as_ref().and_then(|status| status.capacity.as_ref());
    for (resource, amount) in status.allocated_resources.iter().flatten() {
        let path = path.child("allocatedResources").key(resource);
        resource_name(resource, &path, &mut errors);
        quantity_of(resource, amount, &path, &mut errors);
        let had = old_capacity.and_then(|capacity| capacity.get(resource));
        if resource == "storage" && quantity::amount(Some(amount)) < quantity::amount(had) {
            errors.invalid(&path, &amount.0, "must be greater than or equal to the capacity");
        }
    }
    errors
}

fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    check::qualified_name(name, path, errors);
    if !name.contains('/') {
        if name != "storage" {
            errors.not_supported(path, name, &["storage"]);
        }
    } else if name.split('/').next().is_some_and(|domain| domain.ends_with("kubernetes.io")) {
        errors.invalid(path, name, "is not a valid resource name");
    }
}
