//! One scheduling cycle: filter the nodes, score those that are left, pick one. Pure and deterministic under a seed.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    columns::{Columns, Row},
    events::Events,
    plugins::{self, Plugin},
    pod::PodInfo,
};

/// Scores of a plugin lie between zero and this.
pub(crate) const MAX_SCORE: i64 = 100;

/// The plugins of a scheduler name, with their weights.
pub struct Profile {
    /// The scheduler name that pods ask for.
    pub name: String,
    pub(crate) plugins: Vec<(&'static dyn Plugin, i64)>,
    random: SmallRng,
}

/// Why a pod fits on no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there were.
    pub nodes: usize,
    /// On how many nodes each reason held.
    pub reasons: BTreeMap<String, usize>,
    /// Plugins that refused a node.
    pub plugins: Vec<&'static str>,
    /// Events that can change the answer.
    pub(crate) helps: Events,
}

/// Reasons against single nodes, while filters run.
pub(crate) struct Verdicts {
    /// Still possible.
    pub(crate) feasible: Vec<bool>,
    diagnosis: Diagnosis,
}

impl Profile {
    /// The default plugins. Equal seeds make equal choices among equal nodes.
    pub fn new(name: &str, seed: u64) -> Self {
        Self { name: name.to_owned(), plugins: plugins::defaults(), random: SmallRng::seed_from_u64(seed) }
    }
}

impl Verdicts {
    fn new(columns: &Columns) -> Self {
        Self { feasible: columns.live.clone(), diagnosis: Diagnosis { nodes: columns.len(), ..Diagnosis::default() } }
    }

    /// Excludes a node.
    pub(crate) fn refuse(&mut self, row: Row, reason: &str) {
        self.feasible[row] = false;
        match self.diagnosis.reasons.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                self.diagnosis.reasons.insert(reason.to_owned(), 1);
            }
        }
    }

    /// Names a further reason against a node that is excluded already.
    pub(crate) fn also(&mut self, reason: &str) {
        *self.diagnosis.reasons.entry(reason.to_owned()).or_default() += 1;
    }

    /// The rows that are still possible.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + use<> {
        let rows: Vec<Row> = self.feasible.iter().enumerate().filter(|(_, yes)| **yes).map(|(row, _)| row).collect();
        rows.into_iter()
    }

    fn count(&self) -> usize {
        self.feasible.iter().filter(|yes| **yes).count()
    }
}

impl std::fmt::Display for Diagnosis {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector.`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.nodes)?;
        let mut parts: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        write!(f, " {}.", parts.join(", "))
    }
}

/// The node for a pod, or why there is none.
pub fn schedule(profile: &mut Profile, columns: &Columns, pod: &PodInfo) -> Result<String, Diagnosis> {
    let mut verdicts = Verdicts::new(columns);
    if columns.is_empty() {
        verdicts.diagnosis.helps = Events::NODE_ADDED;
        return Err(verdicts.diagnosis);
    }
    for (plugin, _) in &profile.plugins {
        let before = verdicts.count();
        plugin.filter(columns, pod, &mut verdicts);
        let left = verdicts.count();
        if left < before {
            verdicts.diagnosis.plugins.push(plugin.name());
            verdicts.diagnosis.helps = verdicts.diagnosis.helps.or(plugin.helped_by());
        }
        if left == 0 {
            verdicts.diagnosis.helps = verdicts.diagnosis.helps.or(Events::NODE_ADDED).or(Events::OWN_UPDATE);
            return Err(verdicts.diagnosis);
        }
    }
    let rows: Vec<Row> = verdicts.rows().collect();
    let row = if rows.len() == 1 { rows[0] } else { pick(profile, columns, pod, &rows) };
    Ok(columns.names[row].to_string())
}

/// The row with the highest weighted score; chance decides among equals.
fn pick(profile: &mut Profile, columns: &Columns, pod: &PodInfo, rows: &[Row]) -> Row {
    let mut totals = vec![0_i64; rows.len()];
    let mut scores = vec![0_i64; rows.len()];
    for (plugin, weight) in &profile.plugins {
        scores.fill(0);
        if plugin.score(columns, pod, rows, &mut scores) {
            for (total, score) in totals.iter_mut().zip(&scores) {
                *total += weight * score.clamp(&0, &MAX_SCORE);
            }
        }
    }
    let best = totals.iter().copied().max().unwrap_or(0);
    let equals: Vec<Row> = rows.iter().zip(&totals).filter(|(_, total)| **total == best).map(|(row, _)| *row).collect();
    equals[profile.random.random_range(0..equals.len())]
}

/// Stretches scores so that the highest is [`MAX_SCORE`]; `reverse` makes low ones good.
/// Upstream: `helper.DefaultNormalizeScore`.
pub(crate) fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = match (max, reverse) {
            (0, true) => MAX_SCORE,
            (0, false) => 0,
            (max, true) => MAX_SCORE - MAX_SCORE * *score / max,
            (max, false) => MAX_SCORE * *score / max,
        };
    }
}
