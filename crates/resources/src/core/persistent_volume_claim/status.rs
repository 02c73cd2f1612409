//! Validation of a claim's status. Upstream: `ValidatePersistentVolumeClaimStatusUpdate`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus};

use crate::check::{self, Report};
use crate::core::pod::validation::basic_resource;
use crate::optional::Items;

const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(super) fn validate(new: &PersistentVolumeClaim) -> ErrorList {
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
        basic_resource(amount, &path.child("capacity").key(resource), &mut errors);
    }
    // Upstream names the map, not the entry, and what is in the wrong state, not the state.
    let states_path = path.child("allocatedResourceStatus");
    for (resource, state) in status.allocated_resource_statuses.iter().flatten() {
        resource_name(resource, &states_path, &mut errors);
        if !RESIZE_STATES.contains(&state.as_str()) {
            errors.not_supported(&states_path, resource, RESIZE_STATES);
        }
    }
    let allocated_path = path.child("allocatedResources");
    for (resource, amount) in status.allocated_resources.iter().flatten() {
        if resource_name(resource, &allocated_path, &mut errors) {
            basic_resource(amount, &allocated_path.key(resource), &mut errors);
        }
    }
    errors
}

/// Whether it is one that a claim may have: of what is Kubernetes' own, only storage.
fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    check::qualified_name(name, path, errors);
    let is_native = !name.contains('/') || name.contains("kubernetes.io/");
    if errors.len() == before && is_native && name != "storage" {
        errors.not_supported(path, name, &["storage"]);
    }
    errors.len() == before
}
