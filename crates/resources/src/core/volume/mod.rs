//! Volumes as pods embed them: which sources there are, and the rules of each.
//!
//! Shared by pods, templates and (for the sources both have) persistent volumes. Upstream counterpart:
//! `validateVolumeSource` and the functions below it in `pkg/apis/core/validation/validation.go`.

mod plugins;
pub(crate) mod projected;
mod validation;

use k8s_openapi::api::core::v1::Volume;

pub(crate) use plugins::{csi_driver_name, validate as plugin_source};
pub(crate) use validation::{host_path, nfs, no_backsteps, relative_path, validate};

/// The names of the sources that a volume sets, in the order upstream checks them.
///
/// The first is the field's name in the API; a few messages of upstream use another spelling, given second.
pub(crate) fn sources(volume: &Volume) -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        (volume.empty_dir.is_some(), "emptyDir", "emptyDir"),
        (volume.host_path.is_some(), "hostPath", "hostPath"),
        (volume.git_repo.is_some(), "gitRepo", "gitRepo"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk", "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore", "awsElasticBlockStore"),
        (volume.secret.is_some(), "secret", "secret"),
        (volume.nfs.is_some(), "nfs", "nfs"),
        (volume.iscsi.is_some(), "iscsi", "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs", "glusterfs"),
        (volume.flocker.is_some(), "flocker", "flocker"),
        (volume.persistent_volume_claim.is_some(), "persistentVolumeClaim", "persistentVolumeClaim"),
        (volume.rbd.is_some(), "rbd", "rbd"),
        (volume.cinder.is_some(), "cinder", "cinder"),
        (volume.cephfs.is_some(), "cephfs", "cephFS"),
        (volume.quobyte.is_some(), "quobyte", "quobyte"),
        (volume.downward_api.is_some(), "downwardAPI", "downwarAPI"),
        (volume.fc.is_some(), "fc", "fc"),
        (volume.flex_volume.is_some(), "flexVolume", "flexVolume"),
        (volume.config_map.is_some(), "configMap", "configMap"),
        (volume.azure_file.is_some(), "azureFile", "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume", "vsphereVolume"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk", "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume", "portworxVolume"),
        (volume.azure_disk.is_some(), "azureDisk", "azureDisk"),
        (volume.storageos.is_some(), "storageos", "storageos"),
        (volume.projected.is_some(), "projected", "projected"),
        (volume.scale_io.is_some(), "scaleIO", "scaleIO"),
        (volume.csi.is_some(), "csi", "csi"),
        (volume.ephemeral.is_some(), "ephemeral", "ephemeral"),
        (volume.image.is_some(), "image", "image"),
    ]
    .into_iter()
    .filter_map(|(set, name, spelling)| set.then_some((name, spelling)))
}
