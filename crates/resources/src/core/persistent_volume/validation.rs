//! Validation of persistent volumes. Upstream: `ValidatePersistentVolume` in `pkg/apis/core/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec, SecretReference, VolumeNodeAffinity,
};

use super::sources;
use crate::check::{self, IMMUTABLE, Report};
use crate::core::persistent_volume_claim::access_modes;
use crate::core::pod::validation::{basic_resource, node_selector};
use crate::core::volume::csi_driver_name;
use crate::meta::{diff, quantity};
use crate::optional::{Items, Text};

const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const NOT_INLINE: &str = "may not be specified in the context of inline volumes";

pub(super) fn validate(volume: &PersistentVolume) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = PersistentVolumeSpec::default();
    let own = volume.spec.as_ref().unwrap_or(&empty);
    spec(own, volume.metadata.name.text(), false, &Path::new("spec"), &mut errors);
    errors
}

/// `inline`: the spec stands in a volume attachment instead of a volume of its own.
pub(crate) fn spec(spec: &PersistentVolumeSpec, name: &str, inline: bool, path: &Path, errors: &mut ErrorList) {
    let capacity = spec.capacity.clone().unwrap_or_default();
    if inline {
        if spec.claim_ref.is_some() {
            errors.forbidden(&path.child("claimRef"), NOT_INLINE);
        }
        if !capacity.is_empty() {
            errors.forbidden(&path.child("capacity"), NOT_INLINE);
        }
        if spec.csi.is_none() {
            errors.required(&path.child("csi"), "has to be specified in the context of inline volumes");
        }
    }
    if spec.access_modes.items().is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    access_modes(spec.access_modes.items(), &path.child("accessModes"), errors);
    if !inline {
        let path = path.child("capacity");
        if capacity.is_empty() {
            errors.required(&path, "");
        }
        if !capacity.contains_key("storage") || capacity.len() > 1 {
            errors.not_supported(&path, &capacity, &["storage"]);
        }
        for (resource, amount) in &capacity {
            let path = path.key(resource);
            basic_resource(amount, &path, errors);
            if quantity::amount(Some(amount)).sign() <= 0 {
                errors.invalid(&path, &amount.0, check::NOT_POSITIVE);
            }
        }
    }
    let policy = spec.persistent_volume_reclaim_policy.text();
    let policy_path = path.child("persistentVolumeReclaimPolicy");
    if inline && !policy.is_empty() && policy != "Retain" {
        errors.forbidden(&policy_path, "may only be Retain in the context of inline volumes");
    } else if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        errors.not_supported(&policy_path, policy, RECLAIM_POLICIES);
    }
    let affinity_path = path.child("nodeAffinity");
    match &spec.node_affinity {
        Some(_) if inline => errors.forbidden(&affinity_path, NOT_INLINE),
        Some(affinity) => node_affinity(affinity, &affinity_path, errors),
        None => {}
    }
    sources::validate(spec, name, path, errors);
    let recycles_root = spec.host_path.as_ref().is_some_and(|source| {
        !source.path.is_empty() && source.path.split('/').all(|part| part.is_empty() || part == ".")
    });
    if recycles_root && policy == "Recycle" {
        errors.forbidden(&policy_path, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.storage_class_name.text();
    if !class.is_empty() {
        if inline {
            errors.forbidden(&path.child("storageClassName"), NOT_INLINE);
        } else {
            check::dns_subdomain(class, &path.child("storageClassName"), errors);
        }
    }
    match spec.volume_mode.as_deref() {
        Some(mode) if inline && mode != "Filesystem" => {
            let message = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.forbidden(&path.child("volumeMode"), message);
        }
        Some(mode) if !VOLUME_MODES.contains(&mode) => {
            errors.not_supported(&path.child("volumeMode"), mode, VOLUME_MODES);
        }
        _ => {}
    }
    if let Some(class) = &spec.volume_attributes_class_name {
        let class_path = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.required(&class_path, "an empty string is disallowed");
        } else {
            check::dns_subdomain(class, &class_path, errors);
        }
        if spec.csi.is_none() {
            errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn node_affinity(affinity: &VolumeNodeAffinity, path: &Path, errors: &mut ErrorList) {
    match &affinity.required {
        Some(required) => node_selector(required, &path.child("required"), errors),
        None => errors.required(&path.child("required"), "must specify required node constraints"),
    }
}

pub(super) fn csi(source: &CSIPersistentVolumeSource, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(&source.driver, &path.child("driver"), errors);
    if source.volume_handle.is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    for (reference, field) in [
        (&source.controller_publish_secret_ref, "controllerPublishSecretRef"),
        (&source.controller_expand_secret_ref, "controllerExpandSecretRef"),
        (&source.node_publish_secret_ref, "nodePublishSecretRef"),
        (&source.node_expand_secret_ref, "nodeExpandSecretRef"),
    ] {
        if let Some(reference) = reference {
            secret(reference, &path.child(field), errors);
        }
    }
}

fn secret(reference: &SecretReference, path: &Path, errors: &mut ErrorList) {
    match reference.name.text() {
        "" => errors.required(&path.child("name"), ""),
        name => check::dns_subdomain(name, &path.child("name"), errors),
    }
    match reference.namespace.text() {
        "" => errors.required(&path.child("namespace"), ""),
        namespace => check::dns_label(namespace, &path.child("namespace"), errors),
    }
}

pub(super) fn validate_update(new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
    let mut errors = validate(new);
    let spec = |volume: &PersistentVolume| volume.spec.clone().unwrap_or_default();
    let (new_spec, old_spec) = (spec(new), spec(old));
    let mut source = sources::only(&new_spec);
    // A secret for growing may be named later.
    if let (Some(new), Some(old)) = (&mut source.csi, &old_spec.csi)
        && old.controller_expand_secret_ref.is_none()
    {
        new.controller_expand_secret_ref = None;
    }
    let old_source = sources::only(&old_spec);
    if source != old_source {
        let lines = diff::lines(&old_source, &source);
        let message = format!("spec.persistentvolumesource is immutable after creation\n{lines}");
        errors.forbidden(&Path::new("spec").child("persistentvolumesource"), message);
    }
    check::unchanged(&new_spec.volume_mode, &old_spec.volume_mode, &Path::new("volumeMode"), &mut errors);
    if old_spec.node_affinity.is_some() {
        affinity_update(&new_spec, &old_spec, &mut errors);
    }
    if old_spec.volume_attributes_class_name.is_some() && new_spec.volume_attributes_class_name.is_none() {
        let path = Path::new("spec").child("volumeAttributesClassName");
        errors.forbidden(&path, "update from non-nil value to nil is forbidden");
    }
    errors
}

/// Only labels that were renamed when they became stable may be replaced by their new names.
fn affinity_update(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec, errors: &mut ErrorList) {
    if new.node_affinity == old.node_affinity {
        return;
    }
    let mut renamed = old.node_affinity.clone();
    let terms = renamed.iter_mut().filter_map(|affinity| affinity.required.as_mut());
    let requirements = terms
        .flat_map(|required| &mut required.node_selector_terms)
        .flat_map(|term| term.match_expressions.items_mut());
    for requirement in requirements {
        let stable = match requirement.key.as_str() {
            "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
            "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
            "beta.kubernetes.io/os" => "kubernetes.io/os",
            "beta.kubernetes.io/arch" => "kubernetes.io/arch",
            "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
            _ => continue,
        };
        stable.clone_into(&mut requirement.key);
    }
    if new.node_affinity != renamed {
        let message = format!("{IMMUTABLE}, except for updating from beta label to GA");
        errors.invalid(&Path::new("nodeAffinity"), &new.node_affinity, message);
    }
}
