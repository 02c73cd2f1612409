//! Validation of replica sets, and of what deployments share with them.
//!
//! Upstream: `ValidateReplicaSet` in `pkg/apis/apps/validation/validation.go`.

use std::collections::BTreeMap;

use apimachinery::Selector;
use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::json;

use crate::check::{self, Report};
use crate::core::pod::validation::{self as pod, PodOptions};
use crate::optional::Text;

pub fn validate(set: &ReplicaSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let empty = ReplicaSetSpec::default();
    let spec = set.spec.as_ref().unwrap_or(&empty);
    validate_spec(spec, &PodOptions::default(), &Path::new("spec"), &mut errors);
    errors
}

pub fn validate_update(new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (ReplicaSetSpec::default(), Path::new("spec"));
    let spec = new.spec.as_ref().unwrap_or(&empty);
    let old_spec = old.spec.as_ref().unwrap_or(&empty);
    let old_template = old_spec.template.as_ref();
    let options = PodOptions::default().ratchet(
        old_template.and_then(|template| template.spec.as_ref()),
        old_template.and_then(|template| template.metadata.as_ref()),
    );
    validate_spec(spec, &options, &path, &mut errors);
    check::unchanged(&spec.selector, &old_spec.selector, &path.child("selector"), &mut errors);
    errors
}

fn validate_spec(spec: &ReplicaSetSpec, options: &PodOptions, path: &Path, errors: &mut ErrorList) {
    check::non_negative(spec.replicas.unwrap_or(0), &path.child("replicas"), errors);
    check::non_negative(spec.min_ready_seconds.unwrap_or(0), &path.child("minReadySeconds"), errors);
    // Upstream says deployment here as well.
    let message = "empty selector is invalid for deployment";
    if let Some(selector) = selector(&spec.selector, message, &path.child("selector"), errors) {
        template_for_replicas(spec.template.as_ref(), &selector, options, &path.child("template"), errors);
    }
}

/// A selector that must say something. None when it is malformed.
pub(crate) fn selector(
    selector: &LabelSelector,
    when_empty: &str,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Selector> {
    // A missing selector decodes as an empty one.
    check::label_selector(selector, path, errors);
    if check::selects_nothing_stated(selector) {
        if *selector == LabelSelector::default() {
            errors.required(path, "");
        }
        errors.invalid(path, json!(selector), when_empty);
    }
    match Selector::from_label_selector(Some(selector)) {
        Ok(selector) => Some(selector),
        Err(_) => {
            errors.invalid(path, json!(selector), "invalid label selector");
            None
        }
    }
}

/// `ValidatePodTemplateSpecForReplicaSet`.
pub(crate) fn template_for_replicas(
    template: Option<&PodTemplateSpec>,
    selector: &Selector,
    options: &PodOptions,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(template) = template else {
        errors.required(path, "");
        return;
    };
    labels_match(template, selector, path, errors);
    pod::template(template, path, options, errors);
    let Some(spec) = &template.spec else { return };
    let path = path.child("spec");
    if spec.restart_policy.text() != "Always" {
        errors.not_supported(&path.child("restartPolicy"), spec.restart_policy.text(), &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let message = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&path.child("activeDeadlineSeconds"), message);
    }
}

/// The selector must select the pods made from the template.
pub(crate) fn labels_match(template: &PodTemplateSpec, selector: &Selector, path: &Path, errors: &mut ErrorList) {
    let empty = BTreeMap::new();
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()).unwrap_or(&empty);
    if !selector.is_everything() && !selector.matches(labels) {
        let path = path.child("metadata").child("labels");
        errors.invalid(&path, json!(labels), "`selector` does not match template `labels`");
    }
}

pub fn validate_status(set: &ReplicaSet) -> ErrorList {
    let mut errors = ErrorList::default();
    let (empty, path) = (ReplicaSetStatus::default(), Path::new("status"));
    let status = set.status.as_ref().unwrap_or(&empty);
    let of = |count: Option<i32>| count.unwrap_or(0);
    let (ready, available) = (of(status.ready_replicas), of(status.available_replicas));
    let labelled = of(status.fully_labeled_replicas);
    for (field, count) in [
        ("replicas", status.replicas),
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("terminatingReplicas", of(status.terminating_replicas)),
    ] {
        check::non_negative(count, &path.child(field), &mut errors);
    }
    check::non_negative(status.observed_generation.unwrap_or(0), &path.child("observedGeneration"), &mut errors);
    for (field, count) in
        [("fullyLabeledReplicas", labelled), ("readyReplicas", ready), ("availableReplicas", available)]
    {
        if count > status.replicas {
            errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
        }
    }
    if available > ready {
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
    errors
}
