//! Validation of deployments. Upstream: `ValidateDeployment` in `pkg/apis/apps/validation/validation.go`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::apps::replica_set::validation::{selector, template_for_replicas};
use crate::apps::rolling::{int_or_percent, is_zero, not_more_than_everything};
use crate::check::{self, Report};
use crate::core::pod::validation::PodOptions;
use crate::optional::Text;

pub fn validate(deployment: &Deployment) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = DeploymentSpec::default();
    let spec = deployment.spec.as_ref().unwrap_or(&empty);
    validate_spec(spec, &PodOptions::default(), &Path::new("spec"), &mut errors);
    errors
}

pub fn validate_update(new: &Deployment, old: &Deployment) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (DeploymentSpec::default(), Path::new("spec"));
    let spec = new.spec.as_ref().unwrap_or(&empty);
    let old_spec = old.spec.as_ref().unwrap_or(&empty);
    let old_template = old_spec.template.spec.as_ref();
    let options = PodOptions::default().ratchet(old_template, old_spec.template.metadata.as_ref());
    validate_spec(spec, &options, &path, &mut errors);
    check::unchanged(&spec.selector, &old_spec.selector, &path.child("selector"), &mut errors);
    errors
}

fn validate_spec(spec: &DeploymentSpec, options: &PodOptions, path: &Path, errors: &mut ErrorList) {
    check::non_negative(spec.replicas.unwrap_or(0), &path.child("replicas"), errors);
    let message = "empty selector is invalid for deployment";
    if let Some(selector) = selector(&spec.selector, message, &path.child("selector"), errors) {
        template_for_replicas(Some(&spec.template), &selector, options, &path.child("template"), errors);
    }
    let default = DeploymentStrategy::default();
    strategy(spec.strategy.as_ref().unwrap_or(&default), &path.child("strategy"), errors);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    check::non_negative(min_ready, &path.child("minReadySeconds"), errors);
    if let Some(limit) = spec.revision_history_limit {
        check::non_negative(limit, &path.child("revisionHistoryLimit"), errors);
    }
    if let Some(seconds) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        check::non_negative(seconds, &path, errors);
        if seconds <= min_ready {
            errors.invalid(&path, seconds, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(strategy: &DeploymentStrategy, path: &Path, errors: &mut ErrorList) {
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.text(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            errors.forbidden(&rolling_path, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => errors.required(&rolling_path, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &rolling_path, errors),
        _ => errors.not_supported(path, json!(strategy), &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(rolling: &RollingUpdateDeployment, path: &Path, errors: &mut ErrorList) {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let unavailable_path = path.child("maxUnavailable");
    int_or_percent(unavailable, &unavailable_path, errors);
    int_or_percent(surge, &path.child("maxSurge"), errors);
    if is_zero(unavailable) && is_zero(surge) {
        errors.invalid(&unavailable_path, json!(unavailable), "may not be 0 when `maxSurge` is 0");
    }
    not_more_than_everything(unavailable, &unavailable_path, errors);
}

pub fn validate_status_update(new: &Deployment, old: &Deployment) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (DeploymentStatus::default(), Path::new("status"));
    let status = new.status.as_ref().unwrap_or(&empty);
    let old = old.status.as_ref().unwrap_or(&empty);
    let of = |count: Option<i32>| count.unwrap_or(0);
    let (replicas, ready) = (of(status.replicas), of(status.ready_replicas));
    let available = of(status.available_replicas);
    check::non_negative(status.observed_generation.unwrap_or(0), &path.child("observedGeneration"), &mut errors);
    for (field, count) in [
        ("replicas", status.replicas),
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("unavailableReplicas", status.unavailable_replicas),
        ("terminatingReplicas", status.terminating_replicas),
        ("collisionCount", status.collision_count),
    ] {
        check::non_negative(of(count), &path.child(field), &mut errors);
    }
    for (field, count) in
        [("updatedReplicas", of(status.updated_replicas)), ("readyReplicas", ready), ("availableReplicas", available)]
    {
        if count > replicas {
            errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
        }
    }
    if available > ready {
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
    if old.collision_count.is_some_and(|old| status.collision_count.is_none_or(|new| new < old)) {
        errors.invalid(&path.child("collisionCount"), of(status.collision_count), "cannot be decremented");
    }
    errors
}
