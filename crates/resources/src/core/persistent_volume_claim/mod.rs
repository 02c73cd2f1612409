//! Persistent volume claims for the registry. Upstream: `pkg/registry/core/persistentvolumeclaim`.

mod data_source;
mod status;
#[cfg(test)]
mod tests;
mod update;

use apimachinery::Quantity;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, PersistentVolumeClaimTemplate,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use registry::{Column, Info, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::check::{self, Report};
use crate::core::pod;
use crate::meta::{print, quantity};
use crate::optional::{Items, Text, default_text};

type C = Column<PersistentVolumeClaim>;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    const INFO: Info = Info::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]);
    const COLUMNS: &'static [Column<PersistentVolumeClaim>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, claim: &mut PersistentVolumeClaim) {
        default_spec(claim.spec.get_or_insert_default());
        let status = claim.status.get_or_insert_default();
        default_text(&mut status.phase, "Pending");
        status.capacity.iter_mut().for_each(pod::defaults::resource_list);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, claim: &mut PersistentVolumeClaim) {
        let phase = Some("Pending".to_owned());
        claim.status = Some(PersistentVolumeClaimStatus { phase, ..Default::default() });
        data_source::prepare(claim.spec.get_or_insert_default(), None);
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut PersistentVolumeClaim, old: &PersistentVolumeClaim) {
        new.status.clone_from(&old.status);
        data_source::prepare(new.spec.get_or_insert_default(), old.spec.as_ref());
    }

    fn warnings(
        &self,
        _cx: &RequestCx,
        new: &PersistentVolumeClaim,
        _old: Option<&PersistentVolumeClaim>,
    ) -> Vec<String> {
        warnings(new)
    }

    fn validate(&self, _cx: &RequestCx, claim: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = ErrorList::default();
        let empty = PersistentVolumeClaimSpec::default();
        validate_spec(claim.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, cx: &RequestCx, new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = self.validate(cx, new);
        update::validate(new, old, &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut PersistentVolumeClaim, old: &PersistentVolumeClaim) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &PersistentVolumeClaim,
        _old: &PersistentVolumeClaim,
    ) -> ErrorList {
        status::validate(new)
    }
}

static COLUMNS: &[Column<PersistentVolumeClaim>] = &[
    Column::NAME,
    C::string("Status", |claim, _| {
        let phase = claim.status.as_ref().map_or("", |status| status.phase.text());
        json!(if claim.metadata.deletion_timestamp.is_some() { "Terminating" } else { phase })
    })
    .describe("phase represents the current phase of PersistentVolumeClaim."),
    C::string("Volume", |claim, _| json!(volume_name(claim)))
        .describe("volumeName is the binding reference to the PersistentVolume backing this claim."),
    C::string("Capacity", |claim, _| {
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        let storage = quantity::amount(capacity.and_then(|capacity| capacity.get("storage")));
        json!(if volume_name(claim).is_empty() { String::new() } else { storage.to_string() })
    })
    .describe("capacity represents the actual resources of the underlying volume."),
    C::string("Access Modes", |claim, _| {
        let modes = claim.status.as_ref().map_or(&[][..], |status| status.access_modes.items());
        json!(if volume_name(claim).is_empty() { String::new() } else { print::access_modes(modes) })
    })
    .describe("accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1"),
    C::string("StorageClass", |claim, _| json!(storage_class(claim))).describe("StorageClass of the pvc"),
    C::string("VolumeAttributesClass", |claim, _| {
        let class = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
        json!(class.unwrap_or("<unset>"))
    })
    .describe("VolumeAttributesClass of the pvc"),
    Column::AGE,
    C::string("VolumeMode", |claim, _| {
        json!(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()).unwrap_or("<unset>"))
    })
    .wide()
    .describe("volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec."),
];

fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().map_or("", |spec| spec.volume_name.text())
}

/// The class is a field; the annotation is from before it was.
fn storage_class(claim: &PersistentVolumeClaim) -> &str {
    let annotations = claim.metadata.annotations.as_ref();
    match annotations.and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class")) {
        Some(class) => class,
        None => claim.spec.as_ref().map_or("", |spec| spec.storage_class_name.text()),
    }
}

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
pub(crate) fn template_meta(meta: &ObjectMeta, path: &Path, errors: &mut ErrorList) {
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
    data_source::validate(spec, path, errors);
    let class = spec.volume_attributes_class_name.text();
    if !class.is_empty() {
        check::dns_subdomain(class, &path.child("volumeAttributesClassName"), errors);
    }
}

/// Upstream: `GetWarningsForPersistentVolumeClaim`.
fn warnings(claim: &PersistentVolumeClaim) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut deprecated = |key: &str, field: &str| {
        if claim.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key)) {
            warnings
                .push(format!("metadata.annotations[{key}]: deprecated since v1.8; use \"{field}\" attribute instead"));
        }
    };
    deprecated("volume.beta.kubernetes.io/storage-class", "storageClassName");
    warnings.extend(claim.spec.iter().flat_map(|spec| spec_warnings(spec, &Path::new("spec"))));
    warnings
}

/// Upstream: `GetWarningsForPersistentVolumeClaimSpec`.
pub(crate) fn spec_warnings(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let resources = spec.resources.as_ref();
    for (amounts, field) in [
        (resources.and_then(|resources| resources.requests.as_ref()), "requests"),
        (resources.and_then(|resources| resources.limits.as_ref()), "limits"),
    ] {
        let Some(text) = amounts.and_then(|amounts| amounts.get("storage")) else { continue };
        let amount = quantity::amount(Some(text));
        if amount.milli_value() % 1000 != 0 {
            let path = path.child("resources").child(field).key("storage");
            warnings.push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
    warnings
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
