//! Who uses what, and what follows for a finalizer. Pure.

use api::{
    ObjectMeta,
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
};

/// What is to be done with an object's finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// It has none, from before there was protection.
    Hold,
    LetGo,
}

pub(super) fn step(meta: &ObjectMeta, finalizer: &str, is_used: impl FnOnce() -> bool) -> Step {
    let held = meta.finalizers.iter().flatten().any(|other| other == finalizer);
    match (meta.deletion_timestamp.is_some(), held) {
        (true, true) if !is_used() => Step::LetGo,
        (false, false) => Step::Hold,
        _ => Step::Nothing,
    }
}

/// A pod without a node may not start any more with a claim that is being deleted.
pub(super) fn is_scheduled(pod: &Pod) -> bool {
    api::pod::node_name(pod).is_some_and(|node| !node.is_empty())
}

/// Names of the claims that a pod's volumes are, those made for the pod among them.
pub(super) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| match &volume.persistent_volume_claim {
        Some(claim) => Some(claim.claim_name.clone()),
        None => volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name)),
    })
}

pub(super) fn class_of_volume(volume: &PersistentVolume) -> Option<&String> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_ref()
}

/// The class that a claim wants, has, and is on its way to.
pub(super) fn classes_of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = String> + use<> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let target =
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.clone());
    [wanted, current, target].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_used_stays() {
        let meta = |going: bool, held: bool| -> ObjectMeta {
            let finalizers = if held { json!(["f"]) } else { json!([]) };
            let at = if going { json!("2026-01-01T00:00:00Z") } else { json!(null) };
            serde_json::from_value(json!({"finalizers": finalizers, "deletionTimestamp": at})).unwrap()
        };
        assert_eq!(step(&meta(true, true), "f", || true), Step::Nothing);
        assert_eq!(step(&meta(true, true), "f", || false), Step::LetGo);
        assert_eq!(step(&meta(true, false), "f", || false), Step::Nothing);
        assert_eq!(step(&meta(false, false), "f", || false), Step::Hold);
        assert_eq!(step(&meta(false, true), "f", || false), Step::Nothing);
    }

    #[test]
    fn claims_are_named_or_made_for_the_pod() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [], "volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "b", "ephemeral": {}}, {"name": "d", "emptyDir": {}}]}}))
        .unwrap();
        assert_eq!(claims_of(&pod).collect::<Vec<_>>(), ["c", "p-b"]);
        assert!(is_scheduled(&pod));
    }
}
