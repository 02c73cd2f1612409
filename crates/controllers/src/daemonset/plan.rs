//! What to do for a DaemonSet; pure. Upstream: `daemon_controller.go` `manage`, `updateDaemonSetStatus` and
//! `update.go` `rollingUpdate`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::{
    IntOrString,
    apps::v1::{DaemonSet, DaemonSetStatus},
    core::v1::{Node, Pod, PodSpec},
    pod,
};
use informer::{EventKind, Next};
use jiff::Timestamp;

use super::nodes::{Wish, hash_of_pod, target, wish};

pub(super) struct View<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    /// The pods it controls.
    pub(super) pods: &'a [Arc<Pod>],
    /// The hash of its present template.
    pub(super) hash: &'a str,
    /// How long a failed pod on a node is to be left, so that one that fails at once is not made anew in a loop.
    pub(super) hold: &'a (dyn Fn(&str) -> Duration + Sync),
}

#[derive(Debug)]
pub(super) struct Plan {
    /// Nodes to create a pod for.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) events: Vec<(EventKind, &'static str, String)>,
    /// To write, if it changes.
    pub(super) status: Option<DaemonSetStatus>,
    pub(super) next: Next,
}

pub(super) fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    let empty = PodSpec::default();
    let spec = view.set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).unwrap_or(&empty);
    let mut by_node = BTreeMap::<&str, Vec<&Arc<Pod>>>::new();
    for pod in view.pods {
        if let Some(node) = target(pod) {
            by_node.entry(node).or_default().push(pod);
        }
    }
    let mut work = Work {
        view,
        min_ready: min_ready(view.set),
        now,
        plan: Plan { create: Vec::new(), delete: Vec::new(), events: Vec::new(), status: None, next: Next::Await },
        nodes: Vec::new(),
        wait: None,
    };
    for node in view.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let pods = by_node.remove(name).unwrap_or_default();
        work.manage(name, wish(spec, node), &pods);
    }
    // Pods of nodes that are gone are the pod garbage collector's.
    work.roll();
    work.finish()
}

struct Work<'a> {
    view: &'a View<'a>,
    min_ready: Duration,
    now: Timestamp,
    plan: Plan,
    nodes: Vec<OnNode>,
    wait: Option<Duration>,
}

/// What is on a node that is to run a pod or may keep one.
#[derive(Debug)]
struct OnNode {
    name: String,
    wish: Wish,
    current: Option<Arc<Pod>>,
    old: Option<Arc<Pod>>,
}

