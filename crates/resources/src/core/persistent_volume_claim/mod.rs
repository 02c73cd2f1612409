//! Persistent volume claims for the registry. Upstream: `pkg/registry/core/persistentvolumeclaim`.

use apimachinery::Quantity;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::check::{self, Report};
use crate::core::pod;
use crate::meta::quantity;
use crate::optional::{Items, Text};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(crate) fn default_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    let resources = spec.resources.get_or_insert_default();
    for list in [&mut resources.limits, &mut resources.requests].into_iter().flatten() {
        pod::defaults::resource_list(list);
    }
}

/// `ValidatePersistentVolumeClaimTemplate`.
pub(crate) fn validate_template(template: &PersistentVolumeClaimTemplate, path: &Path, errors: &mut ErrorList) {
    if let Some(meta) = &template.metadata {
        template_meta(meta, &path.child("metadata"), errors);
    }
    validate_spec(&template.spec, &path.child("spec"), errors);
}

/// Only labels and annotations make it into the claim; the rest would be ignored, so it is refused.
fn template_meta(meta: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
    check::annotations(meta.annotations.as_ref(), &path.child("annotations"), errors);
    check::labels(meta.labels.as_ref(), &path.child("labels"), errors);
    let allowed =
        ObjectMeta { annotations: meta.annotations.clone(), labels: meta.labels.clone(), ..Default::default() };
    if *meta == allowed {
        return;
    }
    for (field, set) in [
        ("name", meta.name.is_some()),
        ("generateName", meta.generate_name.is_some()),
        ("namespace", meta.namespace.is_some()),
        ("selfLink", meta.self_link.is_some()),
        ("uID", meta.uid.is_some()),
        ("resourceVersion", meta.resource_version.is_some()),
        ("generation", meta.generation.is_some()),
        ("creationTimestamp", meta.creation_timestamp.is_some()),
        ("deletionTimestamp", meta.deletion_timestamp.is_some()),
        ("deletionGracePeriodSeconds", meta.deletion_grace_period_seconds.is_some()),
        ("ownerReferences", meta.owner_references.is_some()),
        ("finalizers", meta.finalizers.is_some()),
        ("managedFields", meta.managed_fields.is_some()),
    ] {
        if set {
            errors.forbidden(&path.child(field), "cannot be set");
        }
    }
}

/// `ValidatePersistentVolumeClaimSpec`.
pub(crate) fn validate_spec(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut ErrorList) {
    let modes = spec.access_modes.items();
    let modes_path = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&modes_path, "at least 1 access mode is required");
    }
    if let Some(selector) = &spec.selector {
        check::label_selector(selector, &path.child("selector"), errors);
    }
    access_modes(modes, &modes_path, errors);
    let storage_path = path.child("resources").key("storage");
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    match requests.and_then(|requests| requests.get("storage")) {
        None => errors.required(&storage_path, ""),
        Some(text) if quantity::amount(Some(text)) <= Quantity::ZERO => {
            errors.invalid(&storage_path, &text.0, check::NOT_POSITIVE);
        }
        Some(text) => pod::validation::quantity_of("storage", text, &storage_path, errors),
    }
    let class = spec.storage_class_name.text();
    if !class.is_empty() {
        check::dns_subdomain(class, &path.child("storageClassName"), errors);
    }
    if let Some(mode) = &spec.volume_mode
        && !matches!(mode.as_str(), "Block" | "Filesystem")
    {
        errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    let class = spec.volume_attributes_class_name.text();
    if !class.is_empty() {
        check::dns_subdomain(class, &path.child("volumeAttributesClassName"), errors);
    }
}

pub(crate) fn access_modes(modes: &[String], path: &Path, errors: &mut ErrorList) {
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(&mode.as_str())) {
        errors.not_supported(path, mode, ACCESS_MODES);
    }
    let exclusive = modes.iter().any(|mode| mode == "ReadWriteOncePod");
    let shared = modes.iter().any(|mode| mode != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode.as_str()));
    if exclusive && shared {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}
