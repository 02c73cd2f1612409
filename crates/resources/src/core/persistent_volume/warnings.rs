//! Warnings about persistent volumes. Upstream: `pkg/api/persistentvolume/util.go`.

use k8s_openapi::api::core::v1::PersistentVolume;

use crate::core::pod::warnings::node_label;
use crate::optional::{Items, Text};

const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn of(volume: &PersistentVolume) -> Vec<String> {
    let mut warnings = Vec::new();
    let annotations = volume.metadata.annotations.as_ref();
    let has = |key: &str| annotations.is_some_and(|annotations| annotations.contains_key(key));
    if has(STORAGE_CLASS) {
        warnings.push(format!(
            "metadata.annotations[{STORAGE_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    if has("volume.beta.kubernetes.io/mount-options") {
        warnings.push("metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use \"mountOptions\" attribute instead".to_owned());
    }
    let Some(spec) = &volume.spec else { return warnings };
    if spec.persistent_volume_reclaim_policy.text() == "Recycle" {
        warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let expressions = spec
        .node_affinity
        .iter()
        .filter_map(|affinity| affinity.required.as_ref())
        .flat_map(|required| required.node_selector_terms.iter().enumerate())
        .flat_map(|(term, terms)| terms.match_expressions.items().iter().enumerate().map(move |(i, e)| (term, i, e)));
    for (term, index, expression) in expressions {
        let Some(message) = node_label(&expression.key) else { continue };
        warnings.push(format!(
            "spec.nodeAffinity.required.nodeSelectorTerms[{term}].matchExpressions[{index}].key: {} is {message}",
            expression.key
        ));
    }
    for (set, warning) in [
        (spec.cephfs.is_some(), "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"),
        (
            spec.photon_persistent_disk.is_some(),
            "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
        ),
        (spec.scale_io.is_some(), "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+"),
        (spec.storageos.is_some(), "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"),
        (spec.glusterfs.is_some(), "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"),
        (spec.rbd.is_some(), "spec.rbd: deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if set {
            warnings.push(warning.to_owned());
        }
    }
    warnings
}
