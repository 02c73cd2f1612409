//! Validation of volume attachments. Upstream: `ValidateVolumeAttachment` in `pkg/apis/storage/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentSource, VolumeError};

use crate::check::{self, IMMUTABLE, Report};
use crate::core::persistent_volume::validation as persistent_volume;
use crate::core::volume::csi_driver_name;

const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
const MAX_MESSAGE: usize = 1024;
const MAX_METADATA: usize = 256 * 1024;

pub(super) fn validate(attachment: &VolumeAttachment) -> ErrorList {
    let mut errors = common(attachment);
    let spec = &attachment.spec;
    csi_driver_name(&spec.attacher, &Path::new("spec.attacher"), &mut errors);
    if let Some(name) = &spec.source.persistent_volume_name {
        check::dns_subdomain(name, &Path::new("spec.source.persistentVolumeName"), &mut errors);
    }
    errors
}

/// What also an attachment from before the stricter rules obeys.
fn common(attachment: &VolumeAttachment) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&attachment.spec, Path::new("spec"));
    if spec.attacher.is_empty() {
        errors.required(&path.child("attacher"), "");
    }
    source(&spec.source, &path.child("source"), &mut errors);
    check::dns_subdomain(&spec.node_name, &path.child("nodeName"), &mut errors);
    let Some(status) = &attachment.status else { return errors };
    let path = Path::new("status");
    let size: usize = status.attachment_metadata.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_METADATA {
        errors.too_long(&path.child("attachmentMetadata"), MAX_METADATA);
    }
    volume_error(status.attach_error.as_ref(), &path.child("attachError"), &mut errors);
    volume_error(status.detach_error.as_ref(), &path.child("detachError"), &mut errors);
    errors
}

fn source(source: &VolumeAttachmentSource, path: &Path, errors: &mut ErrorList) {
    match (&source.inline_volume_spec, &source.persistent_volume_name) {
        (None, None) => errors.required(path, ONE_SOURCE),
        (Some(_), Some(_)) => errors.forbidden(path, ONE_SOURCE),
        (None, Some(name)) if name.is_empty() => {
            errors.required(&path.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(spec), None) => {
            persistent_volume::spec(spec, "", true, &path.child("inlineVolumeSpec"), errors);
        }
    }
}

fn volume_error(error: Option<&VolumeError>, path: &Path, errors: &mut ErrorList) {
    let Some(error) = error else { return };
    if error.message.as_ref().is_some_and(|message| message.len() > MAX_MESSAGE) {
        errors.too_long(&path.child("message"), MAX_MESSAGE);
    }
}

pub(super) fn validate_update(new: &VolumeAttachment, old: &VolumeAttachment) -> ErrorList {
    let mut errors = common(new);
    if new.spec != old.spec {
        errors.invalid(&Path::new("spec"), &new.spec, IMMUTABLE);
    }
    errors
}
