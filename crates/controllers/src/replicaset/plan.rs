//! What to do for a ReplicaSet; pure. Upstream: `replica_set.go` `syncReplicaSet`, `manageReplicas` and
//! `replica_set_utils.go` `calculateStatus`.

use std::{sync::Arc, time::Duration};

use api::{
    Time,
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::Pod,
    pod,
};
use apimachinery::Selector;
use informer::Next;
use jiff::Timestamp;

use super::rank;
use crate::pod_control::message_of;

/// At most so many pods are created or deleted in one go. Upstream: `BurstReplicas`.
pub(super) const BURST: usize = 500;

pub(crate) struct View<'a> {
    pub(crate) replica_set: &'a ReplicaSet,
    /// The pods it controls.
    pub(crate) pods: &'a [Arc<Pod>],
    /// The pods of all ReplicaSets with the same controller: where these are crowded, pods are deleted first.
    pub(crate) related: &'a [Arc<Pod>],
}

pub(crate) struct Plan<'a> {
    pub(crate) scale: Scale,
    pub(crate) next: Next,
    replica_set: &'a ReplicaSet,
    status: ReplicaSetStatus,
    missing: bool,
}

#[derive(Debug)]
pub(crate) enum Scale {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

pub(crate) fn plan<'a>(view: &View<'a>, now: Timestamp) -> Plan<'a> {
    let replica_set = view.replica_set;
    let spec = replica_set.spec.as_ref();
    let wanted = usize::try_from(spec.and_then(|spec| spec.replicas).unwrap_or(1)).unwrap_or(0);
    let min_ready = Duration::from_secs(
        spec.and_then(|spec| spec.min_ready_seconds).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
    );
    let active: Vec<_> = view.pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
    let terminating = view.pods.iter().filter(|pod| pod::is_terminating(pod) && !pod::is_terminal(pod)).count();

    let scale = if replica_set.metadata.deletion_timestamp.is_some() || active.len() == wanted {
        Scale::Nothing
    } else if active.len() < wanted {
        Scale::Create((wanted - active.len()).min(BURST))
    } else {
        let excess = (active.len() - wanted).min(BURST);
        Scale::Delete(rank::to_delete(active.clone(), view.related, excess, now))
    };

    let labels = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let template = Selector::from_set(&labels);
    let empty = Default::default();
    let count = |holds: &dyn Fn(&Pod) -> bool| count_of(active.iter().filter(|pod| holds(pod)).count());
    let status = ReplicaSetStatus {
        replicas: count_of(active.len()),
        fully_labeled_replicas: some_positive(count(&|pod| {
            template.matches(pod.metadata.labels.as_ref().unwrap_or(&empty))
        })),
        ready_replicas: some_positive(count(&pod::is_ready)),
        available_replicas: some_positive(count(&|pod| {
            pod::available_after(pod, min_ready, now) == Some(Duration::ZERO)
        })),
        terminating_replicas: Some(count_of(terminating)),
        observed_generation: replica_set.metadata.generation,
        conditions: replica_set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    let soonest =
        active.iter().filter_map(|pod| pod::available_after(pod, min_ready, now)).filter(|wait| !wait.is_zero());
    let next = soonest.min().map_or(Next::Await, Next::After);
    Plan { scale, next, replica_set, status, missing: active.len() < wanted }
}

impl Plan<'_> {
    /// The status to write after the scaling came out like this; `None` if it is already so.
    pub(crate) fn status(&self, failure: Option<&kube::Error>, now: Timestamp) -> Option<ReplicaSetStatus> {
        let mut status = self.status.clone();
        let mut conditions = status.conditions.take().unwrap_or_default();
        let failing = conditions.iter().any(|condition| condition.type_ == "ReplicaFailure");
        match failure {
            Some(error) if !failing => conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                reason: Some(if self.missing { "FailedCreate" } else { "FailedDelete" }.to_owned()),
                message: Some(message_of(error)),
                last_transition_time: Some(Time(now)),
            }),
            None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
            Some(_) => {}
        }
        status.conditions = (!conditions.is_empty()).then_some(conditions);
        let mut current = self.replica_set.status.clone().unwrap_or_default();
        current.conditions = current.conditions.filter(|conditions| !conditions.is_empty());
        for count in [&mut current.fully_labeled_replicas, &mut current.ready_replicas, &mut current.available_replicas]
        {
            *count = count.filter(|count| *count != 0);
        }
        (status != current).then_some(status)
    }
}

fn count_of(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

/// Upstream omits counts of zero.
fn some_positive(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
