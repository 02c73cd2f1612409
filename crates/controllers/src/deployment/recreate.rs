//! Rollouts in which no old pod runs beside a new one. Upstream: `recreate.go`.

use api::{owner::controller_of, pod};

use super::{
    plan::{IfMissing, Rollout, actual},
    revision, status,
};

pub(super) fn roll_out(rollout: &mut Rollout) {
    rollout.sync_revision(IfMissing::Leave);
    let mut scaled = false;
    for index in rollout.active(rollout.old.clone()) {
        scaled |= rollout.scale_if_other(index, 0);
    }
    if scaled || old_pods_run(rollout) {
        status::sync_rollout(rollout);
        return;
    }
    if rollout.new.is_none() {
        rollout.sync_revision(IfMissing::Create);
    }
    let wanted = rollout.wanted();
    if let Some(index) = rollout.new {
        rollout.scale_if_other(index, wanted);
    }
    if status::is_complete(rollout) {
        revision::clean_up(rollout);
    }
    status::sync_rollout(rollout);
}

fn old_pods_run(rollout: &Rollout) -> bool {
    if rollout.old.iter().any(|index| actual(&rollout.sets[*index]) > 0) {
        return true;
    }
    let new = rollout.new.and_then(|index| rollout.sets[index].metadata.uid.as_deref());
    rollout.pods.iter().any(|pod| {
        let of_new = controller_of(&pod.metadata).is_some_and(|owner| Some(owner.uid.as_str()) == new);
        // A pod whose node does not answer (phase Unknown) may still run.
        !of_new && !pod::is_terminal(pod)
    })
}
