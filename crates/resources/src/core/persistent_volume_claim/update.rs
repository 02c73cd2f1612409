//! What may change in a claim. Upstream: `ValidatePersistentVolumeClaimUpdate`.

use apimachinery::Quantity;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};

use crate::check::{self, Report};
use crate::meta::{diff, quantity};
use crate::optional::Text;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn validate(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut ErrorList) {
    let (empty, path) = (PersistentVolumeClaimSpec::default(), Path::new("spec"));
    let spec = new.spec.as_ref().unwrap_or(&empty);
    let old_spec = old.spec.as_ref().unwrap_or(&empty);
    let (mut wanted, mut before) = (spec.clone(), old_spec.clone());
    // The binder says which volume it is, once.
    if before.volume_name.text().is_empty() {
        before.volume_name.clone_from(&wanted.volume_name);
    }
    // A claim without class gets one when there is a default, or when the annotation of old becomes the field; only then
    // may the annotation go.
    let (annotation, old_annotation) = (class_annotation(new), class_annotation(old));
    let gets_class = old_spec.storage_class_name.is_none() && spec.storage_class_name.is_some();
    let is_moved = gets_class
        && old_annotation.is_some()
        && old_annotation == spec.storage_class_name.as_ref()
        && (annotation.is_none() || annotation == old_annotation);
    if !is_moved && annotation.map_or("", String::as_str) != old_annotation.map_or("", String::as_str) {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.invalid(&path, annotation.map_or("", String::as_str), check::IMMUTABLE);
    }
    if gets_class && old_annotation.is_none_or(|class| Some(class) == spec.storage_class_name.as_ref()) {
        wanted.storage_class_name = None;
    }
    if new.status.as_ref().is_some_and(|status| status.phase.text() == "Bound") {
        let storage = before.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
        if let Some(requests) = wanted.resources.as_mut().and_then(|resources| resources.requests.as_mut()) {
            match storage {
                Some(amount) => requests.insert("storage".to_owned(), amount.clone()),
                None => requests.remove("storage"),
            };
        }
    }
    // Looked at below.
    wanted.volume_attributes_class_name.clone_from(&before.volume_attributes_class_name);
    if wanted != before {
        let message =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden(&path, format!("{message}\n{}", diff::lines(&before, &wanted)));
    }
    let capacity = old.status.as_ref().and_then(|status| status.capacity.as_ref());
    let held = quantity::amount(capacity.and_then(|capacity| capacity.get("storage")));
    // A growth that failed may be taken back, as far as to what the volume has.
    if size(spec) < size(old_spec) && size(spec) <= held {
        let path = path.child("resources").child("requests").child("storage");
        errors.forbidden(&path, "field can not be less than status.capacity");
    }
    check::unchanged(&spec.volume_mode, &old_spec.volume_mode, &Path::new("volumeMode"), errors);
    if old_spec.volume_attributes_class_name.is_some() {
        let path = path.child("volumeAttributesClassName");
        match spec.volume_attributes_class_name.as_deref() {
            None => errors.forbidden(&path, "update from non-nil value to nil is forbidden"),
            Some("") if !old_spec.volume_attributes_class_name.text().is_empty() => {
                errors.forbidden(&path, "update from non-nil value to an empty string is forbidden");
            }
            Some(_) => {}
        }
    }
}

fn class_annotation(claim: &PersistentVolumeClaim) -> Option<&String> {
    claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLASS_ANNOTATION))
}

fn size(spec: &PersistentVolumeClaimSpec) -> Quantity {
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    quantity::amount(requests.and_then(|requests| requests.get("storage")))
}
