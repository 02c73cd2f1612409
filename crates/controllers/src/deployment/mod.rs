//! Rolls out pod templates by ReplicaSets. Upstream: `pkg/controller/deployment`.

mod plan;
mod progress;
mod recreate;
mod revision;
mod rolling;
mod scale;
mod status;
#[cfg(test)]
mod tests;

use api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
    owner::{controller_of, is_controlled_by},
    pod_template::equal_ignoring_hash,
};
use apimachinery::{ObjectKey, Selector};
use informer::{
    Cache, Change, Controller, EventKind, Expectations, Index, Next, Reconcile, ReconcileError, Recorder, uid_of,
};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};
use tracing::{info, warn};

use self::plan::{Action, View, plan};
use crate::{
    Context, Entry, Rule, Watch,
    claim::{claim, orphans},
    pod_control::{is_namespace_terminating, message_of},
};

pub(crate) const ENTRY: Entry = Entry {
    name: "deployment-controller",
    service_account: "deployment-controller",
    watches: &[Watch::of("apps", "deployments"), Watch::of("apps", "replicasets"), Watch::of("", "pods")],
    rules: &[
        Rule::of("apps", "deployments", &["get"]),
        Rule::of("apps", "deployments/status", &["update"]),
        Rule::of("apps", "replicasets", &["create", "update", "patch", "delete"]),
        Rule::EVENTS,
    ],
    start,
};

struct Deployments {
    client: Client,
    recorder: Recorder,
    deployments: Cache<Deployment>,
    replica_sets_by_owner: Index<ReplicaSet>,
    orphan_replica_sets: Index<ReplicaSet>,
    pods_by_owner: Index<Pod>,
    written: Expectations<ReplicaSet>,
    status_written: Expectations<Deployment>,
}

/// Whether the rest of a plan is still to be carried out.
#[derive(PartialEq, Eq)]
enum Progress {
    Go,
    Stop,
}

/// What the creation of a ReplicaSet came to.
enum Created {
    Yes(Box<ReplicaSet>),
    /// There is one of that name, for another template or another owner.
    Collision,
    NamespaceTerminating,
}

fn start(context: Context) {
    let deployments = context.caches.of::<Deployment>();
    let replica_sets = context.caches.of::<ReplicaSet>();
    let pods = context.caches.of::<Pod>();
    let reconciler = Deployments {
        client: context.client,
        recorder: context.recorder,
        deployments: deployments.clone(),
        replica_sets_by_owner: replica_sets.by_owner(),
        orphan_replica_sets: orphans(&replica_sets),
        pods_by_owner: pods.by_owner(),
        written: Expectations::new(&replica_sets),
        status_written: Expectations::new(&deployments),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch(&deployments)
        .watch_for(&replica_sets, {
            let deployments = deployments.clone();
            move |change, keys| owners_of_replica_set(&deployments, change, keys)
        })
        .watch_for(&pods, {
            let (deployments, replica_sets) = (deployments.clone(), replica_sets.clone());
            move |change, keys| recreating_owner_of_pod(&deployments, &replica_sets, change, keys)
        })
        .start(&context.supervisor);
}

fn owners_of_replica_set(deployments: &Cache<Deployment>, change: &Change<ReplicaSet>, keys: &mut Vec<ObjectKey>) {
    for replica_set in change.old.iter().chain(&change.new) {
        if let Some(owner) = controller_of(&replica_set.metadata)
            && owner.kind == Deployment::KIND
        {
            keys.push(ObjectKey::new(&change.key.namespace, &owner.name));
        }
    }
    let Some(orphan) = change.new.as_ref().filter(|replica_set| controller_of(&replica_set.metadata).is_none()) else {
        return;
    };
    let labels = orphan.metadata.labels.clone().unwrap_or_default();
    for deployment in deployments.list_namespace(&change.key.namespace) {
        if selector_of(&deployment).is_some_and(|selector| selector.matches(&labels)) {
            keys.push(ObjectKey::new(&change.key.namespace, deployment.metadata.name.as_deref().unwrap_or_default()));
        }
    }
}

/// A Recreate rollout goes on when the last of the old pods is gone; ReplicaSets tell of all else about pods.
fn recreating_owner_of_pod(
    deployments: &Cache<Deployment>,
    replica_sets: &Cache<ReplicaSet>,
    change: &Change<Pod>,
    keys: &mut Vec<ObjectKey>,
) {
    let ended = |pod: &Pod| api::pod::is_terminal(pod);
    let over = change.new.as_ref().is_none_or(|pod| ended(pod)) && change.old.is_some();
    let Some(pod) = change.old.as_ref().filter(|_| over) else { return };
    let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == ReplicaSet::KIND) else { return };
    let replica_set = replica_sets.get(&ObjectKey::new(&change.key.namespace, &owner.name));
    let Some(replica_set) = replica_set.filter(|replica_set| uid_of(&**replica_set) == owner.uid) else { return };
    let Some(owner) = controller_of(&replica_set.metadata) else { return };
    let key = ObjectKey::new(&change.key.namespace, &owner.name);
    if deployments.get(&key).is_some_and(|deployment| plan::is_recreate(&deployment)) {
        keys.push(key);
    }
}

