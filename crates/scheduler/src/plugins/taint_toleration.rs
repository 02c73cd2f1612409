//! TaintToleration: taints keep pods away that do not tolerate them. Each taint is asked once a pod, not once a node.

use api::core::v1::Toleration;

use super::Plugin;
use crate::{
    columns::{Columns, Row},
    cycle::{Verdicts, normalize},
    events::Events,
    pod::PodInfo,
};

type Taint = (String, String, String);

pub(super) struct TaintToleration;

/// Whether a toleration covers a taint. Upstream: `Toleration.ToleratesTaint`.
pub(super) fn tolerates(toleration: &Toleration, (key, value, effect): &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (own_effect, own_key, own_value) = (text(&toleration.effect), text(&toleration.key), text(&toleration.value));
    if !own_effect.is_empty() && own_effect != *effect {
        return false;
    }
    if !own_key.is_empty() && own_key != *key {
        return false;
    }
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => own_value == *value,
        Some("Exists") => true,
        Some(operator @ ("Lt" | "Gt")) => match (value.parse::<i64>(), own_value.parse::<i64>()) {
            (Ok(taint), Ok(own)) => {
                if operator == "Lt" {
                    taint < own
                } else {
                    taint > own
                }
            }
            _ => false,
        },
        Some(_) => false,
    }
}

/// For each known taint, whether the pod puts up with it.
fn tolerated(columns: &Columns, tolerations: &[&Toleration]) -> Vec<bool> {
    columns
        .taints
        .values()
        .iter()
        .map(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .collect()
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter(&self, columns: &Columns, pod: &PodInfo, verdicts: &mut Verdicts) {
        let tolerated = tolerated(columns, &pod.tolerations().iter().collect::<Vec<_>>());
        let taints = columns.taints.values();
        for row in verdicts.rows() {
            let hard = |id: &&usize| !tolerated[**id] && matches!(taints[**id].2.as_str(), "NoSchedule" | "NoExecute");
            if let Some(id) = columns.node_taints[row].iter().find(hard) {
                let (key, value, _) = &taints[*id];
                verdicts.refuse(row, &format!("node(s) had untolerated taint {{{key}: {value}}}"));
            }
        }
    }

    fn score(&self, columns: &Columns, pod: &PodInfo, rows: &[Row], scores: &mut [i64]) -> bool {
        let soft = |toleration: &&Toleration| {
            toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "PreferNoSchedule")
        };
        let tolerated = tolerated(columns, &pod.tolerations().iter().filter(soft).collect::<Vec<_>>());
        let taints = columns.taints.values();
        for (row, score) in rows.iter().zip(scores.iter_mut()) {
            let intolerable =
                columns.node_taints[*row].iter().filter(|id| !tolerated[**id] && taints[**id].2 == "PreferNoSchedule");
            *score = i64::try_from(intolerable.count()).unwrap_or(i64::MAX);
        }
        normalize(scores, true);
        true
    }
}
