//! Validation of the volume sources that a storage plugin provides.
//!
//! Most of them are served by CSI drivers, or no longer at all; their rules hold nevertheless.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{AzureDiskVolumeSource, FCVolumeSource, ISCSIVolumeSource, Volume};
use serde_json::json;

use crate::check::{self, Report};
use crate::optional::{Flag, Items, Text};

const HOST_PORT: &str = "must be a host:port pair or multiple pairs separated by commas";
const RESERVED: &str = "kubernetes.io and k8s.io namespaces are reserved";

/// Validates the source called `name`, the volume's first. `path` is the volume's.
pub(crate) fn validate(volume: &Volume, name: &str, path: &Path, errors: &mut ErrorList) {
    let own = path.child(name);
    let mut required = |field: &str, value: &str| {
        if value.is_empty() {
            errors.required(&own.child(field), "");
        }
    };
    match name {
        "glusterfs" => volume.glusterfs.iter().for_each(|s| {
            required("endpoints", &s.endpoints);
            required("path", &s.path);
        }),
        "cinder" => volume.cinder.iter().for_each(|s| {
            if s.volume_id.is_empty() {
                errors.required(&own.child("volumeID"), "");
            }
            if s.secret_ref.as_ref().is_some_and(|secret| secret.name.is_empty()) {
                errors.required(&own.child("secretRef").child("name"), "");
            }
        }),
        "azureFile" => volume.azure_file.iter().for_each(|s| {
            required("secretName", &s.secret_name);
            required("shareName", &s.share_name);
        }),
        "vsphereVolume" => volume.vsphere_volume.iter().for_each(|s| required("volumePath", &s.volume_path)),
        "photonPersistentDisk" => volume.photon_persistent_disk.iter().for_each(|s| required("pdID", &s.pd_id)),
        "portworxVolume" => volume.portworx_volume.iter().for_each(|s| required("volumeID", &s.volume_id)),
        "scaleIO" => volume.scale_io.iter().for_each(|s| {
            required("gateway", &s.gateway);
            required("system", &s.system);
            required("volumeName", s.volume_name.text());
        }),
        "gcePersistentDisk" => volume.gce_persistent_disk.iter().for_each(|s| {
            // Upstream reports this source below `persistentDisk`.
            disk("pdName", &s.pd_name, s.partition, &path.child("persistentDisk"), errors);
        }),
        "awsElasticBlockStore" => volume
            .aws_elastic_block_store
            .iter()
            .for_each(|s| disk("volumeID", &s.volume_id, s.partition, &own, errors)),
        "iscsi" => volume.iscsi.iter().for_each(|s| iscsi(s, &own, errors)),
        "flocker" => volume.flocker.iter().for_each(|s| {
            flocker(s.dataset_name.text(), s.dataset_uuid.text(), &own, errors);
        }),
        "rbd" => volume.rbd.iter().for_each(|s| {
            if s.monitors.is_empty() {
                errors.required(&own.child("monitors"), "");
            }
            if s.image.is_empty() {
                errors.required(&own.child("image"), "");
            }
        }),
        "cephfs" => volume.cephfs.iter().for_each(|s| {
            if s.monitors.is_empty() {
                errors.required(&own.child("monitors"), "");
            }
        }),
        "quobyte" => volume.quobyte.iter().for_each(|s| {
            quobyte(&s.registry, s.tenant.text(), &s.volume, &own, errors);
        }),
        "fc" => volume.fc.iter().for_each(|s| fc(s, &own, errors)),
        "flexVolume" => volume.flex_volume.iter().for_each(|s| {
            let options = s.options.iter().flat_map(|options| options.keys());
            flex(&s.driver, options, &own, errors);
        }),
        "azureDisk" => volume.azure_disk.iter().for_each(|s| azure_disk(s, &own, errors)),
        "storageos" => volume.storageos.iter().for_each(|s| {
            if s.volume_name.text().is_empty() {
                errors.required(&own.child("volumeName"), "");
            } else {
                check::dns_label(s.volume_name.text(), &own.child("volumeName"), errors);
            }
            if !s.volume_namespace.text().is_empty() {
                check::dns_label(s.volume_namespace.text(), &own.child("volumeNamespace"), errors);
            }
            if s.secret_ref.as_ref().is_some_and(|secret| secret.name.is_empty()) {
                errors.required(&own.child("secretRef").child("name"), "");
            }
        }),
        "csi" => volume.csi.iter().for_each(|s| {
            csi_driver_name(&s.driver, &own.child("driver"), errors);
            let Some(secret) = &s.node_publish_secret_ref else { return };
            if secret.name.is_empty() {
                errors.required(&own.child("nodePublishSecretRef").child("name"), "");
            }
            for message in check::is_dns_subdomain(&secret.name).into_iter().filter(|_| !secret.name.is_empty()) {
                errors.invalid(&own.child("name"), &secret.name, message);
            }
        }),
        _ => {}
    }
}

/// An initiator's name is made of the volume's and the portal's.
pub(super) fn iscsi_name_length(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    let Some(iscsi) = &volume.iscsi else { return };
    if iscsi.initiator_name.is_some() && volume.name.len() + 1 + iscsi.target_portal.len() > 64 {
        let message = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(&path.child("name"), &volume.name, message);
    }
}

