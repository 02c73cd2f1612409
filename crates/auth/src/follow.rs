//! Keeps the authorizers in step with the store: what is stored first, then every change as it happens.
//!
//! The indexes are behind a write by the time of one task switch, as upstream's informers are by a watch's delay.

use std::{collections::HashSet, sync::Arc};

use api::{
    core::v1::Pod,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use registry::Object;
use store::{Filter, Key, Resource, Store};
use supervisor::Supervisor;
use tracing::{debug, error};

use crate::{NodeAuthorizer, Rbac};

/// Fills both authorizers from the store and follows it from there. They are complete when this returns.
pub fn follow(store: &Store, rbac: &Arc<Rbac>, nodes: &Arc<NodeAuthorizer>, supervisor: &Supervisor) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let resource = |plural: &str| store.resource(&format!("{plural}.{GROUP}"));
    let index = rbac.clone();
    start(resource("clusterroles"), supervisor, move |key, object: Option<ClusterRole>| {
        index.set_cluster_role(key.name(), object);
    });
    let index = rbac.clone();
    start(resource("roles"), supervisor, move |key, object: Option<Role>| {
        index.set_namespaced_role(key.namespace(), key.name(), object);
    });
    let index = rbac.clone();
    start(resource("clusterrolebindings"), supervisor, move |key, object: Option<ClusterRoleBinding>| {
        index.set_cluster_role_binding(key.name(), object);
    });
    let index = rbac.clone();
    start(resource("rolebindings"), supervisor, move |key, object: Option<RoleBinding>| {
        index.set_role_binding(key.namespace(), key.name(), object);
    });
    let index = nodes.clone();
    start(store.resource("pods"), supervisor, move |key, object: Option<Pod>| {
        index.set_pod(key.namespace(), key.name(), object.as_ref());
    });
}

fn start<T: Object>(
    resource: Resource,
    supervisor: &Supervisor,
    apply: impl Fn(&Key, Option<T>) + Send + Sync + 'static,
) {
    let mut known = HashSet::new();
    let revision = load(&resource, &mut known, &apply);
    supervisor.spawn("authorizer index", async move {
        let mut from = revision;
        loop {
            match resource.watch(from, Filter::all()) {
                Ok(mut watch) => loop {
                    match watch.next().await {
                        Ok(event) => {
                            let gone = event.kind() == store::EventKind::Deleted;
                            if gone {
                                known.remove(event.key());
                                apply(event.key(), None);
                            } else {
                                known.insert(event.key().clone());
                                apply(event.key(), decode(event.entry().bytes()));
                            }
                        }
                        Err(store::WatchError::Closed) => return,
                        Err(lost) => {
                            debug!(%lost, "reading the authorizer index anew");
                            break;
                        }
                    }
                },
                Err(store::WatchError::Closed) => return,
                Err(lost) => debug!(%lost, "reading the authorizer index anew"),
            }
            from = load(&resource, &mut known, &apply);
        }
    });
}

/// Everything that is stored now; what was known and is there no more is taken back.
fn load<T: Object>(
    resource: &Resource,
    known: &mut HashSet<Key>,
    apply: &impl Fn(&Key, Option<T>),
) -> engine::Revision {
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
    apimachinery::json::from_bytes(bytes).inspect_err(|error| error!(%error, "stored object does not decode")).ok()
}
