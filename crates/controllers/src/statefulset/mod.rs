//! Pods with names and volumes of their own, made and replaced in order. Upstream: `pkg/controller/statefulset`.

mod identity;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
    owner::{controller_of, controller_reference, is_controlled_by},
};
use apimachinery::{ObjectKey, Selector};
use informer::{
    Cache, Change, Controller, EventKind, Expectations, Index, Next, Object as _, Reconcile, ReconcileError, Recorder,
    reference, uid_of,
};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

use self::plan::{Revisions, View, plan};
use crate::{
    Context, Entry, Rule, Watch,
    claim::{claim, orphans},
    history::{Step, hash_of, step, surplus},
    pod_control::{PodControl, is_namespace_terminating, message_of},
};

pub(crate) const ENTRY: Entry = Entry {
    name: "statefulset-controller",
    service_account: "statefulset-controller",
    watches: &[
        Watch::of("apps", "statefulsets"),
        Watch::of("apps", "controllerrevisions"),
        Watch::of("", "pods"),
        Watch::of("", "persistentvolumeclaims"),
    ],
    rules: &[
        Rule::of("apps", "statefulsets", &["get"]),
        Rule::of("apps", "statefulsets/status", &["update"]),
        Rule::of("apps", "controllerrevisions", &["create", "update", "patch", "delete"]),
        Rule::of("", "pods", &["create", "delete", "patch", "update"]),
        Rule::of("", "persistentvolumeclaims", &["create", "get"]),
        Rule::EVENTS,
    ],
    start,
};

struct StatefulSets {
    client: Client,
    recorder: Recorder,
    sets: Cache<StatefulSet>,
    claims: Cache<PersistentVolumeClaim>,
    revisions: Index<ControllerRevision>,
    pods_by_owner: Index<Pod>,
    orphan_pods: Index<Pod>,
    written: Expectations<Pod>,
    status_written: Expectations<StatefulSet>,
    revisions_written: Expectations<ControllerRevision>,
}

fn start(context: Context) {
    let sets = context.caches.of::<StatefulSet>();
    let revisions = context.caches.of::<ControllerRevision>();
    let pods = context.caches.of::<Pod>();
    let claims = context.caches.of::<PersistentVolumeClaim>();
    let reconciler = StatefulSets {
        client: context.client,
        recorder: context.recorder,
        sets: sets.clone(),
        claims: claims.clone(),
        revisions: revisions.by_owner(),
        pods_by_owner: pods.by_owner(),
        orphan_pods: orphans(&pods),
        written: Expectations::new(&pods),
        status_written: Expectations::new(&sets),
        revisions_written: Expectations::new(&revisions),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&sets)
        .needs(&revisions)
        .needs(&claims)
        .watch_for(&pods, move |change, keys| owners_of_pod(&sets, change, keys))
        .start(&context.supervisor);
}

fn owners_of_pod(sets: &Cache<StatefulSet>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    let owners = change.old.iter().chain(&change.new).filter_map(|pod| controller_of(&pod.metadata));
    let ours = owners.filter(|owner| owner.kind == StatefulSet::KIND);
    keys.extend(ours.map(|owner| ObjectKey::new(&change.key.namespace, &owner.name)));
    let Some(pod) = change.new.as_ref().filter(|pod| controller_of(&pod.metadata).is_none()) else { return };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    for set in sets.list_namespace(&change.key.namespace) {
        if selector_of(&set).is_some_and(|selector| selector.matches(&labels)) {
            keys.push(set.key());
        }
    }
}

fn selector_of(set: &StatefulSet) -> Option<Selector> {
    let selector = Selector::from_label_selector(set.spec.as_ref().map(|spec| &spec.selector)).ok()?;
    Some(selector).filter(|selector| !selector.is_everything())
}

impl Reconcile for StatefulSets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        self.status_written.settled(key).await;
        self.revisions_written.settled(key).await;
        let Some(set) = self.sets.get(key) else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&set) else { return Ok(Next::Await) };
        // Only pods with a name of the set's are its own.
        let named = |pod: &Arc<Pod>| identity::ordinal(&set, pod).is_some();
        let owned = self.pods_by_owner.get(uid_of(&*set)).into_iter().filter(named);
        let orphans = self.orphan_pods.get(&key.namespace).into_iter().filter(named);
        let claims = claim(&set.metadata, &selector, owned.chain(orphans));
        if claims.settle(&self.client, &*set).await? {
            return Ok(Next::Await);
        }
        let Some((update, all)) = self.sync_revision(key, &set).await? else { return Ok(Next::Await) };
        let revisions = revisions_of(&set, &update, &all);
        let view = View { set: &set, pods: &claims.owned, revisions: &revisions };
        let plan = plan(&view, Timestamp::now());
        let mut outcome = Ok(());
        if set.metadata.deletion_timestamp.is_none() {
            outcome = self.carry_out(key, &set, &plan).await;
        }
        if let Some(status) = plan.status {
            let api = Api::<StatefulSet>::namespaced(self.client.clone(), &key.namespace);
            let updated = StatefulSet { status: Some(status), ..(*set).clone() };
            let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            self.status_written.wrote(key, &updated);
        }
        outcome?;
        let in_use = |revision: &ControllerRevision| {
            let name = revision.metadata.name.as_deref().unwrap_or_default();
            name == revisions.update
                || name == revisions.current
                || claims.owned.iter().any(|pod| identity::revision_of(pod) == Some(name))
        };
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        self.forget(key, surplus(&all, limit, in_use)).await?;
        Ok(plan.next)
    }
}

