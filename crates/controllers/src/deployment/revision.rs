//! Revisions and the annotations that carry them; the limit of kept history. Upstream: `deployment/util`
//! `SetNewReplicaSetAnnotations` and `sync.go` `cleanupDeployment`.

use std::{collections::BTreeMap, sync::Arc};

use api::apps::v1::{Deployment, ReplicaSet};

use super::plan::{Action, Rollout, actual, replicas};

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The Deployment's annotations that do not describe its template, and stay its own.
const NOT_COPIED: [&str; 6] = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];

/// At most so many characters of history. Upstream: `maxRevHistoryLengthInChars`.
const HISTORY_LENGTH: usize = 2000;

/// A ReplicaSet's revision; 0 without one.
pub(super) fn of(replica_set: &ReplicaSet) -> i64 {
    number(replica_set.metadata.annotations.as_ref(), REVISION).unwrap_or(0)
}

pub(super) fn number(annotations: Option<&BTreeMap<String, String>>, name: &str) -> Option<i64> {
    annotations?.get(name)?.parse().ok()
}

/// Gives the new ReplicaSet the Deployment's annotations and its revision; one that is rolled back to remembers the
/// revisions it had.
pub(super) fn annotate_new(replica_set: &mut ReplicaSet, deployment: &Deployment, next: i64) -> bool {
    let annotations = replica_set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) && annotations.get(name) != Some(value) {
            annotations.insert(name.clone(), value.clone());
            changed = true;
        }
    }
    let former = annotations.get(REVISION).cloned();
    let Ok(current) = former.as_deref().filter(|text| !text.is_empty()).unwrap_or("0").parse::<i64>() else {
        return changed;
    };
    if current >= next {
        return changed;
    }
    annotations.insert(REVISION.to_owned(), next.to_string());
    if let Some(former) = former {
        let history = annotations.get(REVISION_HISTORY).map(String::as_str).unwrap_or_default();
        if let Some(history) = extended(history, &former) {
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    true
}

/// The history with one more revision, without the oldest as far as it would be too long.
fn extended(history: &str, revision: &str) -> Option<String> {
    let mut kept: Vec<&str> = history.split(',').filter(|text| !text.is_empty()).collect();
    kept.push(revision);
    while kept.len() > 1 && kept.iter().map(|text| text.len() + 1).sum::<usize>() - 1 > HISTORY_LENGTH {
        kept.remove(0);
    }
    let history = kept.join(",");
    (history.len() <= HISTORY_LENGTH).then_some(history)
}

/// Tells a ReplicaSet the Deployment's size, from which a later change of it is recognised.
pub(super) fn annotate_size(replica_set: &mut ReplicaSet, wanted: i32, most: i32) -> bool {
    let annotations = replica_set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in [(DESIRED_REPLICAS, wanted), (MAX_REPLICAS, most)] {
        let value = value.to_string();
        if annotations.get(name) != Some(&value) {
            annotations.insert(name.to_owned(), value);
            changed = true;
        }
    }
    changed
}

/// The Deployment's revision is that of its new ReplicaSet.
pub(super) fn annotate_deployment(deployment: &mut Deployment, revision: i64) {
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.remove(ROLLBACK_TO);
}

/// Deletes the oldest ReplicaSets that are of no more use than to roll back to.
pub(super) fn clean_up(rollout: &mut Rollout) {
    let limit = rollout.spec().revision_history_limit.filter(|limit| *limit != i32::MAX);
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
    let mut old: Vec<_> = rollout
        .old
        .iter()
        .map(|index| rollout.sets[*index].clone())
        .filter(|replica_set| replica_set.metadata.deletion_timestamp.is_none())
        .collect();
    let excess = old.len().saturating_sub(limit);
    old.sort_by_key(|replica_set| of(replica_set));
    for replica_set in old.into_iter().take(excess) {
        if is_idle(&replica_set) {
            rollout.actions.push(Action::Delete(Arc::clone(&replica_set)));
        }
    }
}

/// It has no pods, is to have none, and its controller has seen that.
fn is_idle(replica_set: &ReplicaSet) -> bool {
    let observed = replica_set.status.as_ref().and_then(|status| status.observed_generation);
    actual(replica_set) == 0 && replicas(replica_set) == 0 && replica_set.metadata.generation <= observed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_grows_and_forgets_the_oldest() {
        assert_eq!(extended("", "1").as_deref(), Some("1"));
        assert_eq!(extended("1,3", "5").as_deref(), Some("1,3,5"));
        let long = vec!["12345"; 333].join(",");
        let next = extended(&long, "99999").unwrap();
        assert!(next.len() <= HISTORY_LENGTH && next.ends_with(",99999"), "{}", next.len());
    }
}
