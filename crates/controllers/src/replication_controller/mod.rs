//! ReplicationControllers: by the same plan as ReplicaSets, of which they are the elder form. Upstream:
//! `pkg/controller/replication`, which converts just so.

use std::sync::Arc;

use api::{
    LabelSelector,
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus},
    core::v1::{Pod, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus},
    owner::{controller_of, controller_reference},
};
use apimachinery::{ObjectKey, Selector};
use informer::{
    Cache, Change, Controller, Expectations, Index, Next, Reconcile, ReconcileError, Recorder, reference, uid_of,
};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use kube::{Api, Client, api::PostParams};

use crate::{
    Context, Entry, Rule, Watch,
    claim::{claim, orphans},
    pod_control::{PodControl, pod_from_template},
    replicaset::plan::{Scale, View, plan},
};

pub(crate) const ENTRY: Entry = Entry {
    name: "replicationcontroller-controller",
    service_account: "replication-controller",
    watches: &[Watch::of("", "replicationcontrollers"), Watch::of("", "pods")],
    rules: &[
        Rule::of("", "replicationcontrollers", &["get"]),
        Rule::of("", "replicationcontrollers/status", &["update"]),
        Rule::of("", "pods", &["create", "delete", "patch"]),
        Rule::EVENTS,
    ],
    start,
};

struct ReplicationControllers {
    client: Client,
    recorder: Recorder,
    controllers: Cache<ReplicationController>,
    pods_by_owner: Index<Pod>,
    orphan_pods: Index<Pod>,
    written: Expectations<Pod>,
    status_written: Expectations<ReplicationController>,
}

fn start(context: Context) {
    let controllers = context.caches.of::<ReplicationController>();
    let pods = context.caches.of::<Pod>();
    let reconciler = ReplicationControllers {
        client: context.client,
        recorder: context.recorder,
        controllers: controllers.clone(),
        pods_by_owner: pods.by_owner(),
        orphan_pods: orphans(&pods),
        written: Expectations::new(&pods),
        status_written: Expectations::new(&controllers),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&controllers)
        .watch_for(&pods, move |change, keys| owners_of_pod(&controllers, change, keys))
        .start(&context.supervisor);
}

fn owners_of_pod(controllers: &Cache<ReplicationController>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    let owners = change.old.iter().chain(&change.new).filter_map(|pod| controller_of(&pod.metadata));
    let ours = owners.filter(|owner| owner.kind == ReplicationController::KIND);
    keys.extend(ours.map(|owner| ObjectKey::new(&change.key.namespace, &owner.name)));
    let Some(pod) = change.new.as_ref().filter(|pod| controller_of(&pod.metadata).is_none()) else { return };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    for controller in controllers.list_namespace(&change.key.namespace) {
        if selector_of(&controller).is_some_and(|selector| selector.matches(&labels)) {
            keys.push(ObjectKey::new(&change.key.namespace, controller.metadata.name.as_deref().unwrap_or_default()));
        }
    }
}

fn selector_of(controller: &ReplicationController) -> Option<Selector> {
    let labels = controller.spec.as_ref()?.selector.as_ref().filter(|labels| !labels.is_empty())?;
    Some(Selector::from_set(labels))
}

/// The same wish as a ReplicaSet.
fn as_replica_set(controller: &ReplicationController) -> ReplicaSet {
    let spec = controller.spec.clone().unwrap_or_default();
    let status = controller.status.clone().unwrap_or_default();
    let conditions = status.conditions.map(|conditions| {
        conditions
            .into_iter()
            .map(|condition| ReplicaSetCondition {
                type_: condition.type_,
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
                last_transition_time: condition.last_transition_time,
            })
            .collect()
    });
    ReplicaSet {
        metadata: controller.metadata.clone(),
        spec: Some(ReplicaSetSpec {
            replicas: spec.replicas,
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
            template: spec.template,
        }),
        status: Some(ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions,
            // This kind has no such field: the plan's count must not look like a change of it.
            terminating_replicas: None,
        }),
    }
}

fn status_from(status: ReplicaSetStatus) -> ReplicationControllerStatus {
    let conditions = status.conditions.map(|conditions| {
        conditions
            .into_iter()
            .map(|condition| ReplicationControllerCondition {
                type_: condition.type_,
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
                last_transition_time: condition.last_transition_time,
            })
            .collect()
    });
    ReplicationControllerStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        observed_generation: status.observed_generation,
        conditions,
    }
}

impl Reconcile for ReplicationControllers {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        self.status_written.settled(key).await;
        let Some(controller) = self.controllers.get(key) else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&controller) else { return Ok(Next::Await) };
        let owned = self.pods_by_owner.get(uid_of(&*controller));
        let candidates = owned.into_iter().chain(self.orphan_pods.get(&key.namespace));
        let claims = claim(&controller.metadata, &selector, candidates);
        if claims.settle(&self.client, &*controller).await? {
            return Ok(Next::Await);
        }
        let replica_set = as_replica_set(&controller);
        let now = Timestamp::now();
        let plan = plan(&View { replica_set: &replica_set, pods: &claims.owned, related: &claims.owned }, now);
        let scaled = self.scale(key, &controller, &plan.scale).await;
        if let Some(status) = plan.status(scaled.as_ref().err(), now) {
            let status = status_from(ReplicaSetStatus { terminating_replicas: None, ..status });
            if controller.status.as_ref() != Some(&status) {
                let api = Api::<ReplicationController>::namespaced(self.client.clone(), &key.namespace);
                let updated = ReplicationController { status: Some(status), ..(*controller).clone() };
                let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
                self.status_written.wrote(key, &updated);
            }
        }
        scaled?;
        Ok(plan.next)
    }
}

impl ReplicationControllers {
    async fn scale(
        &self,
        key: &ObjectKey,
        controller: &Arc<ReplicationController>,
        scale: &Scale,
    ) -> Result<(), kube::Error> {
        let about = reference(&**controller);
        let control = PodControl {
            client: &self.client,
            recorder: &self.recorder,
            written: &self.written,
            owner_key: key,
            owner: &about,
        };
        match scale {
            Scale::Nothing => Ok(()),
            Scale::Create(count) => {
                let template = controller.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
                let owner = controller_reference(&**controller);
                control.create_many(&pod_from_template(&template, &key.name, &key.namespace, owner), *count).await
            }
            Scale::Delete(pods) => control.delete_many(pods).await,
        }
    }
}
