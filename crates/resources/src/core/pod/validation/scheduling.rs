//! Validation of what a pod asks of the scheduler: affinity, tolerations, spreading, gates.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
    PodSchedulingGate, Taint, Toleration, TopologySelectorTerm, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::check::{self, Report};
use crate::optional::{Items, Text};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const WEIGHT: &str = "must be in the range 1-100";

pub(super) fn affinity(affinity: Option<&Affinity>, path: &Path, errors: &mut ErrorList) {
    let Some(affinity) = affinity else { return };
    if let Some(node) = &affinity.node_affinity {
        node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    if let Some(pod) = &affinity.pod_affinity {
        let path = path.child("podAffinity");
        pod_terms(pod.required_during_scheduling_ignored_during_execution.items(), &path, errors);
        weighted_pod_terms(pod.preferred_during_scheduling_ignored_during_execution.items(), &path, errors);
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let path = path.child("podAntiAffinity");
        pod_terms(pod.required_during_scheduling_ignored_during_execution.items(), &path, errors);
        weighted_pod_terms(pod.preferred_during_scheduling_ignored_during_execution.items(), &path, errors);
    }
}

fn node_affinity(affinity: &NodeAffinity, path: &Path, errors: &mut ErrorList) {
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        node_selector(selector, &path.child("requiredDuringSchedulingIgnoredDuringExecution"), errors);
    }
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in affinity.preferred_during_scheduling_ignored_during_execution.items().iter().enumerate() {
        let path = path.index(index);
        if !(1..=100).contains(&term.weight) {
            errors.invalid(&path.child("weight"), term.weight, WEIGHT);
        }
        // A preference may be wrong: it can still be met on a cluster of one node.
        node_selector_term(&term.preference, Values::Unchecked, &path.child("preference"), errors);
    }
}

/// Whether values of node selectors must be label values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Checked,
    Unchecked,
}

pub(crate) fn node_selector(selector: &NodeSelector, path: &Path, errors: &mut ErrorList) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        node_selector_term(term, Values::Checked, &path.index(index), errors);
    }
}

fn node_selector_term(term: &NodeSelectorTerm, values: Values, path: &Path, errors: &mut ErrorList) {
    for (index, requirement) in term.match_expressions.items().iter().enumerate() {
        node_selector_requirement(requirement, values, &path.child("matchExpressions").index(index), errors);
    }
    for (index, requirement) in term.match_fields.items().iter().enumerate() {
        node_field_requirement(requirement, &path.child("matchFields").index(index), errors);
    }
}

fn node_selector_requirement(
    requirement: &NodeSelectorRequirement,
    check_values: Values,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (values, values_path) = (requirement.values.items(), path.child("values"));
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&values_path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&values_path, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    check::label_name(&requirement.key, &path.child("key"), errors);
    if check_values == Values::Checked {
        for (index, value) in values.iter().enumerate() {
            check::all_invalid(names::is_valid_label_value(value), value, &values_path.index(index), errors);
        }
    }
}

fn node_field_requirement(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut ErrorList) {
    let values = requirement.values.items();
    if !matches!(requirement.operator.as_str(), "In" | "NotIn") {
        errors.invalid(&path.child("operator"), &requirement.operator, "not a valid selector operator");
    } else if values.len() != 1 {
        let message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.required(&path.child("values"), message);
    }
    if requirement.key != "metadata.name" {
        errors.invalid(&path.child("key"), &requirement.key, "not a valid field selector key");
        return;
    }
    for (index, value) in values.iter().enumerate() {
        check::dns_subdomain(value, &path.child("values").index(index), errors);
    }
}

fn pod_terms(terms: &[PodAffinityTerm], path: &Path, errors: &mut ErrorList) {
    let path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in terms.iter().enumerate() {
        pod_term(term, &path.index(index), errors);
    }
}

fn weighted_pod_terms(terms: &[WeightedPodAffinityTerm], path: &Path, errors: &mut ErrorList) {
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index);
        if !(1..=100).contains(&term.weight) {
            errors.invalid(&path.child("weight"), term.weight, WEIGHT);
        }
        pod_term(&term.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut ErrorList) {
    if let Some(selector) = &term.label_selector {
        check::label_selector(selector, &path.child("labelSelector"), errors);
    }
    if let Some(selector) = &term.namespace_selector {
        check::label_selector(selector, &path.child("namespaceSelector"), errors);
    }
    for namespace in term.namespaces.items() {
        check::dns_label(namespace, &path.child("namespace"), errors);
    }
    match_label_keys(term, path, errors);
    if term.topology_key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    check::label_name(&term.topology_key, &path.child("topologyKey"), errors);
}

fn match_label_keys(term: &PodAffinityTerm, path: &Path, errors: &mut ErrorList) {
    let (matching, mismatching) = (term.match_label_keys.items(), term.mismatch_label_keys.items());
    for (field, keys) in [("matchLabelKeys", matching), ("mismatchLabelKeys", mismatching)] {
        let path = path.child(field);
        if !keys.is_empty() && term.label_selector.is_none() {
            errors.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            check::label_name(key, &path.index(index), errors);
        }
    }
    if let Some(selector) = &term.label_selector {
        // The registry has added a requirement for each key already, so a key that was there before is there twice.
        let mut seen: BTreeSet<&str> = selector.match_labels.iter().flatten().map(|(key, _)| key.as_str()).collect();
        for expression in selector.match_expressions.items() {
            let index = matching.iter().rposition(|key| *key == expression.key);
            if let Some(index) = index
                && seen.contains(expression.key.as_str())
            {
                let message = "exists in both matchLabelKeys and labelSelector";
                errors.invalid(&path.index(index), &expression.key, message);
            }
            seen.insert(&expression.key);
        }
    }
    for (index, key) in matching.iter().enumerate().filter(|(_, key)| mismatching.contains(key)) {
        let message = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&path.child("matchLabelKeys").index(index), key, message);
    }
}

