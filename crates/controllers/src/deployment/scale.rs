//! Changes of a Deployment's size, also in the middle of a rollout. Upstream: `sync.go` `scale`, `isScalingEvent`
//! and `deployment/util` `GetReplicaSetProportion`.

use super::plan::{Rollout, available, is_recreate, replicas};
use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS, number};

/// Whether the Deployment's size is another than the one its ReplicaSets were told.
pub(super) fn was_scaled(rollout: &Rollout) -> bool {
    rollout.active(rollout.all()).into_iter().any(|index| {
        let desired = number(rollout.sets[index].metadata.annotations.as_ref(), DESIRED_REPLICAS);
        desired.is_some_and(|desired| desired != i64::from(rollout.wanted()))
    })
}

/// Scales the one ReplicaSet there is; in the middle of a rollout, shares the change among all by their size.
pub(super) fn proportionally(rollout: &mut Rollout) {
    let wanted = rollout.wanted();
    if let Some(index) = only_active_or_latest(rollout) {
        rollout.scale_if_other(index, wanted);
        return;
    }
    if rollout.new.is_some_and(|index| is_saturated(rollout, index)) {
        for index in rollout.active(rollout.old.clone()) {
            rollout.scale_if_other(index, 0);
        }
        return;
    }
    if is_recreate(&rollout.deployment) {
        return;
    }
    let mut sets = rollout.active(rollout.all());
    let total: i32 = sets.iter().map(|index| replicas(&rollout.sets[*index])).fold(0, i32::saturating_add);
    let allowed = if wanted > 0 { wanted.saturating_add(rollout.max_surge()) } else { 0 };
    let to_add = allowed.saturating_sub(total);
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    sets.sort_by(|a, b| {
        let (a, b) = (&rollout.sets[*a], &rollout.sets[*b]);
        let created = |set: &api::apps::v1::ReplicaSet| set.metadata.creation_timestamp.clone();
        let age = if to_add > 0 { created(b).cmp(&created(a)) } else { created(a).cmp(&created(b)) };
        replicas(b).cmp(&replicas(a)).then(age)
    });
    let mut added = 0;
    let mut sizes = Vec::new();
    for index in &sets {
        let share = share(rollout, *index, to_add, added);
        sizes.push(replicas(&rollout.sets[*index]).saturating_add(share));
        added += share;
    }
    // What rounding left over goes to the largest.
    if let Some(largest) = sizes.first_mut().filter(|_| to_add != 0) {
        *largest = largest.saturating_add(to_add - added).max(0);
    }
    for (index, size) in sets.into_iter().zip(sizes) {
        rollout.scale(index, size);
    }
}

/// The only ReplicaSet with pods; the latest if none has any; `None` if several have.
fn only_active_or_latest(rollout: &Rollout) -> Option<usize> {
    match rollout.active(rollout.all()).as_slice() {
        [] => rollout.new.or_else(|| rollout.old.last().copied()),
        [only] => Some(*only),
        _ => None,
    }
}

/// Whether the new ReplicaSet has all pods the Deployment wants, all available.
fn is_saturated(rollout: &Rollout, index: usize) -> bool {
    let (replica_set, wanted) = (&rollout.sets[index], rollout.wanted());
    replicas(replica_set) == wanted
        && number(replica_set.metadata.annotations.as_ref(), DESIRED_REPLICAS) == Some(i64::from(wanted))
        && available(replica_set) == wanted
}

fn share(rollout: &Rollout, index: usize, to_add: i32, added: i32) -> i32 {
    let replica_set = &rollout.sets[index];
    let size = replicas(replica_set);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(rollout, index);
    let rest = to_add - added;
    if to_add > 0 { fraction.min(rest) } else { fraction.max(rest) }
}

/// By how much a ReplicaSet changes when the Deployment's most pods change from what it was told to what they are.
fn fraction(rollout: &Rollout, index: usize) -> i32 {
    let replica_set = &rollout.sets[index];
    let size = replicas(replica_set);
    if rollout.wanted() == 0 {
        return -size;
    }
    let annotated = number(replica_set.metadata.annotations.as_ref(), MAX_REPLICAS).filter(|most| *most != 0);
    let reported = rollout.deployment.status.as_ref().and_then(|status| status.replicas).map(i64::from);
    let Some(before) = annotated.or(reported).filter(|most| *most != 0) else { return 0 };
    let now = i64::from(rollout.wanted()) + i64::from(rollout.max_surge());
    // Rounded half away from zero, as upstream's RoundToInt32.
    let scaled = (i64::from(size).saturating_mul(now).saturating_mul(2) + before).div_euclid(before.saturating_mul(2));
    i32::try_from(scaled).unwrap_or(i32::MAX).saturating_sub(size)
}
