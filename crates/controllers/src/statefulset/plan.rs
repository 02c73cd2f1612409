//! What to do for a StatefulSet; pure. Upstream: `stateful_set_control.go` `updateStatefulSet`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::{
    IntOrString,
    apps::v1::{StatefulSet, StatefulSetStatus},
    core::v1::{Pod, PodTemplateSpec},
    pod,
};
use informer::Next;
use jiff::Timestamp;

use super::identity;

pub(super) struct View<'a> {
    pub(super) set: &'a StatefulSet,
    /// The pods it controls, all with names of its own.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) revisions: &'a Revisions,
}

/// Names and templates of the two revisions between which a rollout takes place.
#[derive(Debug)]
pub(super) struct Revisions {
    pub(super) current: String,
    pub(super) current_template: PodTemplateSpec,
    pub(super) update: String,
    pub(super) update_template: PodTemplateSpec,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// To write, if it changes.
    pub(super) status: Option<StatefulSetStatus>,
    pub(super) next: Next,
}

pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    let set = view.set;
    let spec = set.spec.clone().unwrap_or_default();
    let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let wanted = spec.replicas.unwrap_or(1).max(0);
    let min_ready = Duration::from_secs(u64::try_from(spec.min_ready_seconds.unwrap_or(0)).unwrap_or(0));
    let mut by_ordinal = BTreeMap::new();
    for pod in view.pods {
        if let Some(ordinal) = identity::ordinal(set, pod) {
            by_ordinal.insert(ordinal, pod.clone());
        }
    }
    let mut work = Work {
        view,
        first,
        wanted,
        min_ready,
        now,
        partition: partition(set),
        parallel: spec.pod_management_policy.as_deref() == Some("Parallel"),
        pods: by_ordinal,
        plan: Plan { create: Vec::new(), delete: Vec::new(), status: None, next: Next::Await },
    };
    work.order();
    work.finish()
}

struct Work<'a> {
    view: &'a View<'a>,
    first: i32,
    wanted: i32,
    min_ready: Duration,
    now: Timestamp,
    partition: i32,
    parallel: bool,
    pods: BTreeMap<i32, Arc<Pod>>,
    plan: Plan,
}

/// So many of the lowest pods keep the current revision.
fn partition(set: &StatefulSet) -> i32 {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.partition).unwrap_or(0)
}

fn is_on_delete(set: &StatefulSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
}

impl Work<'_> {
    fn is_wanted(&self, ordinal: i32) -> bool {
        ordinal >= self.first && ordinal - self.first < self.wanted
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod::available_after(pod, self.min_ready, self.now) == Some(Duration::ZERO)
    }

    /// Up in order, each when the one before is available; then down from the highest; then the update, likewise.
    fn order(&mut self) {
        for ordinal in self.first..self.first.saturating_add(self.wanted) {
            match self.pods.get(&ordinal).cloned() {
                None => {
                    let pod = self.new_pod(ordinal);
                    self.plan.create.push(pod);
                }
                Some(pod) if pod::is_terminal(&pod) && !pod::is_terminating(&pod) => self.plan.delete.push(pod),
                Some(pod) if pod::is_terminating(&pod) || !self.is_available(&pod) => {}
                Some(_) => continue,
            }
            if !self.parallel {
                return;
            }
        }
        let surplus: Vec<_> = self
            .pods
            .iter()
            .rev()
            .filter(|(ordinal, _)| !self.is_wanted(**ordinal))
            .map(|(_, pod)| pod.clone())
            .collect();
        for pod in &surplus {
            if !pod::is_terminating(pod) {
                self.plan.delete.push(pod.clone());
            }
            if !self.parallel {
                // The next lower one goes when this one is gone.
                return;
            }
        }
        if !is_on_delete(self.view.set) && self.plan.create.is_empty() && self.plan.delete.is_empty() {
            self.update();
        }
    }

    /// Replaces pods of another revision from the highest ordinal down, as many at once as may be unavailable.
    fn update(&mut self) {
        let rolling =
            self.view.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()?.rolling_update.as_ref());
        let most = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
            Some(IntOrString::Int(number)) => (*number).max(1),
            Some(IntOrString::String(text)) => {
                let percent: i64 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
                i32::try_from(
                    (percent * i64::from(self.wanted)).max(0).div_euclid(100)
                        + i64::from((percent * i64::from(self.wanted)) % 100 != 0),
                )
                .unwrap_or(1)
                .max(1)
            }
            None => 1,
        };
        let mut unavailable = 0;
        for ordinal in (self.first..self.first.saturating_add(self.wanted)).rev() {
            let Some(pod) = self.pods.get(&ordinal).cloned() else { continue };
            let outdated = identity::revision_of(&pod) != Some(&self.view.revisions.update);
            let out = pod::is_terminating(&pod) || !self.is_available(&pod);
            let held = ordinal - self.first < self.partition;
            if out && (pod::is_terminating(&pod) || !outdated || held) {
                unavailable += 1;
            } else if outdated && !held {
                self.plan.delete.push(pod);
                unavailable += 1;
            }
            if unavailable >= most {
                return;
            }
        }
    }

    fn new_pod(&self, ordinal: i32) -> Pod {
        let revisions = self.view.revisions;
        // Those below the partition are made anew as they were, while a rollout is held there.
        let held = ordinal - self.first < self.partition;
        let (template, name) = if held && !is_on_delete(self.view.set) {
            (&revisions.current_template, &revisions.current)
        } else {
            (&revisions.update_template, &revisions.update)
        };
        identity::new_pod(self.view.set, template, name, ordinal)
    }

    fn finish(mut self) -> Plan {
        let set = self.view.set;
        let revisions = self.view.revisions;
        let present: Vec<_> = self.pods.values().filter(|pod| !pod::is_terminal(pod)).collect();
        let count = |holds: &dyn Fn(&Pod) -> bool| {
            i32::try_from(present.iter().filter(|pod| holds(pod)).count()).unwrap_or(i32::MAX)
        };
        let of = |name: &str, pod: &Pod| identity::revision_of(pod) == Some(name) && !pod::is_terminating(pod);
        let positive = |number: i32| (number > 0).then_some(number);
        let replicas = count(&|_| true);
        let ready = count(&|pod| pod::is_ready(pod));
        let updated = count(&|pod| of(&revisions.update, pod));
        let complete = updated == self.wanted && replicas == self.wanted && ready == self.wanted;
        let current = if complete && !is_on_delete(set) { &revisions.update } else { &revisions.current };
        let before = set.status.clone().unwrap_or_default();
        let status = StatefulSetStatus {
            observed_generation: set.metadata.generation,
            replicas,
            ready_replicas: positive(ready),
            available_replicas: Some(count(&|pod| self.is_available(pod))),
            current_replicas: positive(count(&|pod| of(current, pod))),
            updated_replicas: positive(updated),
            current_revision: Some(current.clone()),
            update_revision: Some(revisions.update.clone()),
            collision_count: Some(before.collision_count.unwrap_or(0)),
            conditions: before.conditions.clone(),
        };
        self.plan.status = (set.status.is_none() || status != before).then_some(status);
        let waits = self.pods.values().filter_map(|pod| pod::available_after(pod, self.min_ready, self.now));
        if let Some(wait) = waits.filter(|wait| !wait.is_zero()).min() {
            self.plan.next = Next::After(wait);
        }
        self.plan
    }
}
