//! Validation of volume mounts and block devices of a container.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Container, Volume, VolumeMount};

use crate::check::Report;
use crate::core::volume;
use crate::optional::{Flag, Items, Text};

pub(super) fn mounts(container: &Container, volumes: &BTreeMap<&str, &Volume>, path: &Path, errors: &mut ErrorList) {
    let devices = container.volume_devices.items();
    let mut mount_paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.items().iter().enumerate() {
        let own = path.index(index);
        if mount.name.is_empty() {
            errors.required(&own.child("name"), "");
        }
        let volume = volumes.get(mount.name.as_str());
        if volume.is_none() {
            errors.not_found(&own.child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(&own.child("mountPath"), "");
        }
        if !mount_paths.insert(mount.mount_path.as_str()) {
            errors.invalid(&own.child("mountPath"), &mount.mount_path, "must be unique");
        }
        if devices.iter().any(|device| device.name == mount.name) {
            errors.invalid(&own.child("name"), &mount.name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.device_path == mount.mount_path) {
            let message = "must not already exist as a path in volumeDevices";
            errors.invalid(&own.child("mountPath"), &mount.mount_path, message);
        }
        let (sub_path, sub_path_expr) = (mount.sub_path.text(), mount.sub_path_expr.text());
        if !sub_path.is_empty() {
            volume::relative_path(sub_path, &path.child("subPath"), errors);
        }
        if !sub_path_expr.is_empty() {
            if !sub_path.is_empty() {
                let message = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&own.child("subPathExpr"), sub_path_expr, message);
            }
            volume::relative_path(sub_path_expr, &path.child("subPathExpr"), errors);
        }
        propagation(mount, container, &path.child("mountPropagation"), errors);
        recursive_read_only(mount, &path.child("recursiveReadOnly"), errors);
    }
}

fn propagation(mount: &VolumeMount, container: &Container, path: &Path, errors: &mut ErrorList) {
    const SUPPORTED: &[&str] = &["Bidirectional", "HostToContainer", "None"];
    let Some(mode) = &mount.mount_propagation else { return };
    if !SUPPORTED.contains(&mode.as_str()) {
        errors.not_supported(path, mode, SUPPORTED);
    }
    let privileged = container.security_context.as_ref().is_some_and(|context| context.privileged.is_set());
    if mode == "Bidirectional" && !privileged {
        let message = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(path, message);
    }
}

fn recursive_read_only(mount: &VolumeMount, path: &Path, errors: &mut ErrorList) {
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only.is_set() {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(mount.mount_propagation.as_deref(), None | Some("None")) {
                let message = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(path, message);
            }
        }
        Some(other) => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

pub(super) fn devices(container: &Container, volumes: &BTreeMap<&str, &Volume>, path: &Path, errors: &mut ErrorList) {
    let mounts = container.volume_mounts.items();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.volume_devices.items().iter().enumerate() {
        let own = path.index(index);
        let (name_path, device_path) = (own.child("name"), own.child("devicePath"));
        if device.name.is_empty() {
            errors.required(&name_path, "");
        }
        if names.contains(device.name.as_str()) {
            errors.invalid(&name_path, &device.name, "must be unique");
        }
        match volumes.get(device.name.as_str()) {
            None => errors.not_found(&name_path, &device.name),
            Some(volume) if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() => {
                let message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&name_path, &device.name, message);
            }
            Some(_) => {}
        }
        if device.device_path.is_empty() {
            errors.required(&device_path, "");
        }
        if paths.contains(device.device_path.as_str()) {
            errors.invalid(&device_path, &device.device_path, "must be unique");
        }
        if device.device_path.split('/').any(|part| part == "..") {
            errors.invalid(&device_path, &device.device_path, "can not contain backsteps ('..')");
        } else {
            paths.insert(device.device_path.as_str());
        }
        if mounts.iter().any(|mount| mount.name == device.name) {
            errors.invalid(&name_path, &device.name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.mount_path == device.device_path) {
            let message = "must not already exist as a path in volumeMounts";
            errors.invalid(&device_path, &device.device_path, message);
        }
        if !device.name.is_empty() {
            names.insert(device.name.as_str());
        }
    }
}
