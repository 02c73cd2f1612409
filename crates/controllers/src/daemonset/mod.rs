//! One pod on every node that a DaemonSet selects. Upstream: `pkg/controller/daemon`.

mod failures;
mod nodes;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
    owner::{controller_of, controller_reference, is_controlled_by},
};
use apimachinery::{ObjectKey, Selector};
use futures::future::join_all;
use informer::{
    Cache, Change, Controller, Expectations, Index, Next, Object as _, Reconcile, ReconcileError, Recorder, reference,
    uid_of,
};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

use self::{
    failures::Failures,
    plan::{View, plan},
};
use crate::{
    Context, Entry, Rule, Watch,
    claim::{claim, orphans},
    history::{Step, hash_of, step, surplus},
    pod_control::PodControl,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "daemonset-controller",
    service_account: "daemon-set-controller",
    watches: &[
        Watch::of("apps", "daemonsets"),
        Watch::of("apps", "controllerrevisions"),
        Watch::of("", "pods"),
        Watch::of("", "nodes"),
    ],
    rules: &[
        Rule::of("apps", "daemonsets", &["get"]),
        Rule::of("apps", "daemonsets/status", &["update"]),
        Rule::of("apps", "controllerrevisions", &["create", "update", "patch", "delete"]),
        Rule::of("", "pods", &["create", "delete", "patch"]),
        Rule::EVENTS,
    ],
    start,
};

struct DaemonSets {
    client: Client,
    recorder: Recorder,
    daemon_sets: Cache<DaemonSet>,
    nodes: Cache<Node>,
    revisions: Index<ControllerRevision>,
    pods_by_owner: Index<Pod>,
    orphan_pods: Index<Pod>,
    written: Expectations<Pod>,
    status_written: Expectations<DaemonSet>,
    revisions_written: Expectations<ControllerRevision>,
    failures: Failures,
}

fn start(context: Context) {
    let daemon_sets = context.caches.of::<DaemonSet>();
    let revisions = context.caches.of::<ControllerRevision>();
    let pods = context.caches.of::<Pod>();
    let nodes = context.caches.of::<Node>();
    let reconciler = DaemonSets {
        client: context.client,
        recorder: context.recorder,
        daemon_sets: daemon_sets.clone(),
        nodes: nodes.clone(),
        revisions: revisions.by_owner(),
        pods_by_owner: pods.by_owner(),
        orphan_pods: orphans(&pods),
        written: Expectations::new(&pods),
        status_written: Expectations::new(&daemon_sets),
        revisions_written: Expectations::new(&revisions),
        failures: Failures::default(),
    };
    Controller::new(ENTRY.name, reconciler)
        .workers(2)
        .watch(&daemon_sets)
        .needs(&revisions)
        .watch_for(&pods, {
            let daemon_sets = daemon_sets.clone();
            move |change, keys| owners_of_pod(&daemon_sets, change, keys)
        })
        .watch_for(&nodes, move |change, keys| {
            if nodes::matters(change) {
                keys.extend(daemon_sets.list().iter().map(|set| set.key()));
            }
        })
        .start(&context.supervisor);
}

fn owners_of_pod(daemon_sets: &Cache<DaemonSet>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    let owners = change.old.iter().chain(&change.new).filter_map(|pod| controller_of(&pod.metadata));
    let ours = owners.filter(|owner| owner.kind == DaemonSet::KIND);
    keys.extend(ours.map(|owner| ObjectKey::new(&change.key.namespace, &owner.name)));
    let Some(pod) = change.new.as_ref().filter(|pod| controller_of(&pod.metadata).is_none()) else { return };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    for set in daemon_sets.list_namespace(&change.key.namespace) {
        if selector_of(&set).is_some_and(|selector| selector.matches(&labels)) {
            keys.push(set.key());
        }
    }
}

fn selector_of(set: &DaemonSet) -> Option<Selector> {
    let selector = Selector::from_label_selector(set.spec.as_ref().map(|spec| &spec.selector)).ok()?;
    Some(selector).filter(|selector| !selector.is_everything())
}

