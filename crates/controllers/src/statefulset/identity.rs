//! Names, labels and volumes of a StatefulSet's pods; pure. Upstream: `stateful_set_utils.go`.

use api::{
    ObjectMeta,
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    owner::controller_reference,
};

use crate::{history::HASH_LABEL, pod_control::pod_from_template};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The number in a pod's name, if it has a name of this set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let prefix = set.metadata.name.as_deref()?;
    let digits = pod.metadata.name.as_deref()?.strip_prefix(prefix)?.strip_prefix('-')?;
    // `web-01` and `web-+1` are names of other pods.
    let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { digits.parse().ok() } else { None }
}

/// The name of the revision a pod was made of.
pub(super) fn revision_of(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

pub(super) fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{set_name}-{ordinal}");
    let mut pod = pod_from_template(template, set_name, namespace, controller_reference(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.to_owned(), name.clone());
    labels.insert(INDEX_LABEL.to_owned(), ordinal.to_string());
    labels.insert(HASH_LABEL.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let volumes = spec.volumes.get_or_insert_default();
    for claim in templates(set) {
        let volume = claim.metadata.name.clone().unwrap_or_default();
        let source = PersistentVolumeClaimVolumeSource { claim_name: format!("{volume}-{name}"), read_only: None };
        volumes.retain(|known| known.name != volume);
        volumes.push(Volume { name: volume, persistent_volume_claim: Some(source), ..Volume::default() });
    }
    if volumes.is_empty() {
        spec.volumes = None;
    }
    pod
}

/// The claims a pod of the set needs.
pub(super) fn claims_of(set: &StatefulSet, pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    let claims = templates(set).iter().map(|template| {
        let name = template.metadata.name.as_deref().unwrap_or_default();
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(selector.clone());
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{pod_name}")),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    });
    claims.collect()
}

fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_names_of_the_set_have_an_ordinal() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
        let of = |name: &str| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            ordinal(&set, &pod)
        };
        assert_eq!(
            ["web-0", "web-12", "web-01", "web-x", "web", "other-1"].map(of),
            [Some(0), Some(12), None, None, None, None]
        );
    }

    #[test]
    fn a_pod_has_its_own_claim() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n"}, "spec": {
            "serviceName": "s", "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [], "volumes": [{"name": "data", "emptyDir": {}}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        }}))
        .unwrap();
        let template = set.spec.as_ref().unwrap().template.clone();
        let pod = new_pod(&set, &template, "r", 3);
        let spec = pod.spec.as_ref().unwrap();
        let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
        assert_eq!((claim.claim_name.as_str(), spec.volumes.as_ref().unwrap().len()), ("data-web-3", 1));
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-3"), Some("s")));
        assert_eq!(claims_of(&set, &pod)[0].metadata.name.as_deref(), Some("data-web-3"));
    }
}