pub(super) fn gates(gates: &[PodSchedulingGate], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, gate) in gates.iter().enumerate() {
        check::qualified_name(&gate.name, &path.index(index), errors);
        if !seen.insert(gate.name.as_str()) {
            errors.duplicate(&path.index(index), &gate.name);
        }
    }
}

pub(crate) fn tolerations(tolerations: &[Toleration], path: &Path, errors: &mut ErrorList) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (toleration.key.text(), toleration.operator.text());
        let (value, effect) = (toleration.value.text(), toleration.effect.text());
        if !key.is_empty() {
            check::label_name(key, &path.child("key"), errors);
        }
        if key.is_empty() && operator != "Exists" {
            let message = r#"operator must be Exists when `key` is empty, which means "match all values and all keys""#;
            errors.invalid(&path.child("operator"), operator, message);
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            let message = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&path.child("effect"), effect, message);
        }
        match operator {
            "Equal" | "" => {
                let messages = names::is_valid_label_value(value);
                if !messages.is_empty() {
                    errors.invalid(&path.child("operator"), value, messages.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let message = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(&path.child("operator"), value, message);
                }
            }
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
    }
}

/// Taints of a node (`validateNodeTaints`).
pub(crate) fn node_taints(taints: &[Taint], path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        check::label_name(&taint.key, &path.child("key"), errors);
        let messages = names::is_valid_label_value(taint.value.text());
        if !messages.is_empty() {
            errors.invalid(&path.child("value"), taint.value.text(), messages.join(";"));
        }
        match taint.effect.as_str() {
            "" => errors.required(&path.child("effect"), ""),
            effect if !EFFECTS.contains(&effect) => errors.not_supported(&path.child("effect"), effect, EFFECTS),
            _ => {}
        }
        if !seen.insert((taint.effect.as_str(), taint.key.as_str())) {
            let mut error = apimachinery::field::Error::duplicate(&path, serde_json::json!(taint));
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}

pub(super) fn topology_spread(constraints: &[TopologySpreadConstraint], path: &Path, errors: &mut ErrorList) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let action = constraint.when_unsatisfiable.as_str();
        if constraint.max_skew <= 0 {
            errors.invalid(&path.child("maxSkew"), constraint.max_skew, check::NOT_POSITIVE);
        }
        if constraint.topology_key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let actions = &["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(&path.child("whenUnsatisfiable"), action, actions);
        }
        let repeated = constraints[index + 1..]
            .iter()
            .any(|other| other.topology_key == constraint.topology_key && other.when_unsatisfiable == action);
        if repeated {
            let pair = format!("{{{}, {action}}}", constraint.topology_key);
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        if let Some(domains) = constraint.min_domains {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.invalid(&path, domains, check::NOT_POSITIVE);
            }
            if action != "DoNotSchedule" {
                let message = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&path, domains, message);
            }
        }
        for (field, policy) in [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ] {
            if let Some(policy) = policy
                && !matches!(policy.as_str(), "Honor" | "Ignore")
            {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        let selector = constraint.label_selector.as_ref();
        spread_label_keys(constraint.match_label_keys.items(), selector, &path.child("matchLabelKeys"), errors);
        if let Some(selector) = selector {
            check::label_selector(selector, &path.child("labelSelector"), errors);
        }
    }
}

fn spread_label_keys(keys: &[String], selector: Option<&LabelSelector>, path: &Path, errors: &mut ErrorList) {
    if keys.is_empty() {
        return;
    }
    let Some(selector) = selector else {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
        return;
    };
    // The registry has merged the keys into the selector, so being there once is right.
    let mut selected: BTreeMap<&str, usize> = BTreeMap::new();
    for key in selector.match_labels.iter().flatten().map(|(key, _)| key.as_str()) {
        *selected.entry(key).or_default() += 1;
    }
    for expression in selector.match_expressions.items() {
        *selected.entry(expression.key.as_str()).or_default() += 1;
    }
    for (index, key) in keys.iter().enumerate() {
        check::label_name(key, &path.index(index), errors);
        if selected.get(key.as_str()).is_some_and(|count| *count > 1) {
            let message = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(&path.index(index), key, message);
        }
    }
}

/// A term of a storage class's allowed topologies.
pub(crate) fn topology_selector(term: &TopologySelectorTerm, path: &Path, errors: &mut ErrorList) {
    let mut keys = BTreeSet::new();
    for (index, requirement) in term.match_label_expressions.items().iter().enumerate() {
        let path = path.child("matchLabelExpressions").index(index);
        if requirement.values.is_empty() {
            errors.required(&path.child("values"), "");
        }
        let mut values = BTreeSet::new();
        for (value_index, value) in requirement.values.iter().enumerate() {
            if !values.insert(value) {
                errors.duplicate(&path.child("values").index(value_index), value);
            }
        }
        check::label_name(&requirement.key, &path.child("key"), errors);
        if !keys.insert(requirement.key.as_str()) {
            errors.duplicate(&path.child("key"), &requirement.key);
        }
    }
}
