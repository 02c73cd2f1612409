//! Validation of replication controllers. Upstream: `ValidateReplicationController`.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerSpec};
use serde_json::json;

use crate::check::{self, Report};
use crate::core::pod::validation::{self as pod, PodOptions};
use crate::optional::Text;

pub(super) fn validate(controller: &ReplicationController) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (ReplicationControllerSpec::default(), Path::new("spec"));
    let spec = controller.spec.as_ref().unwrap_or(&empty);
    check::non_negative(spec.min_ready_seconds.unwrap_or(0), &path.child("minReadySeconds"), &mut errors);
    let no_labels = BTreeMap::new();
    let selector = spec.selector.as_ref().unwrap_or(&no_labels);
    if selector.is_empty() {
        errors.required(&path.child("selector"), "");
    }
    match spec.replicas {
        None => errors.required(&path.child("replicas"), ""),
        Some(replicas) => check::non_negative(replicas, &path.child("replicas"), &mut errors),
    }
    let path = path.child("template");
    let Some(template) = &spec.template else {
        errors.required(&path, "");
        return errors;
    };
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()).unwrap_or(&no_labels);
    if !selector.is_empty() && !selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
        let path = path.child("metadata").child("labels");
        errors.invalid(&path, json!(labels), "`selector` does not match template `labels`");
    }
    pod::template(template, &path, &PodOptions::default(), &mut errors);
    let path = path.child("spec");
    let pod = template.spec.as_ref();
    let restart = pod.map_or("", |pod| pod.restart_policy.text());
    if restart != "Always" {
        errors.not_supported(&path.child("restartPolicy"), restart, &["Always"]);
    }
    if pod.is_some_and(|pod| pod.active_deadline_seconds.is_some()) {
        let message = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.forbidden(&path.child("activeDeadlineSeconds"), message);
    }
    errors
}

pub(super) fn validate_status(controller: &ReplicationController) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(status) = &controller.status else { return errors };
    let path = Path::new("status");
    let of = |count: Option<i32>| count.unwrap_or(0);
    let (labelled, ready) = (of(status.fully_labeled_replicas), of(status.ready_replicas));
    let available = of(status.available_replicas);
    let parts = [("fullyLabeledReplicas", labelled), ("readyReplicas", ready), ("availableReplicas", available)];
    check::non_negative(status.replicas, &path.child("replicas"), &mut errors);
    for (field, count) in parts {
        check::non_negative(count, &path.child(field), &mut errors);
    }
    check::non_negative(status.observed_generation.unwrap_or(0), &path.child("observedGeneration"), &mut errors);
    for (field, count) in parts {
        if count > status.replicas {
            errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
        }
    }
    if available > ready {
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
    errors
}
