//! The one source a persistent volume has. Upstream: the sources in `ValidatePersistentVolumeSpec`.
//!
//! Most sources are the pod's with a namespace added, so their rules are those of [`crate::core::volume`].

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::PersistentVolumeSpec;
use serde_json::{Value, json};

use super::validation;
use crate::check::Report;
use crate::core::volume;

const MORE_THAN_ONE: &str = "may not specify more than 1 volume type";

/// Sources that pods have in the same shape, but for the names of their secrets.
const SHARED: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

/// The spec with nothing but its sources.
pub(super) fn only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..spec.clone()
    }
}

pub(super) fn validate(spec: &PersistentVolumeSpec, name: &str, path: &Path, errors: &mut ErrorList) {
    let mut found = false;
    let mut first = |field: &str, errors: &mut ErrorList| {
        if found {
            errors.forbidden(&path.child(field), MORE_THAN_ONE);
            return false;
        }
        found = true;
        true
    };
    if let Some(source) = &spec.host_path
        && first("hostPath", errors)
    {
        volume::host_path(source, &path.child("hostPath"), errors);
    }
    if let Some(source) = &spec.nfs
        && first("nfs", errors)
    {
        volume::nfs(source, &path.child("nfs"), errors);
    }
    let sources = apimachinery::json::to_value(&only(spec)).unwrap_or_default();
    for field in SHARED {
        if let Some(source) = sources.get(*field)
            && first(field, errors)
        {
            shared(field, source, name, path, errors);
        }
    }
    if let Some(source) = &spec.local
        && first("local", errors)
    {
        let local = path.child("local");
        if source.path.is_empty() {
            errors.required(&local.child("path"), "");
        } else {
            volume::no_backsteps(&source.path, &local.child("path"), errors);
        }
        if spec.node_affinity.as_ref().is_none_or(|affinity| affinity.required.is_none()) {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if let Some(source) = &spec.csi
        && first("csi", errors)
    {
        validation::csi(source, &path.child("csi"), errors);
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
}

/// Through the rules of the pod's source of the same name.
fn shared(field: &str, source: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    let mut source = source.clone();
    if let Some(fields) = source.as_object_mut() {
        // A reference to a secret of any namespace becomes one of the pod's; which namespace is checked below.
        if let Some(secret) = fields.get_mut("secretRef").and_then(Value::as_object_mut) {
            secret.remove("namespace");
            secret.entry("name").or_insert_with(|| json!(""));
        }
        if let Some(namespace) = fields.remove("secretNamespace").filter(|namespace| *namespace == json!("")) {
            let detail = "if set, SecretNamespace cannot be empty";
            errors.invalid(&path.child(field).child("secretNamespace"), namespace, detail);
        }
        fields.remove("endpointsNamespace");
        if field == "scaleIO" || field == "flexVolume" || field == "storageos" {
            fields.remove("secretRef");
        }
    }
    let as_pods = json!({"name": name, field: source});
    match serde_json::to_vec(&as_pods).map(|bytes| apimachinery::json::from_bytes(&bytes)) {
        Ok(Ok(pods)) => volume::plugin_source(&pods, field, path, errors),
        // The typed source had every field that the pod's needs.
        Ok(Err(error)) | Err(error) => errors.push(apimachinery::field::Error::internal(&path.child(field), error)),
    }
}