/// The templates that pods may have: that of the update, and the one before it while it is rolled out.
fn revisions_of(set: &StatefulSet, update: &Arc<ControllerRevision>, all: &[Arc<ControllerRevision>]) -> Revisions {
    let name = |revision: &ControllerRevision| revision.metadata.name.clone().unwrap_or_default();
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let current = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let current = all.iter().find(|revision| Some(name(revision).as_str()) == current).unwrap_or(update);
    Revisions {
        current: name(current),
        current_template: crate::history::template(current).unwrap_or_else(|| template.clone()),
        update: name(update),
        update_template: template,
    }
}

impl StatefulSets {
    async fn carry_out(
        &self,
        key: &ObjectKey,
        set: &Arc<StatefulSet>,
        plan: &plan::Plan,
    ) -> Result<(), ReconcileError> {
        let about = reference(&**set);
        let control = PodControl {
            client: &self.client,
            recorder: &self.recorder,
            written: &self.written,
            owner_key: key,
            owner: &about,
        };
        for pod in &plan.create {
            self.create_claims(key, set, pod).await?;
            self.create_pod(key, set, pod).await?;
        }
        control_delete(&control, &plan.delete, set, &self.recorder).await?;
        Ok(())
    }

    async fn create_pod(&self, key: &ObjectKey, set: &Arc<StatefulSet>, pod: &Pod) -> Result<(), ReconcileError> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), pod).await {
            Ok(created) => {
                self.written.wrote(key, &created);
                let message = format!("create Pod {name} in StatefulSet {} successful", key.name);
                self.recorder.object(&**set, EventKind::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let why = message_of(&error);
                let message = format!("create Pod {name} in StatefulSet {} failed error: {why}", key.name);
                self.recorder.object(&**set, EventKind::Warning, "FailedCreate", message);
                Err(error.into())
            }
        }
    }

    async fn create_claims(&self, key: &ObjectKey, set: &Arc<StatefulSet>, pod: &Pod) -> Result<(), ReconcileError> {
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        for claim in identity::claims_of(set, pod) {
            if self.claims.get(&claim.key()).is_some() {
                continue;
            }
            let claim_name = claim.metadata.name.clone().unwrap_or_default();
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            match api.create(&PostParams::default(), &claim).await {
                Ok(_) => {
                    let name = &key.name;
                    let message = format!("create Claim {claim_name} Pod {pod_name} in StatefulSet {name} success");
                    self.recorder.object(&**set, EventKind::Normal, "SuccessfulCreate", message);
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The revision of the present template, and all there are, oldest first.
    async fn sync_revision(
        &self,
        key: &ObjectKey,
        set: &Arc<StatefulSet>,
    ) -> Result<Option<(Arc<ControllerRevision>, Vec<Arc<ControllerRevision>>)>, ReconcileError> {
        let uid = uid_of(&**set);
        let mut all = self.revisions.get(uid);
        all.retain(|revision| is_controlled_by(&revision.metadata, uid));
        all.sort_by_key(|revision| revision.revision);
        let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let api = Api::<ControllerRevision>::namespaced(self.client.clone(), &key.namespace);
        let written = match step(&set.metadata, controller_reference(&**set), &template, collisions, &all) {
            Step::Current(revision) => return Ok(Some((revision, all))),
            Step::Renumber(revision) => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                api.replace(name, &PostParams::default(), &revision).await?
            }
            Step::Create(revision) => match api.create(&PostParams::default(), &revision).await {
                Ok(created) => created,
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let mut updated = (**set).clone();
                    let status = updated.status.get_or_insert_default();
                    status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
                    let api = Api::<StatefulSet>::namespaced(self.client.clone(), &key.namespace);
                    let updated = api.replace_status(&key.name, &PostParams::default(), &updated).await?;
                    self.status_written.wrote(key, &updated);
                    return Ok(None);
                }
                Err(error) if is_namespace_terminating(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        self.revisions_written.wrote(key, &written);
        let written = Arc::new(written);
        all.retain(|known| hash_of(known) != hash_of(&written));
        all.push(written.clone());
        Ok(Some((written, all)))
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

/// Deletes pods with this kind's words in the events.
async fn control_delete(
    control: &PodControl<'_>,
    pods: &[Arc<Pod>],
    set: &StatefulSet,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    for pod in pods {
        control.delete_quietly(pod).await?;
        let (name, set_name) =
            (pod.metadata.name.as_deref().unwrap_or_default(), set.metadata.name.as_deref().unwrap_or_default());
        let message = format!("delete Pod {name} in StatefulSet {set_name} successful");
        recorder.object(set, EventKind::Normal, "SuccessfulDelete", message);
    }
    Ok(())
}
