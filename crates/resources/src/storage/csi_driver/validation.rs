//! Validation of CSI drivers. Upstream: `ValidateCSIDriver` in `pkg/apis/storage/validation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::CSIDriver;

use crate::check::{self, Report};
use crate::core::volume::csi_driver_name;
use crate::optional::{Flag, Items};

const FS_GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLE_MODES: &[&str] = &["Ephemeral", "Persistent"];
/// Seconds.
const MIN_TOKEN_LIFETIME: i64 = 600;
const MAX_TOKEN_LIFETIME: i64 = 1 << 32;
const MIN_UPDATE_PERIOD: i64 = 10;

pub(super) fn validate(driver: &CSIDriver) -> ErrorList {
    let mut errors = ErrorList::default();
    csi_driver_name(driver.metadata.name.as_deref().unwrap_or_default(), &Path::new("name"), &mut errors);
    let (spec, path) = (&driver.spec, Path::new("spec"));
    for (set, field) in [
        (spec.attach_required.is_some(), "attachedRequired"),
        (spec.pod_info_on_mount.is_some(), "podInfoOnMount"),
        (spec.storage_capacity.is_some(), "storageCapacity"),
        (spec.se_linux_mount.is_some(), "seLinuxMount"),
    ] {
        if !set {
            errors.required(&path.child(field), "");
        }
    }
    match spec.fs_group_policy.as_deref() {
        None => errors.required(&path.child("fsGroupPolicy"), ""),
        Some(policy) if !FS_GROUP_POLICIES.contains(&policy) => {
            errors.not_supported(&path.child("fsGroupPolicy"), policy, FS_GROUP_POLICIES);
        }
        Some(_) => {}
    }
    let mut audiences = BTreeSet::new();
    for (index, request) in spec.token_requests.items().iter().enumerate() {
        let path = path.child("tokenRequests").index(index);
        if !audiences.insert(&request.audience) {
            errors.duplicate(&path.child("audience"), &request.audience);
            continue;
        }
        let Some(seconds) = request.expiration_seconds else { continue };
        if seconds < MIN_TOKEN_LIFETIME {
            let message = "may not specify a duration less than 10 minutes";
            errors.invalid(&path.child("expirationSeconds"), seconds, message);
        }
        if seconds > MAX_TOKEN_LIFETIME {
            let message = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(&path.child("expirationSeconds"), seconds, message);
        }
    }
    if spec.service_account_token_in_secrets.is_set() && spec.token_requests.items().is_empty() {
        let message = "must be unset if tokenRequests is empty";
        errors.invalid(&path.child("serviceAccountTokenInSecrets"), true, message);
    }
    for mode in spec.volume_lifecycle_modes.items() {
        if !LIFECYCLE_MODES.contains(&mode.as_str()) {
            errors.not_supported(&path.child("volumeLifecycleModes"), mode, LIFECYCLE_MODES);
        }
    }
    if let Some(period) = spec.node_allocatable_update_period_seconds.filter(|period| *period < MIN_UPDATE_PERIOD) {
        let message = format!("must be greater than or equal to {MIN_UPDATE_PERIOD} seconds");
        errors.invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), period, message);
    }
    errors
}

pub(super) fn validate_update(new: &CSIDriver, old: &CSIDriver) -> ErrorList {
    let mut errors = validate(new);
    let path = Path::new("spec");
    let (attach, modes) = (path.child("attachedRequired"), path.child("volumeLifecycleModes"));
    check::unchanged(&new.spec.attach_required, &old.spec.attach_required, &attach, &mut errors);
    check::unchanged(&new.spec.volume_lifecycle_modes, &old.spec.volume_lifecycle_modes, &modes, &mut errors);
    errors
}
