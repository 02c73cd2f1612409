//! What the registry writes into pods, and what it takes out of requests.
//!
//! Upstream counterpart: the `PrepareFor…` functions of `pkg/registry/core/pod/strategy.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodAffinityTerm, PodCondition, PodStatus, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use registry::RequestCx;

use super::resources::qos_class;
use crate::optional::{Items, Text};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

type Labels = BTreeMap<String, String>;

pub(super) fn for_create(cx: &RequestCx, pod: &mut Pod) {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let Some(spec) = &mut pod.spec else { return };
    // `GenericWorkload` is off.
    spec.scheduling_group = None;
    let mut status = PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(qos_class(spec).to_owned()),
        ..PodStatus::default()
    };
    if !spec.scheduling_gates.items().is_empty() {
        status.conditions = Some(vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("SchedulingGated".to_owned()),
            message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
            last_transition_time: Some(cx.time()),
            ..PodCondition::default()
        }]);
    }
    pod.status = Some(status);
    if let Some(affinity) = &mut spec.affinity {
        if let Some(pods) = &mut affinity.pod_affinity {
            let required = pods.required_during_scheduling_ignored_during_execution.items_mut();
            required.iter_mut().for_each(|term| merge_label_keys(term, &labels));
            for term in pods.preferred_during_scheduling_ignored_during_execution.items_mut() {
                merge_label_keys(&mut term.pod_affinity_term, &labels);
            }
        }
        if let Some(pods) = &mut affinity.pod_anti_affinity {
            let required = pods.required_during_scheduling_ignored_during_execution.items_mut();
            required.iter_mut().for_each(|term| merge_label_keys(term, &labels));
            for term in pods.preferred_during_scheduling_ignored_during_execution.items_mut() {
                merge_label_keys(&mut term.pod_affinity_term, &labels);
            }
        }
    }
    for constraint in spec.topology_spread_constraints.items_mut() {
        if let Some(selector) = &mut constraint.label_selector {
            add_requirements(selector, constraint.match_label_keys.items(), "In", &labels);
        }
    }
    app_armor_from_annotations(cx, pod);
}

/// `matchLabelKeys` means the pod's own labels; they become part of the selector, which the scheduler reads.
fn merge_label_keys(term: &mut PodAffinityTerm, labels: &Labels) {
    // Without a selector nothing is selected, and keys change nothing about that.
    let Some(selector) = &mut term.label_selector else { return };
    add_requirements(selector, term.match_label_keys.items(), "In", labels);
    add_requirements(selector, term.mismatch_label_keys.items(), "NotIn", labels);
}

fn add_requirements(selector: &mut LabelSelector, keys: &[String], operator: &str, labels: &Labels) {
    for (key, value) in keys.iter().filter_map(|key| labels.get(key).map(|value| (key, value))) {
        selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
}

/// Old clients name AppArmor profiles in annotations; nodes read the field.
fn app_armor_from_annotations(cx: &RequestCx, pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    let Some(annotations) = &pod.metadata.annotations else { return };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.clone());
    for container in spec.containers.iter_mut().chain(spec.init_containers.items_mut()) {
        let key = format!("{APP_ARMOR}{}", container.name);
        let Some(annotation) = annotations.get(&key) else { continue };
        if has_app_armor(container) {
            continue;
        }
        let profile = profile_of(annotation);
        if profile.is_some() && profile == of_pod {
            continue;
        }
        if profile.is_some() {
            container.security_context.get_or_insert_with(SecurityContext::default).app_armor_profile = profile;
        }
        cx.warn(format!(
            r#"metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead"#
        ));
    }
}

fn has_app_armor(container: &Container) -> bool {
    container.security_context.as_ref().is_some_and(|context| context.app_armor_profile.is_some())
}

fn profile_of(annotation: &str) -> Option<AppArmorProfile> {
    let of = |kind: &str, name: Option<&str>| {
        Some(AppArmorProfile { type_: kind.to_owned(), localhost_profile: name.map(str::to_owned) })
    };
    match annotation {
        "unconfined" => of("Unconfined", None),
        "runtime/default" => of("RuntimeDefault", None),
        other => {
            let name = other.strip_prefix("localhost/")?;
            (!name.is_empty() && name.trim() == name).then(|| of("Localhost", Some(name))).flatten()
        }
    }
}

/// Kubelets write the status alone; some old ones corrupt owner references, so those are kept too.
pub(super) fn for_status_update(new: &mut Pod, old: &Pod) {
    new.spec.clone_from(&old.spec);
    new.metadata.deletion_timestamp.clone_from(&old.metadata.deletion_timestamp);
    new.metadata.deletion_grace_period_seconds = old.metadata.deletion_grace_period_seconds;
    new.metadata.owner_references.clone_from(&old.metadata.owner_references);
    new.metadata.generation = old.metadata.generation;
    let (Some(status), Some(old)) = (&mut new.status, &old.status) else { return };
    if status.qos_class.text().is_empty() {
        status.qos_class.clone_from(&old.qos_class);
    }
    if status.observed_generation.unwrap_or(0) == 0 {
        status.observed_generation = old.observed_generation;
    }
    // Types may repeat, so each old generation is used once.
    let mut generations: BTreeMap<&str, Vec<Option<i64>>> = BTreeMap::new();
    for condition in old.conditions.items().iter().rev() {
        generations.entry(&condition.type_).or_default().push(condition.observed_generation);
    }
    for condition in status.conditions.items_mut() {
        let before = generations.get_mut(condition.type_.as_str()).and_then(Vec::pop).flatten();
        if condition.observed_generation.unwrap_or(0) == 0 {
            condition.observed_generation = before;
        }
    }
}

pub(super) fn keep_all_but_ephemeral_containers(new: &mut Pod, old: &Pod) {
    let ephemeral = new.spec.take().and_then(|spec| spec.ephemeral_containers);
    keep(new, old);
    if let Some(spec) = &mut new.spec {
        spec.ephemeral_containers = ephemeral;
    }
}

pub(super) fn keep_all_but_resources(new: &mut Pod, old: &Pod) {
    let (Some(wanted), Some(current)) = (new.spec.take(), &old.spec) else { return };
    let same = |new: &[Container], old: &[Container]| {
        new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.name == old.name)
    };
    if !same(&wanted.containers, &current.containers)
        || !same(wanted.init_containers.items(), current.init_containers.items())
    {
        // Validation says what is wrong with other containers.
        new.spec = Some(wanted);
        return;
    }
    keep(new, old);
    let Some(spec) = &mut new.spec else { return };
    spec.resources = wanted.resources;
    let init = spec.init_containers.items_mut().iter_mut().zip(wanted.init_containers.into_iter().flatten());
    for (container, wanted) in spec.containers.iter_mut().zip(wanted.containers).chain(init) {
        container.resources = wanted.resources;
        container.resize_policy = wanted.resize_policy;
    }
}

/// Spec, status and what of the metadata a subresource may not touch.
fn keep(new: &mut Pod, old: &Pod) {
    let resource_version = new.metadata.resource_version.take();
    let managed_fields = new.metadata.managed_fields.take();
    new.metadata = old.metadata.clone();
    new.metadata.resource_version = resource_version;
    new.metadata.managed_fields = managed_fields.or_else(|| old.metadata.managed_fields.clone());
    new.spec.clone_from(&old.spec);
    new.status.clone_from(&old.status);
}
