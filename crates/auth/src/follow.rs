//! Keeps the authorizers in step with the store: what is stored first, then every change as it happens.
//!
//! An index is behind a write by the time of one task switch. Whoever has seen a write and acts on it at once may be
//! asked about before that: `Freshness` lets a decision wait for the index instead of refusing what is allowed.
//! Upstream's informers are behind by a watch's delay, and its clients retry.

use std::{collections::HashSet, sync::Arc, time::Duration};

use api::{
    core::v1::{PersistentVolume, Pod},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    resource::v1::ResourceSlice,
    storage::v1::VolumeAttachment,
};
use engine::Revision;
use registry::Object;
use store::{Filter, Key, Resource, Store};
use supervisor::Supervisor;
use tokio::sync::watch;
use tracing::{debug, error, warn};

use crate::{NodeAuthorizer, Rbac};

/// Longest that a decision waits for an index.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How far the indexes of an authorizer are, compared with what is stored.
#[derive(Default)]
pub(crate) struct Freshness(Vec<Progress>);

/// How far one index is.
struct Progress {
    resource: Resource,
    applied: watch::Receiver<Revision>,
}

/// Fills both authorizers from the store and follows it from there. They are complete when this returns.
pub fn follow(store: &Store, rbac: &Arc<Rbac>, nodes: &Arc<NodeAuthorizer>, supervisor: &Supervisor) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let resource = |plural: &str| store.resource(&format!("{plural}.{GROUP}"));
    let mut fresh = Vec::new();
    let index = rbac.clone();
    fresh.push(start(resource("clusterroles"), supervisor, move |key, object: Option<ClusterRole>| {
        index.set_cluster_role(key.name(), object);
    }));
    let index = rbac.clone();
    fresh.push(start(resource("roles"), supervisor, move |key, object: Option<Role>| {
        index.set_namespaced_role(key.namespace(), key.name(), object);
    }));
    let index = rbac.clone();
    fresh.push(start(resource("clusterrolebindings"), supervisor, move |key, object: Option<ClusterRoleBinding>| {
        index.set_cluster_role_binding(key.name(), object);
    }));
    let index = rbac.clone();
    fresh.push(start(resource("rolebindings"), supervisor, move |key, object: Option<RoleBinding>| {
        index.set_role_binding(key.namespace(), key.name(), object);
    }));
    rbac.set_freshness(Freshness(fresh));

    let mut fresh = Vec::new();
    let index = nodes.clone();
    fresh.push(start(store.resource("pods"), supervisor, move |key, object: Option<Pod>| {
        index.set_pod(key.namespace(), key.name(), object.as_ref());
    }));
    let index = nodes.clone();
    fresh.push(start(store.resource("persistentvolumes"), supervisor, move |key, object: Option<PersistentVolume>| {
        index.set_volume(key.name(), object.as_ref());
    }));
    let index = nodes.clone();
    let attachments = store.resource("volumeattachments.storage.k8s.io");
    fresh.push(start(attachments, supervisor, move |key, object: Option<VolumeAttachment>| {
        index.set_attachment(key.name(), object.as_ref());
    }));
    let index = nodes.clone();
    let slices = store.resource("resourceslices.resource.k8s.io");
    fresh.push(start(slices, supervisor, move |key, object: Option<ResourceSlice>| {
        index.set_resource_slice(key.name(), object.as_ref());
    }));
    nodes.set_freshness(Freshness(fresh));
}

fn start<T: Object>(
    resource: Resource,
    supervisor: &Supervisor,
    apply: impl Fn(&Key, Option<T>) + Send + Sync + 'static,
) -> Progress {
    let mut known = HashSet::new();
    let revision = load(&resource, &mut known, &apply);
    let (applied, seen) = watch::channel(revision);
    let progress = Progress { resource: resource.clone(), applied: seen };
    supervisor.spawn("authorizer index", async move {
        let mut from = revision;
        loop {
            let lost = match resource.watch(from, Filter::all()) {
                Ok(mut watch) => apply_changes(&mut watch, from, &mut known, &apply, &applied).await,
                Err(lost) => lost,
            };
            if matches!(lost, store::WatchError::Closed) {
                return;
            }
            debug!(%lost, "reading the authorizer index anew");
            from = load(&resource, &mut known, &apply);
            applied.send_replace(from);
        }
    });
    progress
}

