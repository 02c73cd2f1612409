//! Keeps as many pods as a ReplicaSet asks for. Upstream: `pkg/controller/replicaset`.

pub(crate) mod plan;
mod rank;
#[cfg(test)]
mod tests;

use api::{
    apps::v1::ReplicaSet,
    core::v1::Pod,
    owner::{controller_of, controller_reference},
};
use apimachinery::{ObjectKey, Selector};
use informer::{
    Cache, Change, Controller, Expectations, Index, Next, Reconcile, ReconcileError, Recorder, reference, uid_of,
};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use kube::{Api, Client, api::PostParams};
use tracing::warn;

use self::plan::{Scale, View, plan};
use crate::{
    Context, Entry, Rule, Watch,
    claim::{claim, orphans},
    pod_control::{PodControl, pod_from_template},
};

pub(crate) const ENTRY: Entry = Entry {
    name: "replicaset-controller",
    service_account: "replicaset-controller",
    watches: &[Watch::of("apps", "replicasets"), Watch::of("", "pods")],
    rules: &[
        Rule::of("apps", "replicasets", &["get"]),
        Rule::of("apps", "replicasets/status", &["update"]),
        Rule::of("", "pods", &["create", "delete", "patch"]),
        Rule::EVENTS,
    ],
    start,
};

struct ReplicaSets {
    client: Client,
    recorder: Recorder,
    replica_sets: Cache<ReplicaSet>,
    replica_sets_by_owner: Index<ReplicaSet>,
    pods_by_owner: Index<Pod>,
    orphan_pods: Index<Pod>,
    written: Expectations<Pod>,
    status_written: Expectations<ReplicaSet>,
}

fn start(context: Context) {
    let replica_sets = context.caches.of::<ReplicaSet>();
    let pods = context.caches.of::<Pod>();
    let reconciler = ReplicaSets {
        client: context.client,
        recorder: context.recorder,
        replica_sets_by_owner: replica_sets.by_owner(),
        pods_by_owner: pods.by_owner(),
        orphan_pods: orphans(&pods),
        written: Expectations::new(&pods),
        status_written: Expectations::new(&replica_sets),
        replica_sets: replica_sets.clone(),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&replica_sets)
        .watch_for(&pods, {
            let replica_sets = replica_sets.clone();
            move |change, keys| owners_of_pod(&replica_sets, change, keys)
        })
        .start(&context.supervisor);
}

/// The ReplicaSet that controls the pod or did so before; for an orphan, those that may adopt it.
fn owners_of_pod(replica_sets: &Cache<ReplicaSet>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    for pod in change.old.iter().chain(&change.new) {
        if let Some(owner) = controller_of(&pod.metadata)
            && owner.kind == ReplicaSet::KIND
        {
            keys.push(ObjectKey::new(&change.key.namespace, &owner.name));
        }
    }
    let Some(pod) = change.new.as_ref().filter(|pod| controller_of(&pod.metadata).is_none()) else { return };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    for replica_set in replica_sets.list_namespace(&change.key.namespace) {
        if selector_of(&replica_set).is_some_and(|selector| selector.matches(&labels)) {
            keys.push(ObjectKey::new(&change.key.namespace, replica_set.metadata.name.as_deref().unwrap_or_default()));
        }
    }
}

/// Validation allows no selector that cannot be read, and none that selects everything.
fn selector_of(replica_set: &ReplicaSet) -> Option<Selector> {
    let selector = replica_set.spec.as_ref().map(|spec| &spec.selector);
    match Selector::from_label_selector(selector) {
        Ok(selector) if !selector.is_everything() => Some(selector),
        Ok(_) => None,
        Err(error) => {
            warn!(error = ?error, "selector of a replica set cannot be read");
            None
        }
    }
}

impl Reconcile for ReplicaSets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        self.status_written.settled(key).await;
        let Some(replica_set) = self.replica_sets.get(key) else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&replica_set) else { return Ok(Next::Await) };
        let owned = self.pods_by_owner.get(uid_of(&*replica_set));
        let claims =
            claim(&replica_set.metadata, &selector, owned.into_iter().chain(self.orphan_pods.get(&key.namespace)));
        if claims.settle(&self.client, &*replica_set).await? {
            return Ok(Next::Await);
        }
        let mut related = Vec::new();
        if let Some(owner) = controller_of(&replica_set.metadata) {
            for sibling in self.replica_sets_by_owner.get(&owner.uid) {
                related.extend(self.pods_by_owner.get(uid_of(&*sibling)));
            }
        }
        let now = Timestamp::now();
        let view = View { replica_set: &replica_set, pods: &claims.owned, related: &related };
        let plan = plan(&view, now);

        let about = reference(&*replica_set);
        let control = PodControl {
            client: &self.client,
            recorder: &self.recorder,
            written: &self.written,
            owner_key: key,
            owner: &about,
        };
        let scaled = match &plan.scale {
            Scale::Nothing => Ok(()),
            Scale::Create(count) => {
                let template = replica_set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
                let owner = controller_reference(&*replica_set);
                control.create_many(&pod_from_template(&template, &key.name, &key.namespace, owner), *count).await
            }
            Scale::Delete(pods) => control.delete_many(pods).await,
        };
        if let Some(status) = plan.status(scaled.as_ref().err(), now) {
            let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
            let mut updated = (*replica_set).clone();
            updated.status = Some(status);
            let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.status_written.wrote(key, &updated);
        }
        scaled?;
        Ok(plan.next)
    }
}
