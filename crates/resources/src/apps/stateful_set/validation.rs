//! Validation of stateful sets. Upstream: `ValidateStatefulSet` in `pkg/apis/apps/validation/validation.go`.

use apimachinery::Selector;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetStatus, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};
use serde_json::json;

use crate::apps::replica_set::validation::labels_match;
use crate::apps::rolling::{int_or_percent, is_zero, not_more_than_everything};
use crate::check::{self, Report};
use crate::core::pod::validation::{self as pod, PodOptions};
use crate::optional::{Items, Text};

/// What is not held against a set that is stored already.
struct Lenient {
    service_name: bool,
    template: bool,
    pods: PodOptions,
}

pub(super) fn validate(set: &StatefulSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = StatefulSetSpec::default();
    let lenient = Lenient { service_name: false, template: false, pods: PodOptions::default() };
    validate_spec(set.spec.as_ref().unwrap_or(&empty), &lenient, &Path::new("spec"), &mut errors);
    errors
}

pub(super) fn validate_update(new: &StatefulSet, old: &StatefulSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (StatefulSetSpec::default(), Path::new("spec"));
    let spec = new.spec.as_ref().unwrap_or(&empty);
    let old = old.spec.as_ref().unwrap_or(&empty);
    let pods = PodOptions::default().ratchet(old.template.spec.as_ref(), old.template.metadata.as_ref());
    let mut lenient = Lenient { service_name: true, template: false, pods };
    // Templates were not validated once, so one that is bad already may stay.
    let mut errors_before = ErrorList::default();
    validate_spec(old, &lenient, &path, &mut errors_before);
    lenient.template = !errors_before.is_empty();
    validate_spec(spec, &lenient, &path, &mut errors);

    let allowed = StatefulSetSpec {
        replicas: spec.replicas,
        template: spec.template.clone(),
        update_strategy: spec.update_strategy.clone(),
        min_ready_seconds: spec.min_ready_seconds,
        ordinals: spec.ordinals.clone(),
        revision_history_limit: spec.revision_history_limit,
        persistent_volume_claim_retention_policy: spec.persistent_volume_claim_retention_policy.clone(),
        ..old.clone()
    };
    if *spec != allowed {
        errors.forbidden(
            &path,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
    errors
}

fn validate_spec(spec: &StatefulSetSpec, lenient: &Lenient, path: &Path, errors: &mut ErrorList) {
    let policy = spec.pod_management_policy.text();
    let policy_path = path.child("podManagementPolicy");
    match policy {
        "" => errors.required(&policy_path, ""),
        "OrderedReady" | "Parallel" => {}
        _ => errors.invalid(&policy_path, policy, "must be 'OrderedReady' or 'Parallel'"),
    }
    let default = StatefulSetUpdateStrategy::default();
    strategy(spec.update_strategy.as_ref().unwrap_or(&default), &path.child("updateStrategy"), errors);
    if let Some(policy) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        for (field, value) in [("whenDeleted", policy.when_deleted.text()), ("whenScaled", policy.when_scaled.text())] {
            if !matches!(value, "Retain" | "Delete") {
                errors.not_supported(&path.child(field), value, &["Retain", "Delete"]);
            }
        }
    }
    check::non_negative(spec.replicas.unwrap_or(0), &path.child("replicas"), errors);
    check::non_negative(spec.min_ready_seconds.unwrap_or(0), &path.child("minReadySeconds"), errors);
    if let Some(ordinals) = &spec.ordinals {
        check::non_negative(ordinals.start.unwrap_or(0), &path.child("ordinals.start"), errors);
    }
    if !lenient.service_name && !spec.service_name.text().is_empty() {
        check::dns_label(spec.service_name.text(), &path.child("serviceName"), errors);
    }
    let selector_path = path.child("selector");
    check::label_selector(&spec.selector, &selector_path, errors);
    if check::selects_nothing_stated(&spec.selector) {
        errors.invalid(&selector_path, json!(spec.selector), "empty selector is invalid for statefulset");
    }
    let template_path = path.child("template");
    match Selector::from_label_selector(Some(&spec.selector)) {
        Err(_) => errors.invalid(&selector_path, json!(spec.selector), ""),
        Ok(selector) => {
            labels_match(&spec.template, &selector, &template_path, errors);
            if !lenient.template {
                pod::template(&with_claims(spec), &template_path, &lenient.pods, errors);
            }
        }
    }
    let path = template_path.child("spec");
    let pod = spec.template.spec.as_ref();
    let restart = pod.map_or("", |pod| pod.restart_policy.text());
    if restart != "Always" {
        errors.not_supported(&path.child("restartPolicy"), restart, &["Always"]);
    }
    if pod.is_some_and(|pod| pod.active_deadline_seconds.is_some()) {
        let message = "activeDeadlineSeconds in StatefulSet is not Supported";
        errors.forbidden(&path.child("activeDeadlineSeconds"), message);
    }
}

/// The template as its pods get it: a claim made from a template replaces the volume of the same name.
fn with_claims(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let volumes = template.spec.get_or_insert_default().volumes.get_or_insert_default();
    for claim in spec.volume_claim_templates.items() {
        let name = claim.metadata.name.clone().unwrap_or_default();
        let source = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), ..Default::default() };
        let volume = Volume { name, persistent_volume_claim: Some(source), ..Volume::default() };
        match volumes.iter_mut().find(|known| known.name == volume.name) {
            Some(known) => *known = volume,
            None => volumes.push(volume),
        }
    }
    template
}

