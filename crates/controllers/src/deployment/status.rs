//! A Deployment's status. Upstream: `sync.go` `calculateStatus`, `progress.go` `syncRolloutStatus`.

use api::{
    Time,
    apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet},
};
use jiff::Timestamp;

use super::{
    plan::{Rollout, actual, available, replicas},
    progress,
};

/// After a change of size or while paused: counts and availability.
pub(super) fn sync(rollout: &mut Rollout) {
    rollout.deployment.status = Some(calculate(rollout));
}

/// In a rollout: also progress, and failures of ReplicaSets.
pub(super) fn sync_rollout(rollout: &mut Rollout) {
    let mut status = calculate(rollout);
    progress::update(rollout, &mut status);
    match failure(rollout) {
        Some(failure) => {
            set_condition(&mut status, failure);
        }
        None => remove_condition(&mut status, "ReplicaFailure"),
    }
    rollout.deployment.status = Some(status);
}

/// Whether the last written status says that the rollout is complete.
pub(super) fn is_complete(rollout: &Rollout) -> bool {
    rollout.deployment.status.as_ref().is_some_and(|status| is_complete_status(rollout, status))
}

pub(super) fn is_complete_status(rollout: &Rollout, status: &DeploymentStatus) -> bool {
    let wanted = rollout.wanted();
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= rollout.deployment.metadata.generation
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition unless it has that status and reason already; keeps the time of a transition that is none.
pub(super) fn set_condition(status: &mut DeploymentStatus, mut new: DeploymentCondition) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().find(|condition| condition.type_ == new.type_);
    if let Some(known) = known
        && known.status == new.status
    {
        if known.reason == new.reason {
            return false;
        }
        new.last_transition_time = known.last_transition_time.clone();
    }
    conditions.retain(|condition| condition.type_ != new.type_);
    conditions.push(new);
    true
}

pub(super) fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = status.conditions.as_mut() {
        conditions.retain(|condition| condition.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

fn calculate(rollout: &Rollout) -> DeploymentStatus {
    let available_replicas = rollout.sum(available);
    let ready =
        |replica_set: &ReplicaSet| replica_set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let terminating = |replica_set: &ReplicaSet| {
        replica_set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
    };
    let known = rollout.deployment.status.as_ref();
    let mut status = DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: positive(rollout.sum(actual)),
        updated_replicas: positive(rollout.new.map_or(0, |index| actual(&rollout.sets[index]))),
        ready_replicas: positive(rollout.sum(ready)),
        available_replicas: positive(available_replicas),
        unavailable_replicas: positive(rollout.sum(replicas).saturating_sub(available_replicas)),
        terminating_replicas: Some(rollout.sum(terminating)),
        collision_count: known.and_then(|status| status.collision_count),
        conditions: known.and_then(|status| status.conditions.clone()),
    };
    let enough = available_replicas >= rollout.wanted() - rollout.max_unavailable();
    let minimum = if enough {
        condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", rollout.now)
    } else {
        condition(
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            rollout.now,
        )
    };
    set_condition(&mut status, minimum);
    status
}

/// A failure of the new ReplicaSet, else of any.
fn failure(rollout: &Rollout) -> Option<DeploymentCondition> {
    let of = |index: usize| {
        let conditions = rollout.sets[index].status.as_ref().and_then(|status| status.conditions.as_ref());
        let failure = conditions.into_iter().flatten().find(|condition| condition.type_ == "ReplicaFailure")?;
        Some(DeploymentCondition {
            type_: failure.type_.clone(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_transition_time: failure.last_transition_time.clone(),
            last_update_time: failure.last_transition_time.clone(),
        })
    };
    rollout.new.and_then(of).or_else(|| rollout.all().find_map(of))
}

/// Upstream omits counts of zero; negative ones cannot be.
fn positive(count: i32) -> Option<i32> {
    (count > 0).then_some(count)
}
