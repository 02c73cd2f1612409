//! NodeAffinity: node selectors and required and preferred node affinity.

use std::collections::BTreeMap;

use api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::Plugin;
use crate::{
    columns::{Columns, Row},
    cycle::{Verdicts, normalize},
    events::Events,
    pod::PodInfo,
};

pub(super) struct Affinity;

/// Whether any term holds; terms without any requirement never do. Upstream: `nodeaffinity.NodeSelector.Match`.
fn matches_terms(terms: &[NodeSelectorTerm], labels: &BTreeMap<String, String>, node_name: &str) -> bool {
    terms.iter().any(|term| matches_term(term, labels, node_name))
}

fn matches_term(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, node_name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|requirement| holds(requirement, labels.get(&requirement.key).map(String::as_str)))
        && fields
            .iter()
            .all(|requirement| holds(requirement, (requirement.key == "metadata.name").then_some(node_name)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|candidate| candidate == value);
    match (requirement.operator.as_str(), value) {
        ("In", Some(value)) => listed(value),
        ("NotIn", Some(value)) => !listed(value),
        ("NotIn" | "DoesNotExist", None) | ("Exists", Some(_)) => true,
        (operator @ ("Gt" | "Lt"), Some(value)) => {
            match (value.parse::<i64>(), values.first().map(|text| text.parse::<i64>())) {
                (Ok(have), Some(Ok(bound))) => {
                    if operator == "Gt" {
                        have > bound
                    } else {
                        have < bound
                    }
                }
                _ => false,
            }
        }
        _ => false,
    }
}

impl Plugin for Affinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_LABELS)
    }

    fn filter(&self, columns: &Columns, pod: &PodInfo, verdicts: &mut Verdicts) {
        let selector = pod.pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        let required = pod
            .node_affinity()
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        if selector.is_none() && required.is_none() {
            return;
        }
        for row in verdicts.rows() {
            let labels = &columns.labels[row];
            let selected =
                selector.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
            let fits = || {
                required
                    .is_none_or(|required| matches_terms(&required.node_selector_terms, labels, &columns.names[row]))
            };
            if !selected || !fits() {
                verdicts.refuse(row, "node(s) didn't match Pod's node affinity/selector");
            }
        }
    }

    fn score(&self, columns: &Columns, pod: &PodInfo, rows: &[Row], scores: &mut [i64]) -> bool {
        let preferred = pod
            .node_affinity()
            .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
            .unwrap_or_default();
        if preferred.is_empty() {
            return false;
        }
        for (row, score) in rows.iter().zip(scores.iter_mut()) {
            *score = preferred
                .iter()
                .filter(|term| matches_term(&term.preference, &columns.labels[*row], &columns.names[*row]))
                .map(|term| i64::from(term.weight))
                .sum();
        }
        normalize(scores, false);
        true
    }
}
