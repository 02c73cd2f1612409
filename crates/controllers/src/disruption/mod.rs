//! Says how many pods of a PodDisruptionBudget may be evicted now. Upstream: `pkg/controller/disruption`.

mod plan;

use std::sync::Arc;

use api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{Pod, ReplicationController},
    owner::controller_of,
    policy::v1::PodDisruptionBudget,
};
use apimachinery::{ObjectKey, Selector};
use informer::{
    Cache, Change, Controller, EventKind, Expectations, Next, Object as _, Reconcile, ReconcileError, Recorder, uid_of,
};
use jiff::Timestamp;
use kube::{Api, Client, api::PostParams};

use self::plan::{View, plan};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "disruption-controller",
    service_account: "disruption-controller",
    watches: &[
        Watch::of("policy", "poddisruptionbudgets"),
        Watch::of("", "pods"),
        Watch::of("", "replicationcontrollers"),
        Watch::of("apps", "deployments"),
        Watch::of("apps", "replicasets"),
        Watch::of("apps", "statefulsets"),
    ],
    rules: &[Rule::of("policy", "poddisruptionbudgets/status", &["update"]), Rule::EVENTS],
    start,
};

struct Disruption {
    client: Client,
    recorder: Recorder,
    budgets: Cache<PodDisruptionBudget>,
    pods: Cache<Pod>,
    owners: Owners,
    written: Expectations<PodDisruptionBudget>,
}

/// Who says how many pods there should be.
struct Owners {
    deployments: Cache<Deployment>,
    replica_sets: Cache<ReplicaSet>,
    stateful_sets: Cache<StatefulSet>,
    replication_controllers: Cache<ReplicationController>,
}

fn start(context: Context) {
    let budgets = context.caches.of::<PodDisruptionBudget>();
    let pods = context.caches.of::<Pod>();
    let owners = Owners {
        deployments: context.caches.of(),
        replica_sets: context.caches.of(),
        stateful_sets: context.caches.of(),
        replication_controllers: context.caches.of(),
    };
    let controller = Controller::new(
        ENTRY.name,
        Disruption {
            client: context.client,
            recorder: context.recorder,
            budgets: budgets.clone(),
            pods: pods.clone(),
            written: Expectations::new(&budgets),
            owners: Owners {
                deployments: owners.deployments.clone(),
                replica_sets: owners.replica_sets.clone(),
                stateful_sets: owners.stateful_sets.clone(),
                replication_controllers: owners.replication_controllers.clone(),
            },
        },
    );
    // A change of an owner's size changes what is expected of all budgets beside it.
    let beside = |budgets: &Cache<PodDisruptionBudget>, namespace: &str, keys: &mut Vec<ObjectKey>| {
        keys.extend(budgets.list_namespace(namespace).iter().map(|budget| budget.key()));
    };
    controller
        .workers(1)
        .watch(&budgets)
        .watch_for(&pods, {
            let budgets = budgets.clone();
            move |change, keys| budgets_of_pod(&budgets, change, keys)
        })
        .watch_for(&owners.deployments, {
            let budgets = budgets.clone();
            move |change, keys| {
                if size_changed(change, |one: &Deployment| one.spec.as_ref().and_then(|spec| spec.replicas)) {
                    beside(&budgets, &change.key.namespace, keys);
                }
            }
        })
        .watch_for(&owners.replica_sets, {
            let budgets = budgets.clone();
            move |change, keys| {
                if size_changed(change, |one: &ReplicaSet| one.spec.as_ref().and_then(|spec| spec.replicas)) {
                    beside(&budgets, &change.key.namespace, keys);
                }
            }
        })
        .watch_for(&owners.stateful_sets, {
            let budgets = budgets.clone();
            move |change, keys| {
                if size_changed(change, |one: &StatefulSet| one.spec.as_ref().and_then(|spec| spec.replicas)) {
                    beside(&budgets, &change.key.namespace, keys);
                }
            }
        })
        .watch_for(&owners.replication_controllers, move |change, keys| {
            if size_changed(change, |one: &ReplicationController| one.spec.as_ref().and_then(|spec| spec.replicas)) {
                beside(&budgets, &change.key.namespace, keys);
            }
        })
        .start(&context.supervisor);
}

fn size_changed<K>(change: &Change<K>, size: fn(&K) -> Option<i32>) -> bool {
    change.old.as_deref().map(size) != change.new.as_deref().map(size)
}

fn budgets_of_pod(budgets: &Cache<PodDisruptionBudget>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    for budget in budgets.list_namespace(&change.key.namespace) {
        let Some(selector) = selector_of(&budget) else { continue };
        let mut pods = change.old.iter().chain(&change.new);
        if pods.any(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&Default::default()))) {
            keys.push(budget.key());
        }
    }
}

/// Since policy/v1 an empty selector selects every pod of the namespace.
fn selector_of(budget: &PodDisruptionBudget) -> Option<Selector> {
    Selector::from_label_selector(budget.spec.as_ref()?.selector.as_ref()).ok()
}

impl Owners {
    /// The size a pod's topmost known controller asks for, and that controller's UID; `None` if nobody says a size.
    fn expected(&self, pod: &Pod) -> Option<(String, i32)> {
        let owner = controller_of(&pod.metadata)?;
        let key = ObjectKey::new(pod.metadata.namespace.as_deref().unwrap_or_default(), &owner.name);
        let uid = owner.uid.clone();
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.replica_sets.get(&key).filter(|set| uid_of(&**set) == uid)?;
                let above = controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                if let Some(above) = above {
                    let deployment = self.deployments.get(&ObjectKey::new(&key.namespace, &above.name))?;
                    return Some((above.uid.clone(), deployment.spec.as_ref()?.replicas.unwrap_or(1)));
                }
                Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "StatefulSet" => {
                let set = self.stateful_sets.get(&key).filter(|set| uid_of(&**set) == uid)?;
                Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "ReplicationController" => {
                let controller = self.replication_controllers.get(&key).filter(|one| uid_of(&**one) == uid)?;
                Some((uid, controller.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}

impl Reconcile for Disruption {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        let Some(budget) = self.budgets.get(key) else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&budget) else { return Ok(Next::Await) };
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&Default::default())));
        if pods.is_empty() {
            self.recorder.object(&*budget, EventKind::Normal, "NoPods", "No matching pods found");
        }
        let expected = |pod: &Arc<Pod>| self.owners.expected(pod);
        let plan = plan(&View { budget: &budget, pods: &pods, expected: &expected }, Timestamp::now());
        if let Some(why) = plan.failure {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            self.recorder.object(&*budget, EventKind::Warning, "CalculateExpectedPodCountFailed", message);
        }
        if let Some(status) = plan.status {
            let api = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), &key.namespace);
            let updated = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.written.wrote(key, &updated);
        }
        Ok(plan.next)
    }
}