/// Applies changes for as long as the watch lasts. A revision is announced once all its changes are applied: several
/// objects may have been changed by one write.
async fn apply_changes<T: Object>(
    watch: &mut store::Watch,
    from: Revision,
    known: &mut HashSet<Key>,
    apply: &impl Fn(&Key, Option<T>),
    applied: &watch::Sender<Revision>,
) -> store::WatchError {
    let mut last = from;
    loop {
        let event = match watch.try_next() {
            Ok(Some(event)) => event,
            Ok(None) => {
                applied.send_replace(last);
                match watch.next().await {
                    Ok(event) => event,
                    Err(lost) => return lost,
                }
            }
            Err(lost) => return lost,
        };
        if event.revision() > last {
            applied.send_replace(last);
            last = event.revision();
        }
        if event.kind() == store::EventKind::Deleted {
            known.remove(event.key());
            apply(event.key(), None);
        } else {
            known.insert(event.key().clone());
            apply(event.key(), decode(event.entry().bytes()));
        }
    }
}

/// Everything that is stored now; what was known and is there no more is taken back.
fn load<T: Object>(resource: &Resource, known: &mut HashSet<Key>, apply: &impl Fn(&Key, Option<T>)) -> Revision {
    let snapshot = resource.snapshot();
    let mut found = HashSet::new();
    for entry in snapshot.iter() {
        apply(entry.key(), decode(entry.bytes()));
        found.insert(entry.key().clone());
    }
    for gone in known.difference(&found) {
        apply(gone, None);
    }
    *known = found;
    snapshot.revision()
}

/// What cannot be read grants nothing.
fn decode<T: Object>(bytes: &[u8]) -> Option<T> {
    apimachinery::json::without_owners(bytes).inspect_err(|error| error!(%error, "stored object does not decode")).ok()
}

// === impl Freshness ===

impl Freshness {
    /// Returns once the indexes have everything that was stored when it was asked; whether it had to wait. Costs a few
    /// loads where there is nothing to wait for.
    pub(crate) async fn catch_up(&self) -> bool {
        let mut waited = false;
        for progress in &self.0 {
            let wanted = progress.resource.changed();
            if *progress.applied.borrow() >= wanted {
                continue;
            }
            waited = true;
            let mut applied = progress.applied.clone();
            let wait = applied.wait_for(|revision| *revision >= wanted);
            if tokio::time::timeout(LONGEST_WAIT, wait).await.is_err() {
                warn!(resource = progress.resource.name(), "the authorizer's index is behind");
            }
        }
        waited
    }
}

#[cfg(test)]
mod tests {
    use registry::{
        UserInfo,
        auth::{Attributes, Authorizer as _},
    };
    use store::{Expect, StoreOptions, Template, Txn};

    use super::*;

    fn get_secret() -> Attributes {
        Attributes {
            user: Arc::new(UserInfo::new("system:node:a", ["system:nodes"])),
            verb: "get".into(),
            namespace: "default".into(),
            resource: "secrets".into(),
            name: "s".into(),
            is_resource_request: true,
            ..Attributes::default()
        }
    }

    /// One thread and no pause between the write and the question: the index's task cannot have run by then.
    #[tokio::test]
    async fn what_was_written_just_now_counts() {
        let store = Store::open(engine::memory::Memory::new(), StoreOptions::default()).unwrap();
        let (rbac, nodes, supervisor) = (Arc::new(Rbac::new()), Arc::new(NodeAuthorizer::new()), Supervisor::new());
        follow(&store, &rbac, &nodes, &supervisor);
        assert!(!nodes.authorize(&get_secret()).await.is_allowed());
        let pods = store.resource("pods");
        for round in 0..20 {
            let key = Key::new("default", &format!("p{round}")).unwrap();
            let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"","namespace":"default"},
                "spec":{"nodeName":"a","containers":[],"volumes":[{"name":"v","secret":{"secretName":"s"}}]}}"#;
            let revision_at = pod.find("\"\"").unwrap() + 1;
            let value = Template::split(pod.into(), revision_at);
            store.commit(Txn::new().put(&pods, key.clone(), Expect::Absent, value)).await.unwrap();
            assert!(nodes.authorize(&get_secret()).await.is_allowed(), "round {round}");
            store.commit(Txn::new().delete(&pods, key, Expect::Any)).await.unwrap();
            nodes.catch_up().await;
            assert!(!nodes.authorize(&get_secret()).await.is_allowed(), "round {round}");
        }
        supervisor.shutdown().await;
    }
}
