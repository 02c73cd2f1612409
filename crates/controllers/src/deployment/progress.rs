//! Whether a rollout progresses, and by when it has to. Upstream: `progress.go` and `deployment/util`.

use std::time::Duration;

use api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use informer::Next;
use jiff::SignedDuration;

use super::{
    plan::Rollout,
    status::{condition, is_complete_status, remove_condition, set_condition},
};

pub(super) const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// `progressDeadlineSeconds`, if there is any.
pub(super) fn deadline(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

/// The time between pausing and resuming does not count: a condition without an answer takes the deadline's place.
pub(super) fn check_paused(rollout: &mut Rollout) {
    if deadline(&rollout.deployment).is_none() {
        return;
    }
    let paused = rollout.spec().paused == Some(true);
    let now = rollout.now;
    let reason = current(rollout.status()).and_then(|current| current.reason.clone());
    if reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let was_paused = reason.as_deref() == Some("DeploymentPaused");
    if paused && !was_paused {
        set_condition(
            rollout.status(),
            condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now),
        );
    } else if !paused && was_paused {
        set_condition(
            rollout.status(),
            condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now),
        );
    }
}

/// A ReplicaSet of the wanted template was there already.
pub(super) fn found(rollout: &mut Rollout, index: usize) {
    let (name, now) = (rollout.name(index), rollout.now);
    if deadline(&rollout.deployment).is_some() && current(rollout.status()).is_none() {
        let message = format!("Found new replica set {name:?}");
        set_condition(rollout.status(), condition(PROGRESSING, "True", "FoundNewReplicaSet", &message, now));
    }
}

/// A ReplicaSet is being created.
pub(super) fn created(rollout: &mut Rollout, name: &str) {
    let now = rollout.now;
    if deadline(&rollout.deployment).is_some() {
        let message = format!("Created new replica set {name:?}");
        set_condition(rollout.status(), condition(PROGRESSING, "True", "NewReplicaSetCreated", &message, now));
    }
}

/// Sets the Progressing condition of a status from what has changed since the present one.
pub(super) fn update(rollout: &Rollout, status: &mut DeploymentStatus) {
    let deployment = &rollout.deployment;
    let before = deployment.status.clone().unwrap_or_default();
    if deadline(deployment).is_none() {
        remove_condition(status, PROGRESSING);
        return;
    }
    let known = current(&before);
    let was_complete = known.is_some_and(|known| known.reason.as_deref() == Some(COMPLETE));
    if status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0) && was_complete {
        // A change of size after a rollout is no new rollout.
        return;
    }
    let what = match rollout.new {
        Some(index) => format!("ReplicaSet {:?}", rollout.name(index)),
        None => format!("Deployment {:?}", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    let now = rollout.now;
    if is_complete_status(rollout, status) {
        let message = format!("{what} has successfully progressed.");
        set_condition(status, condition(PROGRESSING, "True", COMPLETE, &message, now));
    } else if has_progressed(&before, status) {
        let message = format!("{what} is progressing.");
        let mut updated = condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, now);
        // Replaced even if it says the same, because the deadline counts from the last progress.
        if let Some(known) = known.filter(|known| known.status == "True") {
            updated.last_transition_time = known.last_transition_time.clone();
        }
        remove_condition(status, PROGRESSING);
        set_condition(status, updated);
    } else if has_timed_out(rollout, status) {
        let message = format!("{what} has timed out progressing.");
        set_condition(status, condition(PROGRESSING, "False", TIMED_OUT, &message, now));
    }
}

/// When to look whether the rollout is stuck.
pub(super) fn next_check(rollout: &Rollout) -> Next {
    let deployment = &rollout.deployment;
    let Some(status) = deployment.status.as_ref() else { return Next::Await };
    let (Some(seconds), Some(known)) = (deadline(deployment), current(status)) else { return Next::Await };
    if rollout.spec().paused == Some(true)
        || is_complete_status(rollout, status)
        || known.reason.as_deref() == Some(TIMED_OUT)
    {
        return Next::Await;
    }
    let Some(since) = known.last_update_time.as_ref() else { return Next::Await };
    let end = SignedDuration::from_secs(i64::from(seconds)) - rollout.now.duration_since(since.0);
    // A second more than needed, because times in conditions are whole seconds.
    Next::After(Duration::try_from(end).unwrap_or_default() + Duration::from_secs(1))
}

fn current(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == PROGRESSING)
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    after.updated_replicas.unwrap_or(0) > before.updated_replicas.unwrap_or(0)
        || old(after) < old(before)
        || after.ready_replicas.unwrap_or(0) > before.ready_replicas.unwrap_or(0)
        || after.available_replicas.unwrap_or(0) > before.available_replicas.unwrap_or(0)
}

fn has_timed_out(rollout: &Rollout, status: &DeploymentStatus) -> bool {
    let Some(known) = current(status) else { return false };
    match known.reason.as_deref() {
        Some(COMPLETE) => return false,
        Some(TIMED_OUT) => return true,
        _ => {}
    }
    let (Some(seconds), Some(since)) = (deadline(&rollout.deployment), known.last_update_time.as_ref()) else {
        return false;
    };
    rollout.now.duration_since(since.0) > SignedDuration::from_secs(i64::from(seconds))
}
