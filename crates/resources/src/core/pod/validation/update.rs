//! Validation of updates to a pod: nearly everything is fixed once it exists.
//!
//! Upstream counterpart: `ValidatePodUpdate`.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{
    Affinity, Container, NodeAffinity, NodeSelectorTerm, Pod, PodSchedulingGate, PodSpec, Toleration,
};
use serde_json::json;

use super::{PodOptions, annotations, containers, metadata_and_spec, scheduling};
use crate::check::{self, Report};
use crate::meta::diff;
use crate::optional::{Items, Text};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Validates an update of the pod itself.
pub(crate) fn validate_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let options = PodOptions::for_pod().ratchet(old.spec.as_ref(), Some(&old.metadata));
    metadata_and_spec(new, &options, &mut errors);
    annotations::updates(&new.metadata, &old.metadata, &Path::new("metadata").child("annotations"), &mut errors);
    let empty = PodSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&empty), old.spec.as_ref().unwrap_or(&empty));
    let path = Path::new("spec");
    if !images(&new.containers, &old.containers, &path.child("containers"), &mut errors)
        || !images(new.init_containers.items(), old.init_containers.items(), &path.child("initContainers"), &mut errors)
        || !deadline(new.active_deadline_seconds, old.active_deadline_seconds, &path, &mut errors)
    {
        return errors;
    }
    only_more_tolerations(new.tolerations.items(), old.tolerations.items(), &path.child("tolerations"), &mut errors);
    let gates_path = path.child("schedulingGates");
    only_fewer_gates(new.scheduling_gates.items(), old.scheduling_gates.items(), &gates_path, &mut errors);
    if new == old {
        return errors;
    }
    // What may change is put back; what then still differs may not.
    let mut rest = new.clone();
    keep_images(&mut rest.containers, &old.containers);
    keep_images(rest.init_containers.items_mut(), old.init_containers.items());
    rest.active_deadline_seconds = old.active_deadline_seconds;
    rest.scheduling_gates.clone_from(&old.scheduling_gates);
    rest.tolerations.clone_from(&old.tolerations);
    let was_negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if was_negative && rest.termination_grace_period_seconds == Some(1) {
        rest.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if !old.scheduling_gates.items().is_empty() {
        gated(&mut rest, old, &path, &mut errors);
    }
    if rest != *old {
        let diff = diff::lines(old, &rest);
        errors.forbidden(&path, format!("pod updates may not change fields other than {UPDATABLE}\n{diff}"));
    }
    errors
}

/// Whether the lists are alike enough to go on.
fn images(new: &[Container], old: &[Container], path: &Path, errors: &mut ErrorList) -> bool {
    if new.len() != old.len() {
        errors.forbidden(path, "pod updates may not add or remove containers");
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let path = path.index(index).child("image");
        if container.image.text().is_empty() {
            errors.required(&path, "");
        }
        containers::image_is_trimmed(container.image.text(), &path, errors);
    }
    true
}

fn keep_images(new: &mut [Container], old: &[Container]) {
    for (new, old) in new.iter_mut().zip(old) {
        new.image.clone_from(&old.image);
    }
}

/// A deadline may be set once and then only come nearer.
fn deadline(new: Option<i64>, old: Option<i64>, path: &Path, errors: &mut ErrorList) -> bool {
    let path = path.child("activeDeadlineSeconds");
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(&path, new, check::inclusive_range(0, i64::from(i32::MAX)));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(&path, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(&path, json!(null), "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn only_more_tolerations(new: &[Toleration], old: &[Toleration], path: &Path, errors: &mut ErrorList) {
    let kept = |old: &Toleration| {
        new.iter().any(|new| {
            let old = Toleration { toleration_seconds: new.toleration_seconds, ..old.clone() };
            old == *new
        })
    };
    if !old.iter().all(kept) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
    scheduling::tolerations(new, path, errors);
}

fn only_fewer_gates(new: &[PodSchedulingGate], old: &[PodSchedulingGate], path: &Path, errors: &mut ErrorList) {
    for (index, gate) in new.iter().enumerate().filter(|(_, gate)| !old.contains(gate)) {
        let message = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
        errors.forbidden(&path.index(index).child("name"), message);
    }
}

/// A gated pod was not scheduled yet, so where it may go can still be narrowed.
fn gated(rest: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if rest.node_selector != old.node_selector {
        let empty = BTreeMap::new();
        let (new, before) = (rest.node_selector.as_ref().unwrap_or(&empty), old.node_selector.as_ref());
        if before.into_iter().flatten().any(|(key, value)| new.get(key) != Some(value)) {
            let message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&path.child("nodeSelector"), json!(new), message);
        }
        rest.node_selector.clone_from(&old.node_selector);
    }
    let old_affinity = old.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let new_affinity = rest.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    if old_affinity == new_affinity {
        return;
    }
    narrowed_affinity(new_affinity, old_affinity, &path.child("affinity").child("nodeAffinity"), errors);
    rest.affinity = match (rest.affinity.take(), &old.affinity) {
        (None, None) => None,
        (None, Some(_)) => Some(Affinity { node_affinity: old_affinity.cloned(), ..Affinity::default() }),
        (Some(new), None) if new.pod_affinity.is_none() && new.pod_anti_affinity.is_none() => None,
        (Some(new), _) => Some(Affinity { node_affinity: old_affinity.cloned(), ..new }),
    };
}

fn narrowed_affinity(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path, errors: &mut ErrorList) {
    let terms = |affinity: Option<&NodeAffinity>| -> Vec<NodeSelectorTerm> {
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        required.map(|selector| selector.node_selector_terms.clone()).unwrap_or_default()
    };
    let (new, old) = (terms(new), terms(old));
    let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    if old.is_empty() {
        return;
    }
    if new.len() != old.len() {
        let message = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.invalid(&path, json!(new), message);
        return;
    }
    for (index, (new, old)) in new.iter().zip(&old).enumerate() {
        let (new_expressions, old_expressions) = (new.match_expressions.items(), old.match_expressions.items());
        let (new_fields, old_fields) = (new.match_fields.items(), old.match_fields.items());
        let was_empty = old_expressions.is_empty() && old_fields.is_empty();
        let is_empty = new_expressions.is_empty() && new_fields.is_empty();
        let only_additions = (is_empty || !was_empty)
            && new_expressions.starts_with(old_expressions)
            && new_fields.starts_with(old_fields);
        if !only_additions {
            let message = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&path.index(index), json!(new), message);
        }
    }
}