fn disk(field: &str, id: &str, partition: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if id.is_empty() {
        errors.required(&path.child(field), "");
    }
    let partition = partition.unwrap_or(0);
    if !(0..=255).contains(&partition) {
        errors.invalid(&path.child("partition"), partition, check::inclusive_range(1, 255));
    }
}

fn iscsi(source: &ISCSIVolumeSource, path: &Path, errors: &mut ErrorList) {
    if source.target_portal.is_empty() {
        errors.required(&path.child("targetPortal"), "");
    }
    if source.iqn.is_empty() {
        errors.required(&path.child("iqn"), "");
    } else {
        iscsi_name(&source.iqn, &path.child("iqn"), errors);
    }
    if !(0..=255).contains(&source.lun) {
        errors.invalid(&path.child("lun"), source.lun, check::inclusive_range(0, 255));
    }
    let authenticates = source.chap_auth_discovery.is_set() || source.chap_auth_session.is_set();
    if authenticates && source.secret_ref.is_none() {
        errors.required(&path.child("secretRef"), "");
    }
    if let Some(initiator) = &source.initiator_name {
        iscsi_name(initiator, &path.child("initiatorname"), errors);
    }
}

fn iscsi_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let alphanumeric = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    let well_formed = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some("eui") => name.len() == 20 && name.get(4..).is_some_and(alphanumeric),
        Some("naa") => name.len() == 36 && name.get(4..).is_some_and(alphanumeric),
        _ => {
            errors.invalid(path, name, "must be valid format starting with iqn, eui, or naa");
            return;
        }
    };
    if !well_formed {
        errors.invalid(path, name, "must be valid format");
    }
}

/// `iqn.yyyy-mm.reversed.domain:name`.
fn is_iqn(name: &str) -> bool {
    let Some((authority, unique)) = name.split_once(':') else { return false };
    let Some(rest) = authority.strip_prefix("iqn.") else { return false };
    let Some((date, domain)) = rest.split_once('.') else { return false };
    let date_is_valid =
        date.len() == 7 && date.bytes().enumerate().all(|(i, b)| if i == 4 { b == b'-' } else { b.is_ascii_digit() });
    date_is_valid
        && !domain.is_empty()
        && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && !unique.is_empty()
        && !unique.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c))
}

fn fc(source: &FCVolumeSource, path: &Path, errors: &mut ErrorList) {
    let (names, ids) = (source.target_wwns.items(), source.wwids.items());
    let names_path = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.required(&names_path, "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        let message = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&names_path, json!(names), message);
    }
    if !names.is_empty() {
        match source.lun {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.invalid(&path.child("lun"), lun, check::inclusive_range(0, 255));
            }
            Some(_) => {}
        }
    }
}

fn flocker(name: &str, uuid: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() && uuid.is_empty() {
        errors.required(path, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        let message = "datasetName and datasetUUID can not be specified simultaneously";
        errors.invalid(path, "resource", message);
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(registry: &str, tenant: &str, volume: &str, path: &Path, errors: &mut ErrorList) {
    if registry.is_empty() {
        errors.required(&path.child("registry"), HOST_PORT);
    } else if tenant.len() >= 65 {
        let message = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&path.child("tenant"), message);
    } else {
        for pair in registry.split(',') {
            if !is_host_port(pair) {
                errors.invalid(&path.child("registry"), registry, HOST_PORT);
            }
        }
    }
    if volume.is_empty() {
        errors.required(&path.child("volume"), "");
    }
}

fn is_host_port(pair: &str) -> bool {
    match pair.rsplit_once(':') {
        Some((host, _)) => !host.contains(':') || (host.starts_with('[') && host.ends_with(']')),
        None => false,
    }
}

fn flex<'a>(driver: &str, options: impl Iterator<Item = &'a String>, path: &Path, errors: &mut ErrorList) {
    if driver.is_empty() {
        errors.required(&path.child("driver"), "");
    }
    for key in options {
        let namespace = key.split('/').next().filter(|_| key.contains('/')).unwrap_or(key);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            errors.invalid(&path.child("options").key(key), key, RESERVED);
        }
    }
}

fn azure_disk(source: &AzureDiskVolumeSource, path: &Path, errors: &mut ErrorList) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    const CACHING: &[&str] = &["None", "ReadOnly", "ReadWrite"];
    const KINDS: &[&str] = &["Dedicated", "Managed", "Shared"];
    if source.disk_name.is_empty() {
        errors.required(&path.child("diskName"), "");
    }
    if source.disk_uri.is_empty() {
        errors.required(&path.child("diskURI"), "");
    }
    if let Some(mode) = &source.caching_mode
        && !CACHING.contains(&mode.as_str())
    {
        errors.not_supported(&path.child("cachingMode"), mode, CACHING);
    }
    let Some(kind) = &source.kind else { return };
    if !KINDS.contains(&kind.as_str()) {
        errors.not_supported(&path.child("kind"), kind, KINDS);
    }
    if kind == "Managed" && !source.disk_uri.starts_with("/subscriptions/") {
        errors.not_supported(&path.child("diskURI"), &source.disk_uri, &[MANAGED]);
    }
    if kind != "Managed" && !source.disk_uri.starts_with("https://") {
        errors.not_supported(&path.child("diskURI"), &source.disk_uri, &[BLOB]);
    }
}

/// `ValidateCSIDriverName`.
pub(crate) fn csi_driver_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
    }
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    for message in check::is_dns_subdomain(&name.to_lowercase()) {
        errors.invalid(path, name, message);
    }
}
