//! Persistent volumes for the registry. Upstream: `pkg/registry/core/persistentvolume`.

mod sources;
pub(crate) mod validation;
mod warnings;

use apimachinery::field::ErrorList;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeStatus};
use registry::{Column, Info, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::core::pod;
use crate::meta::print;
use crate::meta::quantity;
use crate::optional::{Items, Text, default_text};

type C = Column<PersistentVolume>;

pub struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    type Object = PersistentVolume;

    const INFO: Info = Info::cluster("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]);
    const COLUMNS: &'static [Column<PersistentVolume>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut PersistentVolume) {
        let spec = object.spec.get_or_insert_default();
        default_text(&mut spec.persistent_volume_reclaim_policy, "Retain");
        spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        spec.capacity.iter_mut().for_each(pod::defaults::resource_list);
        if let Some(host_path) = &mut spec.host_path {
            host_path.type_.get_or_insert_default();
        }
        default_text(&mut object.status.get_or_insert_default().phase, "Pending");
    }

    fn prepare_for_create(&self, cx: &RequestCx, object: &mut PersistentVolume) {
        object.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            last_phase_transition_time: Some(cx.time()),
            ..Default::default()
        });
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut PersistentVolume, old: &PersistentVolume) {
        new.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(&self, cx: &RequestCx, new: &mut PersistentVolume, old: &PersistentVolume) {
        new.spec.clone_from(&old.spec);
        let phase = |volume: &PersistentVolume| volume.status.as_ref().and_then(|status| status.phase.clone());
        let before = old.status.as_ref().and_then(|status| status.last_phase_transition_time.clone());
        let changed = phase(new) != phase(old);
        let Some(status) = &mut new.status else { return };
        let given = status.last_phase_transition_time.is_some() && status.last_phase_transition_time != before;
        if changed && !given {
            status.last_phase_transition_time = Some(cx.time());
        }
    }

    fn validate(&self, _cx: &RequestCx, object: &PersistentVolume) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
        validation::validate_update(new, old)
    }

    fn warnings(&self, _cx: &RequestCx, new: &PersistentVolume, _old: Option<&PersistentVolume>) -> Vec<String> {
        warnings::of(new)
    }
}

fn phase(volume: &PersistentVolume) -> &str {
    if volume.metadata.deletion_timestamp.is_some() {
        return "Terminating";
    }
    volume.status.as_ref().map_or("", |status| status.phase.text())
}

fn claim(volume: &PersistentVolume) -> String {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    claim.map_or_else(String::new, |claim| format!("{}/{}", claim.namespace.text(), claim.name.text()))
}

/// The class is a field; the annotation is from before it was.
fn storage_class(volume: &PersistentVolume) -> &str {
    let annotations = volume.metadata.annotations.as_ref();
    match annotations.and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class")) {
        Some(class) => class,
        None => volume.spec.as_ref().map_or("", |spec| spec.storage_class_name.text()),
    }
}

static COLUMNS: &[Column<PersistentVolume>] = &[
    Column::NAME,
    C::string("Capacity", |o, _| {
        json!(
            quantity::amount(o.spec.as_ref().and_then(|s| s.capacity.as_ref()).and_then(|c| c.get("storage")))
                .to_string()
        )
    }).describe("capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity"),
    C::string("Access Modes", |o, _| {
        json!(print::access_modes(o.spec.as_ref().map_or(&[], |s| s.access_modes.items())))
    }).describe("accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes"),
    C::string("Reclaim Policy", |o, _| {
        json!(o.spec.as_ref().map_or("", |s| s.persistent_volume_reclaim_policy.text()))
    }).describe("persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming"),
    C::string("Status", |o, _| json!(phase(o))).describe("phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase"),
    C::string("Claim", |o, _| json!(claim(o))).describe("claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding"),
    C::string("StorageClass", |o, _| json!(storage_class(o))).describe("StorageClass of the pv"),
    C::string("VolumeAttributesClass", |o, _| {
        json!(o.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref()).unwrap_or("<unset>"))
    })
    .describe("VolumeAttributesClass of the pv"),
    C::string("Reason", |o, _| json!(o.status.as_ref().map_or("", |s| s.reason.text()))).describe("reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI."),
    Column::AGE,
    C::string("VolumeMode", |o, _| json!(o.spec.as_ref().and_then(|s| s.volume_mode.as_deref()).unwrap_or("<unset>")))
        .wide().describe("volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec."),
];