impl Reconcile for DaemonSets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        self.status_written.settled(key).await;
        self.revisions_written.settled(key).await;
        let Some(set) = self.daemon_sets.get(key) else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&set) else { return Ok(Next::Await) };
        let owned = self.pods_by_owner.get(uid_of(&*set));
        let claims = claim(&set.metadata, &selector, owned.into_iter().chain(self.orphan_pods.get(&key.namespace)));
        if claims.settle(&self.client, &*set).await? || set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Await);
        }
        let Some((hash, revisions)) = self.sync_revision(key, &set).await? else { return Ok(Next::Await) };
        let nodes = self.nodes.list();
        let now = Timestamp::now();
        let uid = uid_of(&*set);
        let hold = |node: &str| self.failures.hold(uid, node);
        let view = View { set: &set, nodes: &nodes, pods: &claims.owned, hash: &hash, hold: &hold };
        let plan = plan(&view, now);
        for pod in plan.delete.iter().filter(|pod| api::pod::phase(pod) == "Failed") {
            self.failures.note(uid, nodes::target(pod).unwrap_or_default());
        }

        let about = reference(&*set);
        let control = PodControl {
            client: &self.client,
            recorder: &self.recorder,
            written: &self.written,
            owner_key: key,
            owner: &about,
        };
        for (kind, reason, message) in &plan.events {
            self.recorder.object(&*set, *kind, reason, message.clone());
        }
        let mut outcome = control.delete_many(&plan.delete).await;
        let owner = controller_reference(&*set);
        let create =
            plan.create.iter().map(|node| nodes::pod_for(&set, owner.clone(), node, &hash)).collect::<Vec<_>>();
        for batch in create.chunks(50) {
            let created = join_all(batch.iter().map(|pod| control.create(pod))).await;
            outcome = outcome.and(created.into_iter().collect());
        }
        if let Some(status) = plan.status {
            let api = Api::<DaemonSet>::namespaced(self.client.clone(), &key.namespace);
            let updated = DaemonSet { status: Some(status), ..(*set).clone() };
            let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.status_written.wrote(key, &updated);
        }
        outcome?;
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let in_use = |revision: &ControllerRevision| {
            let of_pod = |pod: &Arc<Pod>| nodes::hash_of_pod(pod) == Some(hash_of(revision));
            hash_of(revision) == hash || claims.owned.iter().any(of_pod)
        };
        self.forget(key, surplus(&revisions, limit, in_use)).await?;
        Ok(plan.next)
    }
}

impl DaemonSets {
    /// The hash of the present template, and the revisions, oldest first; `None` if one had to be written, whose
    /// event has the set looked at again.
    async fn sync_revision(
        &self,
        key: &ObjectKey,
        set: &DaemonSet,
    ) -> Result<Option<(String, Vec<Arc<ControllerRevision>>)>, ReconcileError> {
        let uid = uid_of(set);
        let mut revisions = self.revisions.get(uid);
        revisions.retain(|revision| is_controlled_by(&revision.metadata, uid));
        revisions.sort_by_key(|revision| revision.revision);
        let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let api = Api::<ControllerRevision>::namespaced(self.client.clone(), &key.namespace);
        match step(&set.metadata, controller_reference(set), &template, collisions, &revisions) {
            Step::Current(revision) => Ok(Some((hash_of(&revision).to_owned(), revisions))),
            Step::Renumber(revision) => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                let updated = api.replace(name, &PostParams::default(), &revision).await?;
                let hash = hash_of(&updated).to_owned();
                self.revisions_written.wrote(key, &updated);
                Ok(Some((hash, revisions)))
            }
            Step::Create(revision) => match api.create(&PostParams::default(), &revision).await {
                Ok(created) => {
                    let hash = hash_of(&created).to_owned();
                    self.revisions_written.wrote(key, &created);
                    Ok(Some((hash, revisions)))
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let mut updated = set.clone();
                    let status = updated.status.get_or_insert_default();
                    status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
                    let api = Api::<DaemonSet>::namespaced(self.client.clone(), &key.namespace);
                    let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
                    self.status_written.wrote(key, &updated);
                    Ok(None)
                }
                Err(error) if crate::pod_control::is_namespace_terminating(&error) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    async fn forget(&self, key: &ObjectKey, revisions: Vec<Arc<ControllerRevision>>) -> Result<(), kube::Error> {
        let api = Api::<ControllerRevision>::namespaced(self.client.clone(), &key.namespace);
        for revision in revisions {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => self.revisions_written.deleted(key, &revision),
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