fn selector_of(deployment: &Deployment) -> Option<Selector> {
    let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
    match Selector::from_label_selector(selector) {
        Ok(selector) => Some(selector).filter(|selector| !selector.is_everything()),
        Err(error) => {
            warn!(error = ?error, "selector of a deployment cannot be read");
            None
        }
    }
}

impl Reconcile for Deployments {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        self.status_written.settled(key).await;
        let Some(deployment) = self.deployments.get(key) else { return Ok(Next::Await) };
        let Some(selector) = selector_of(&deployment) else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.object(&*deployment, EventKind::Warning, "SelectingAll", message);
            self.observe(key, &deployment).await?;
            return Ok(Next::Await);
        };
        let owned = self.replica_sets_by_owner.get(uid_of(&*deployment));
        let orphans = self.orphan_replica_sets.get(&key.namespace);
        let claims = claim(&deployment.metadata, &selector, owned.into_iter().chain(orphans));
        if claims.settle(&self.client, &*deployment).await? {
            return Ok(Next::Await);
        }
        let mut pods = Vec::new();
        if plan::is_recreate(&deployment) {
            for replica_set in &claims.owned {
                let uid = uid_of(&**replica_set);
                pods.extend(self.pods_by_owner.get(uid).into_iter().filter(|pod| is_controlled_by(&pod.metadata, uid)));
            }
        }
        let now = Timestamp::now();
        let view = View { deployment: &deployment, replica_sets: claims.owned, pods };
        let plan = plan(view, now);
        for action in plan.actions {
            if self.run(key, &deployment, action, now).await? == Progress::Stop {
                return Ok(Next::Await);
            }
        }
        if let Some(updated) = plan.updated {
            self.write_status(key, &updated).await?;
        }
        Ok(plan.next)
    }
}

impl Deployments {
    async fn run(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        action: Action,
        now: Timestamp,
    ) -> Result<Progress, ReconcileError> {
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
        match action {
            Action::Create(replica_set) => return self.create(key, deployment, &replica_set, now).await,
            Action::Update(replica_set) => {
                let name = replica_set.metadata.name.as_deref().unwrap_or_default();
                let updated = api.replace(name, &PostParams::default(), &replica_set).await?;
                self.written.wrote(key, &updated);
            }
            Action::Delete(replica_set) => {
                let name = replica_set.metadata.name.as_deref().unwrap_or_default();
                // The revision too: one that was scaled up meanwhile by somebody else is not to be lost.
                let preconditions = Preconditions {
                    uid: replica_set.metadata.uid.clone(),
                    resource_version: replica_set.metadata.resource_version.clone(),
                };
                match api.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
                    Ok(_) => self.written.deleted(key, &replica_set),
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Action::Event(kind, reason, message) => self.recorder.object(deployment, kind, reason, message),
        }
        Ok(Progress::Go)
    }

    async fn create(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        replica_set: &ReplicaSet,
        now: Timestamp,
    ) -> Result<Progress, ReconcileError> {
        let name = replica_set.metadata.name.as_deref().unwrap_or_default();
        match self.try_create(key, deployment, replica_set).await {
            Ok(Created::Yes(created)) => {
                self.written.wrote(key, &created);
                Ok(Progress::Go)
            }
            // Nothing can be created any more, and the Deployment goes too.
            Ok(Created::NamespaceTerminating) => Ok(Progress::Stop),
            Ok(Created::Collision) => {
                info!(deployment = %key, replica_set = name, "hash collision, counting up");
                self.write_status(key, &plan::collided(deployment)).await?;
                Err(ReconcileError::other(format!("replica set {name} exists for another template")))
            }
            Err(error) => {
                let message = format!("Failed to create new replica set {name:?}: {}", message_of(&error));
                if let Some(failed) = plan::creation_failed(deployment, &message, now) {
                    self.write_status(key, &failed).await?;
                }
                self.recorder.object(deployment, EventKind::Warning, "ReplicaSetCreateError", message);
                Err(error.into())
            }
        }
    }

    async fn try_create(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        replica_set: &ReplicaSet,
    ) -> Result<Created, kube::Error> {
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), replica_set).await {
            Ok(created) => Ok(Created::Yes(Box::new(created))),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let existing = api.get(replica_set.metadata.name.as_deref().unwrap_or_default()).await?;
                let ours = is_controlled_by(&existing.metadata, uid_of(deployment));
                let template = |replica_set: &ReplicaSet| {
                    replica_set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
                };
                let same = equal_ignoring_hash(&template(&existing), &template(replica_set));
                Ok(if ours && same { Created::Yes(Box::new(existing)) } else { Created::Collision })
            }
            Err(error) if is_namespace_terminating(&error) => Ok(Created::NamespaceTerminating),
            Err(error) => Err(error),
        }
    }

    async fn observe(&self, key: &ObjectKey, deployment: &Deployment) -> Result<(), kube::Error> {
        let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
        if observed >= deployment.metadata.generation {
            return Ok(());
        }
        let mut updated = deployment.clone();
        updated.status.get_or_insert_default().observed_generation = deployment.metadata.generation;
        self.write_status(key, &updated).await
    }

    async fn write_status(&self, key: &ObjectKey, updated: &Deployment) -> Result<(), kube::Error> {
        let api = Api::<Deployment>::namespaced(self.client.clone(), &key.namespace);
        let updated = api.replace_status(&key.name, &PostParams::default(), updated).await?;
        self.status_written.wrote(key, &updated);
        Ok(())
    }
}
