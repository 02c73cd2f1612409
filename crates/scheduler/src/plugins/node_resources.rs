//! NodeResourcesFit with the LeastAllocated strategy, and NodeResourcesBalancedAllocation.

use super::Plugin;
use crate::{
    columns::{Columns, Row},
    cycle::{MAX_SCORE, Verdicts},
    events::Events,
    pod::{Basic, PodInfo},
};

pub(super) struct Fit;
pub(super) struct BalancedAllocation;

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_ALLOCATABLE).or(Events::POD_GONE)
    }

    fn filter(&self, columns: &Columns, pod: &PodInfo, verdicts: &mut Verdicts) {
        let extended: Vec<_> =
            pod.extended.iter().map(|(name, amount)| (name, columns.resources.get(name), *amount)).collect();
        for row in verdicts.rows() {
            let mut refused = false;
            let mut refuse = |reason: &str| {
                if refused {
                    verdicts.also(reason);
                } else {
                    verdicts.refuse(row, reason);
                    refused = true;
                }
            };
            if columns.pods[row] + 1 > columns.allocatable_pods[row] {
                refuse("Too many pods");
            }
            let (have, used) = (&columns.allocatable[row], &columns.requested[row]);
            let lacks = |wanted: i64, have: i64, used: i64| wanted > 0 && wanted > have - used;
            if lacks(pod.requests.milli_cpu, have.milli_cpu, used.milli_cpu) {
                refuse("Insufficient cpu");
            }
            if lacks(pod.requests.memory, have.memory, used.memory) {
                refuse("Insufficient memory");
            }
            if lacks(pod.requests.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage) {
                refuse("Insufficient ephemeral-storage");
            }
            for (name, id, amount) in &extended {
                let (have, used) = id.map_or((0, 0), |id| columns.extended[id][row]);
                if lacks(*amount, have, used) {
                    refuse(&format!("Insufficient {name}"));
                }
            }
        }
    }

    fn score(&self, columns: &Columns, pod: &PodInfo, rows: &[Row], scores: &mut [i64]) -> bool {
        for (row, score) in rows.iter().zip(scores.iter_mut()) {
            let (have, used) = (&columns.allocatable[*row], &columns.scoring[*row]);
            let free = |have: i64, used: i64| {
                if have == 0 || used > have { 0 } else { (have - used) * MAX_SCORE / have }
            };
            let cpu = free(have.milli_cpu, used.milli_cpu + pod.scoring.milli_cpu);
            let memory = free(have.memory, used.memory + pod.scoring.memory);
            *score = i64::midpoint(cpu, memory);
        }
        true
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, columns: &Columns, pod: &PodInfo, rows: &[Row], scores: &mut [i64]) -> bool {
        // A pod that asks for nothing unbalances nothing.
        if pod.requests == Basic::default() {
            return false;
        }
        for (row, score) in rows.iter().zip(scores.iter_mut()) {
            *score = balance(&columns.allocatable[*row], &columns.requested[*row], &pod.requests);
        }
        true
    }
}

/// High where CPU and memory are used to equal parts.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score between 0 and 100")]
fn balance(have: &Basic, used: &Basic, more: &Basic) -> i64 {
    let part = |have: i64, used: i64| if have == 0 { 1.0 } else { (used as f64 / have as f64).min(1.0) };
    let cpu = part(have.milli_cpu, used.milli_cpu + more.milli_cpu);
    let memory = part(have.memory, used.memory + more.memory);
    // With two parts, the standard deviation is half their distance.
    ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
}
