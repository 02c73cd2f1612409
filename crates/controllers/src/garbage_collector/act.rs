//! Looks at one object and does what is to be done. Upstream: `garbagecollector.go` `attemptToDeleteItem`,
//! `processDeletingDependentsItem`, `attemptToOrphanWorker`.

use api::{ObjectMeta, OwnerReference};
use apimachinery::{ObjectKey, key::split_api_version};
use informer::ReconcileError;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::ApiResource,
};
use serde_json::Value;
use tracing::{debug, info};

use super::{
    Collector,
    graph::{FOREGROUND, Identity, ORPHAN, Outcome, Uid, Work, refers_to},
    patch,
};

/// The owners of an object, by what they mean for it.
#[derive(Debug, Default)]
struct Owners {
    /// There, and not waiting for their dependents to go.
    solid: Vec<String>,
    /// Not there.
    dangling: Vec<String>,
    /// Waiting for their dependents to go.
    waiting: Vec<String>,
}

impl Collector {
    pub(super) async fn handle(&self, work: &Work) -> Result<(), ReconcileError> {
        match work {
            Work::Delete(uid) => self.delete_if_due(uid).await,
            Work::Orphan(uid) => self.orphan(uid).await,
        }
    }

    /// Takes in what follows from a change of the graph.
    pub(super) fn accept(&self, outcome: Outcome) {
        for invalid in outcome.invalid {
            self.tell_invalid(&invalid.dependent, &invalid.owner);
        }
        for work in outcome.work {
            self.queue.add(work);
        }
    }

    async fn delete_if_due(&self, uid: &Uid) -> Result<(), ReconcileError> {
        let node = {
            let graph = self.graph.lock();
            if graph.is_at_rest(uid) {
                return Ok(());
            }
            graph.get(uid).cloned()
        };
        let Some(node) = node else { return Ok(()) };
        if node.being_deleted && !node.deleting_dependents {
            return Ok(());
        }
        let Some((api, latest)) = self.fetch(&node.identity, uid).await? else {
            // The watch will say the same of a real object; of one that was only referred to, nobody else does.
            let outcome = self.graph.lock().remove_virtual(uid);
            self.accept(outcome);
            return Ok(());
        };
        if node.deleting_dependents {
            return self.finish_foreground(&api, uid, &node.identity, &latest).await;
        }
        let references = latest.owner_references.clone().unwrap_or_default();
        if references.is_empty() {
            return Ok(());
        }
        let owners = self.classify(&node.identity, &references).await?;
        let name = &node.identity.key.name;
        if !owners.solid.is_empty() {
            let useless: Vec<_> = owners.dangling.iter().chain(&owners.waiting).map(String::as_str).collect();
            if !useless.is_empty() {
                debug!(object = %node.identity.key, kind = %node.identity.kind, "dropping references to owners that go");
                merge(&api, name, patch::without_owners(&latest, &useless)).await?;
            }
            return Ok(());
        }
        if !owners.waiting.is_empty() && !node.dependents.is_empty() {
            // Its own dependents go first, unless one of them waits too: two that block each other would wait forever.
            let graph_says_circle = {
                let graph = self.graph.lock();
                node.dependents.iter().any(|uid| graph.get(uid).is_some_and(|node| node.deleting_dependents))
            };
            if graph_says_circle {
                merge(&api, name, patch::unblocking(&latest)).await?;
            }
            return self.delete(&api, &node.identity, &latest, PropagationPolicy::Foreground).await;
        }
        let has = |finalizer: &str| latest.finalizers.iter().flatten().any(|known| known == finalizer);
        let policy = if has(ORPHAN) {
            PropagationPolicy::Orphan
        } else if has(FOREGROUND) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        self.delete(&api, &node.identity, &latest, policy).await
    }

