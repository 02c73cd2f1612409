//! Rolling updates. Upstream: `rolling.go` and `deployment/util` `NewRSNewReplicas`.

use super::{
    plan::{IfMissing, Rollout, available, is_recreate, replicas},
    revision, status,
};

pub(super) fn roll_out(rollout: &mut Rollout) {
    rollout.sync_revision(IfMissing::Create);
    if !scale_up(rollout) && !scale_down(rollout) && status::is_complete(rollout) {
        revision::clean_up(rollout);
    }
    status::sync_rollout(rollout);
}

/// The size the new ReplicaSet may have now without exceeding `maxSurge`.
pub(super) fn size_of_new(rollout: &Rollout, index: usize) -> i32 {
    let wanted = rollout.wanted();
    if is_recreate(&rollout.deployment) {
        return wanted;
    }
    let current = replicas(&rollout.sets[index]);
    let most = wanted.saturating_add(rollout.max_surge());
    let room = most.saturating_sub(rollout.sum(replicas));
    if room <= 0 { current } else { current.saturating_add(room.min(wanted - current)) }
}

fn scale_up(rollout: &mut Rollout) -> bool {
    let Some(index) = rollout.new else { return false };
    let (current, wanted) = (replicas(&rollout.sets[index]), rollout.wanted());
    if current == wanted {
        return false;
    }
    let size = if current > wanted { wanted } else { size_of_new(rollout, index) };
    rollout.scale_if_other(index, size)
}

/// Takes from the old ReplicaSets what `maxUnavailable` allows: unhealthy pods first, then by age.
fn scale_down(rollout: &mut Rollout) -> bool {
    let old = rollout.active(rollout.old.clone());
    if old.is_empty() {
        return false;
    }
    let least = rollout.wanted() - rollout.max_unavailable();
    let unavailable_new =
        rollout.new.map_or(0, |index| replicas(&rollout.sets[index]) - available(&rollout.sets[index]));
    let may_go = rollout.sum(replicas).saturating_sub(least).saturating_sub(unavailable_new);
    if may_go <= 0 {
        return false;
    }
    let mut scaled = false;
    let mut gone = 0;
    for index in &old {
        let (size, healthy) = (replicas(&rollout.sets[*index]), available(&rollout.sets[*index]));
        let count = (may_go - gone).min(size - healthy);
        if gone >= may_go || count <= 0 {
            continue;
        }
        scaled |= rollout.scale_if_other(*index, size - count);
        gone += count;
    }
    let spare = rollout.sum(available).saturating_sub(least);
    let mut gone = 0;
    for index in &old {
        let size = replicas(&rollout.sets[*index]);
        let count = size.min(spare - gone);
        if count <= 0 {
            continue;
        }
        scaled |= rollout.scale_if_other(*index, size - count);
        gone += count;
    }
    scaled
}
