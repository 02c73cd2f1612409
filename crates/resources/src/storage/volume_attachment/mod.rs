//! Volume attachments for the registry. Upstream: `pkg/registry/storage/volumeattachment`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use registry::{
    Column, Filter, Info, RequestCx, Strategy, Subresource, keep_all_but_status, keep_metadata, reset_metadata,
};
use serde_json::json;

use crate::optional::Text;

type C = Column<VolumeAttachment>;

pub struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    type Object = VolumeAttachment;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments");
    const COLUMNS: &'static [Column<VolumeAttachment>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut VolumeAttachment) {
        object.status = None;
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut VolumeAttachment, old: &VolumeAttachment) {
        new.status.clone_from(&old.status);
    }

    fn validate(&self, _cx: &RequestCx, object: &VolumeAttachment) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &VolumeAttachment, old: &VolumeAttachment) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn prepare_for_status_update(&self, _cx: &RequestCx, new: &mut VolumeAttachment, old: &VolumeAttachment) {
        keep_all_but_status(new, old);
        keep_metadata(new, old);
    }

    fn validate_status_update(&self, _cx: &RequestCx, new: &VolumeAttachment, old: &VolumeAttachment) -> ErrorList {
        validation::validate_update(new, old)
    }
}

static COLUMNS: &[Column<VolumeAttachment>] = &[
    Column::NAME,
    C::string("Attacher", |o, _| json!(o.spec.attacher)).format("name").describe("attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName()."),
    C::string("PV", |o, _| json!(o.spec.source.persistent_volume_name.text())).describe("persistentVolumeName represents the name of the persistent volume to attach."),
    C::string("Node", |o, _| json!(o.spec.node_name)).describe("nodeName represents the node that the volume should be attached to."),
    C::boolean("Attached", |o, _| json!(o.status.as_ref().is_some_and(|status| status.attached))).describe("attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher."),
    Column::AGE,
];