    /// Lets an owner go whose blocking dependents are gone; looks at those that are not.
    async fn finish_foreground(
        &self,
        api: &Api<DynamicObject>,
        uid: &Uid,
        identity: &Identity,
        latest: &ObjectMeta,
    ) -> Result<(), ReconcileError> {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            if let Some(patch) = patch::without_finalizer(latest, FOREGROUND) {
                merge(api, &identity.key.name, patch).await?;
            }
            return Ok(());
        }
        for dependent in blocking {
            let waits = self.graph.lock().get(&dependent).is_some_and(|node| node.deleting_dependents);
            if !waits {
                self.queue.add(Work::Delete(dependent));
            }
        }
        Ok(())
    }

    /// Takes the references to an owner out of its dependents, then lets the owner go.
    async fn orphan(&self, uid: &Uid) -> Result<(), ReconcileError> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        for dependent in &node.dependents {
            let identity = self.graph.lock().get(dependent).map(|node| node.identity.clone());
            let Some(identity) = identity else { continue };
            let Some((api, latest)) = self.fetch(&identity, dependent).await? else { continue };
            if latest.owner_references.iter().flatten().any(|owner| *owner.uid == **uid) {
                merge(&api, &identity.key.name, patch::without_owners(&latest, &[uid])).await?;
            }
        }
        let Some((api, latest)) = self.fetch(&node.identity, uid).await? else { return Ok(()) };
        if let Some(patch) = patch::without_finalizer(&latest, ORPHAN) {
            merge(&api, &node.identity.key.name, patch).await?;
        }
        Ok(())
    }

    async fn classify(&self, dependent: &Identity, references: &[OwnerReference]) -> Result<Owners, ReconcileError> {
        let mut owners = Owners::default();
        for reference in references {
            let known = {
                let graph = self.graph.lock();
                graph.get(&reference.uid).filter(|node| !node.is_virtual).map(|node| {
                    (refers_to(reference, &node.identity, &dependent.key.namespace), node.deleting_dependents)
                })
            };
            // What the graph has seen need not be asked for; what it has not seen may still be there.
            let waiting = match known {
                Some((true, waiting)) => Some(waiting),
                _ => self.ask_for_owner(dependent, reference).await?,
            };
            let uid = reference.uid.clone();
            match waiting {
                None => owners.dangling.push(uid),
                Some(true) => owners.waiting.push(uid),
                Some(false) => owners.solid.push(uid),
            }
        }
        Ok(owners)
    }

    /// Whether an owner waits for its dependents; `None` if there is no such owner.
    async fn ask_for_owner(
        &self,
        dependent: &Identity,
        reference: &OwnerReference,
    ) -> Result<Option<bool>, ReconcileError> {
        let (group, _) = split_api_version(&reference.api_version);
        let Some(served) = self.feeds.resolve(group, &reference.kind) else {
            // Not knowing a kind is no proof that its objects are gone.
            let kind = format!("{} {}", reference.api_version, reference.kind);
            return Err(ReconcileError::other(format!("no resource is known for owners of kind {kind}")));
        };
        if served.namespaced && dependent.key.namespace.is_empty() {
            // A cluster-scoped object cannot have an owner in a namespace. That is told, and nothing is deleted.
            return Ok(Some(false));
        }
        let namespace = if served.namespaced { dependent.key.namespace.as_str() } else { "" };
        let api = self.api(&served.resource, namespace);
        let found = api.get_metadata_opt(&reference.name).await?;
        let found = found.filter(|found| found.metadata.uid.as_deref() == Some(&reference.uid));
        Ok(found.map(|owner| patch::is_waiting_for_dependents(&owner.metadata)))
    }

    /// The object as the server has it; `None` if it is gone, or another one has its name.
    async fn fetch(
        &self,
        identity: &Identity,
        uid: &str,
    ) -> Result<Option<(Api<DynamicObject>, ObjectMeta)>, ReconcileError> {
        let Some(served) = self.feeds.resolve(&identity.group, &identity.kind) else {
            let kind = &identity.kind;
            return Err(ReconcileError::other(format!("no resource is known for objects of kind {kind}")));
        };
        let namespace = if served.namespaced { identity.key.namespace.as_str() } else { "" };
        if served.namespaced && namespace.is_empty() {
            return Ok(None);
        }
        let api = self.api(&served.resource, namespace);
        let found = api.get_metadata_opt(&identity.key.name).await?;
        let found = found.filter(|found| found.metadata.uid.as_deref() == Some(uid));
        Ok(found.map(|found| (api, found.metadata)))
    }

    fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, resource)
        }
    }

    async fn delete(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        latest: &ObjectMeta,
        policy: PropagationPolicy,
    ) -> Result<(), ReconcileError> {
        info!(object = %identity.key, kind = %identity.kind, ?policy, "deleting, its owners are gone");
        // The revision too: an owner may have been given to it since it was looked at.
        let preconditions =
            Preconditions { uid: latest.uid.clone(), resource_version: latest.resource_version.clone() };
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        match api.delete(&identity.key.name, &params.preconditions(preconditions)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    fn tell_invalid(&self, dependent: &Uid, owner: &OwnerReference) {
        let Some(identity) = self.graph.lock().get(dependent).map(|node| node.identity.clone()) else { return };
        let ObjectKey { namespace, name } = identity.key;
        let api_version = self
            .feeds
            .resolve(&identity.group, &identity.kind)
            .map_or_else(String::new, |served| served.resource.api_version);
        let about = api::core::v1::ObjectReference {
            api_version: Some(api_version),
            kind: Some(identity.kind.to_string()),
            name: Some(name),
            namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid: Some(dependent.to_string()),
            ..Default::default()
        };
        let reference = format!(
            "[{}/{}, namespace: {namespace}, name: {}, uid: {}]",
            owner.api_version, owner.kind, owner.name, owner.uid
        );
        let message = format!("ownerRef {reference} does not exist in namespace {namespace:?}");
        self.recorder.event(&about, informer::EventKind::Warning, "OwnerRefInvalidNamespace", message);
    }
}

async fn merge(api: &Api<DynamicObject>, name: &str, patch: Value) -> Result<(), ReconcileError> {
    match api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}