fn strategy(strategy: &StatefulSetUpdateStrategy, path: &Path, errors: &mut ErrorList) {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.text(), &strategy.rolling_update) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(rolling)) => {
            errors.invalid(&rolling_path, json!(rolling), "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &rolling_path, errors),
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => errors.invalid(path, json!(strategy), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn rolling_update(rolling: &RollingUpdateStatefulSetStrategy, path: &Path, errors: &mut ErrorList) {
    check::non_negative(rolling.partition.unwrap_or(0), &path.child("partition"), errors);
    if let Some(unavailable) = &rolling.max_unavailable {
        let path = path.child("maxUnavailable");
        int_or_percent(unavailable, &path, errors);
        if is_zero(unavailable) {
            errors.invalid(&path, json!(unavailable), "cannot be 0");
        }
        not_more_than_everything(unavailable, &path, errors);
    }
}

pub(super) fn validate_status_update(new: &StatefulSet, old: &StatefulSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (StatefulSetStatus::default(), Path::new("status"));
    let status = new.status.as_ref().unwrap_or(&empty);
    let old = old.status.as_ref().unwrap_or(&empty);
    let of = |count: Option<i32>| count.unwrap_or(0);
    let (ready, available) = (of(status.ready_replicas), of(status.available_replicas));
    let (current, updated) = (of(status.current_replicas), of(status.updated_replicas));
    let of_all = [
        ("readyReplicas", ready),
        ("currentReplicas", current),
        ("updatedReplicas", updated),
        ("availableReplicas", available),
    ];
    check::non_negative(status.replicas, &path.child("replicas"), &mut errors);
    for (field, count) in of_all {
        check::non_negative(count, &path.child(field), &mut errors);
    }
    check::non_negative(status.observed_generation.unwrap_or(0), &path.child("observedGeneration"), &mut errors);
    check::non_negative(of(status.collision_count), &path.child("collisionCount"), &mut errors);
    for (field, count) in of_all {
        if count > status.replicas {
            errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
        }
    }
    if available > ready {
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than status.readyReplicas");
    }
    if old.collision_count.is_some_and(|old| status.collision_count.is_none_or(|new| new < old)) {
        errors.invalid(&path.child("collisionCount"), of(status.collision_count), "cannot be decremented");
    }
    errors
}