fn min_ready(set: &DaemonSet) -> Duration {
    let seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Work<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        pod::available_after(pod, self.min_ready, self.now) == Some(Duration::ZERO)
    }

    fn manage(&mut self, node: &str, wish: Wish, pods: &[&Arc<Pod>]) {
        if wish == Wish::None {
            let unwanted = pods.iter().filter(|pod| !pod::is_terminating(pod));
            self.plan.delete.extend(unwanted.map(|pod| (*pod).clone()));
            self.nodes.push(OnNode { name: node.to_owned(), wish, current: None, old: None });
            return;
        }
        let mut running: Vec<_> = Vec::new();
        let mut waits = false;
        for pod in pods {
            if pod::is_terminating(pod) {
                // Its successor comes when it has gone, or both would run at once.
                waits = true;
                continue;
            }
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let event = match pod::phase(pod) {
                "Failed" => {
                    let hold = (self.view.hold)(node);
                    if !hold.is_zero() {
                        self.wait = self.wait.into_iter().chain([hold]).min();
                        waits = true;
                        continue;
                    }
                    let message =
                        format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
                    (EventKind::Warning, "FailedDaemonPod", message)
                }
                "Succeeded" => {
                    let message =
                        format!("Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it");
                    (EventKind::Normal, "SucceededDaemonPod", message)
                }
                _ => {
                    running.push(*pod);
                    continue;
                }
            };
            self.plan.events.push(event);
            self.plan.delete.push((*pod).clone());
            waits = true;
        }
        let is_current = |pod: &Pod| hash_of_pod(pod) == Some(self.view.hash);
        // The oldest of each kind stays; while surging there may be one of each.
        running.sort_by(|a, b| {
            a.metadata
                .creation_timestamp
                .cmp(&b.metadata.creation_timestamp)
                .then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        let (mut current, mut old) = (None, None);
        for pod in running {
            let slot = if is_current(pod) { &mut current } else { &mut old };
            if slot.is_none() {
                *slot = Some(pod.clone());
            } else {
                self.plan.delete.push(pod.clone());
            }
        }
        if current.is_none() && old.is_none() && !waits && wish == Wish::Run {
            self.plan.create.push(node.to_owned());
        }
        self.nodes.push(OnNode { name: node.to_owned(), wish, current, old });
    }

    /// Replaces old pods, as many at once as may be missing or doubled.
    fn roll(&mut self) {
        let spec = self.view.set.spec.as_ref();
        let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
        let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let wanted = self.nodes.iter().filter(|node| node.wish == Wish::Run).count();
        let surge = resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted, 0);
        let unavailable = resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), wanted, 1);
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        if on_delete {
            return;
        }
        // One that is doubled while surging: the old one goes when the new one serves.
        let mut doubled = 0;
        for node in &self.nodes {
            if let (Some(current), Some(old)) = (&node.current, &node.old) {
                if self.is_available(current) {
                    self.plan.delete.push(old.clone());
                } else {
                    doubled += 1;
                }
            }
        }
        let serves =
            |node: &&OnNode| [&node.current, &node.old].into_iter().flatten().any(|pod| self.is_available(pod));
        let wished: Vec<&OnNode> = self.nodes.iter().filter(|node| node.wish == Wish::Run).collect();
        let missing = wished.iter().filter(|node| !serves(node)).count();
        let mut may_go = unavailable.saturating_sub(missing);
        let mut may_surge = surge.saturating_sub(doubled);
        for node in wished {
            let (None, Some(old)) = (&node.current, &node.old) else { continue };
            if !self.is_available(old) {
                // It serves nobody, so replacing it costs nothing.
                self.plan.delete.push(old.clone());
            } else if may_surge > 0 {
                may_surge -= 1;
                self.plan.create.push(node.name.clone());
            } else if surge == 0 && may_go > 0 {
                may_go -= 1;
                self.plan.delete.push(old.clone());
            }
        }
    }

    fn finish(mut self) -> Plan {
        let set = self.view.set;
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let (mut desired, mut scheduled, mut misscheduled, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0, 0);
        let misplaced: Vec<&str> = self.plan.delete.iter().filter_map(|pod| target(pod)).collect();
        let mut soonest = self.wait;
        for node in &self.nodes {
            // What serves is counted, whether it is old or new.
            let serving = [&node.current, &node.old]
                .into_iter()
                .flatten()
                .max_by_key(|pod| (self.is_available(pod), pod::is_ready(pod)));
            if node.wish == Wish::Run {
                desired += 1;
                let Some(pod) = serving else { continue };
                scheduled += 1;
                ready += usize::from(pod::is_ready(pod));
                available += usize::from(self.is_available(pod));
                updated += usize::from(node.current.is_some());
                let wait = pod::available_after(pod, self.min_ready, self.now).filter(|wait| !wait.is_zero());
                soonest = soonest.into_iter().chain(wait).min();
            } else if serving.is_some() || misplaced.contains(&node.name.as_str()) {
                misscheduled += 1;
            }
        }
        let before = set.status.clone().unwrap_or_default();
        let positive = |number: usize| (number > 0).then(|| count(number));
        let status = DaemonSetStatus {
            desired_number_scheduled: count(desired),
            current_number_scheduled: count(scheduled),
            number_misscheduled: count(misscheduled),
            number_ready: count(ready),
            updated_number_scheduled: positive(updated),
            number_available: positive(available),
            number_unavailable: positive(desired - available.min(desired)),
            observed_generation: set.metadata.generation,
            collision_count: before.collision_count,
            conditions: before.conditions.clone(),
        };
        self.plan.status = (set.status.is_none() || status != before).then_some(status);
        if let Some(wait) = soonest {
            self.plan.next = Next::After(wait);
        }
        self.plan
    }
}

/// A number of nodes, or a share of them, rounded up.
fn resolve(value: Option<&IntOrString>, total: usize, default: usize) -> usize {
    match value {
        None => default,
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent: usize = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
            percent.saturating_mul(total).div_ceil(100)
        }
    }
}
