//! Validation of daemon sets. Upstream: `ValidateDaemonSet` in `pkg/apis/apps/validation/validation.go`.

use apimachinery::Selector;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::apps::replica_set::validation::labels_match;
use crate::apps::rolling::{int_or_percent, is_zero, not_more_than_everything};
use crate::check::{self, Report};
use crate::core::pod::validation::{self as pod, PodOptions};
use crate::optional::Text;

pub(super) fn validate(set: &DaemonSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = DaemonSetSpec::default();
    validate_spec(set.spec.as_ref().unwrap_or(&empty), &PodOptions::default(), &Path::new("spec"), &mut errors);
    errors
}

pub(super) fn validate_update(new: &DaemonSet, old: &DaemonSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (DaemonSetSpec::default(), Path::new("spec"));
    let spec = new.spec.as_ref().unwrap_or(&empty);
    let old = old.spec.as_ref().unwrap_or(&empty);
    let options = PodOptions::default().ratchet(old.template.spec.as_ref(), old.template.metadata.as_ref());
    validate_spec(spec, &options, &path, &mut errors);
    check::unchanged(&spec.selector, &old.selector, &path.child("selector"), &mut errors);
    errors
}

fn validate_spec(spec: &DaemonSetSpec, options: &PodOptions, path: &Path, errors: &mut ErrorList) {
    let (selector_path, template_path) = (path.child("selector"), path.child("template"));
    check::label_selector(&spec.selector, &selector_path, errors);
    if let Ok(selector) = Selector::from_label_selector(Some(&spec.selector)) {
        labels_match(&spec.template, &selector, &template_path, errors);
    }
    if check::selects_nothing_stated(&spec.selector) {
        errors.invalid(&selector_path, json!(spec.selector), "empty selector is invalid for daemonset");
    }
    pod::template(&spec.template, &template_path, options, errors);
    let pod_path = template_path.child("spec");
    let pod = spec.template.spec.as_ref();
    let restart = pod.map_or("", |pod| pod.restart_policy.text());
    if restart != "Always" {
        errors.not_supported(&pod_path.child("restartPolicy"), restart, &["Always"]);
    }
    if pod.is_some_and(|pod| pod.active_deadline_seconds.is_some()) {
        let message = "activeDeadlineSeconds in DaemonSet is not Supported";
        errors.forbidden(&pod_path.child("activeDeadlineSeconds"), message);
    }
    check::non_negative(spec.min_ready_seconds.unwrap_or(0), &path.child("minReadySeconds"), errors);
    let default = DaemonSetUpdateStrategy::default();
    strategy(spec.update_strategy.as_ref().unwrap_or(&default), &path.child("updateStrategy"), errors);
    if let Some(limit) = spec.revision_history_limit {
        check::non_negative(limit, &path.child("revisionHistoryLimit"), errors);
    }
}

fn strategy(strategy: &DaemonSetUpdateStrategy, path: &Path, errors: &mut ErrorList) {
    match (strategy.type_.text(), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&path.child("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &path.child("rollingUpdate"), errors),
        _ => errors.not_supported(path, json!(strategy), &["RollingUpdate", "OnDelete"]),
    }
}

fn rolling_update(rolling: &RollingUpdateDaemonSet, path: &Path, errors: &mut ErrorList) {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let (unavailable_path, surge_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    int_or_percent(unavailable, &unavailable_path, errors);
    int_or_percent(surge, &surge_path, errors);
    not_more_than_everything(unavailable, &unavailable_path, errors);
    not_more_than_everything(surge, &surge_path, errors);
    match (is_zero(unavailable), is_zero(surge)) {
        (false, false) => {
            errors.invalid(&surge_path, json!(surge), "may not be set when maxUnavailable is non-zero");
        }
        (true, true) => errors.required(&unavailable_path, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

pub(super) fn validate_status_update(new: &DaemonSet, old: &DaemonSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (DaemonSetStatus::default(), Path::new("status"));
    let status = new.status.as_ref().unwrap_or(&empty);
    let old = old.status.as_ref().unwrap_or(&empty);
    let of = |count: Option<i32>| i64::from(count.unwrap_or(0));
    for (field, count) in [
        ("currentNumberScheduled", i64::from(status.current_number_scheduled)),
        ("numberMisscheduled", i64::from(status.number_misscheduled)),
        ("desiredNumberScheduled", i64::from(status.desired_number_scheduled)),
        ("numberReady", i64::from(status.number_ready)),
        ("observedGeneration", status.observed_generation.unwrap_or(0)),
        ("updatedNumberScheduled", of(status.updated_number_scheduled)),
        ("numberAvailable", of(status.number_available)),
        ("numberUnavailable", of(status.number_unavailable)),
        ("collisionCount", of(status.collision_count)),
    ] {
        check::non_negative(count, &path.child(field), &mut errors);
    }
    if old.collision_count.is_some_and(|old| status.collision_count.is_none_or(|new| new < old)) {
        errors.invalid(&path.child("collisionCount"), of(status.collision_count), "cannot be decremented");
    }
    errors
}
