//! The ConfigMaps and Secrets that pods of this node refer to, each watched by itself while a pod needs it: the node
//! may read no others. Upstream: pkg/kubelet/util/manager/watch_based_manager.go.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use informer::{Cache, Caches, Object, ObjectKey, Selection};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use kube::Client;
use parking_lot::Mutex;
use supervisor::{Supervisor, TaskGuard};

use crate::env;
use crate::mailbox::Mailbox;

/// How long the first list of one object may take before the pod is told.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// All objects that are watched now.
pub(crate) struct Objects {
    config_maps: Watched<ConfigMap>,
    secrets: Watched<Secret>,
}

/// The objects of one pod; dropping it ends the watches that no other pod needs.
#[derive(Clone, Default)]
pub(crate) struct PodObjects {
    config_maps: HashMap<String, Arc<Entry<ConfigMap>>>,
    secrets: HashMap<String, Arc<Entry<Secret>>>,
}

/// A kind's object could not be read in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to sync {kind} cache: timed out waiting for the condition")]
pub(crate) struct SyncError {
    kind: &'static str,
}

struct Watched<K: Object> {
    client: Client,
    supervisor: Supervisor,
    entries: Mutex<HashMap<ObjectKey, Weak<Entry<K>>>>,
}

struct Entry<K: Object> {
    key: ObjectKey,
    cache: Cache<K>,
    interested: Arc<Mutex<Vec<Weak<Mailbox>>>>,
    _caches: Caches,
    _forwarder: TaskGuard,
}

// === impl Objects ===

impl Objects {
    pub(crate) fn new(client: &Client, supervisor: &Supervisor) -> Self {
        Objects { config_maps: Watched::new(client, supervisor), secrets: Watched::new(client, supervisor) }
    }

    /// Makes `held` cover everything the pod refers to; the mailbox hears of changes.
    pub(crate) fn cover(&self, held: &mut PodObjects, pod: &Pod, mailbox: &Arc<Mailbox>) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (config_maps, secrets) = references(pod);
        for name in config_maps {
            held.config_maps.entry(name.clone()).or_insert_with(|| self.config_maps.get(namespace, &name, mailbox));
        }
        for name in secrets {
            held.secrets.entry(name.clone()).or_insert_with(|| self.secrets.get(namespace, &name, mailbox));
        }
    }
}

// === impl PodObjects ===

impl PodObjects {
    /// The object, `None` when there is none of that name.
    pub(crate) async fn config_map(&self, name: &str) -> Result<Option<Arc<ConfigMap>>, SyncError> {
        read(self.config_maps.get(name), "configmap").await
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Option<Arc<Secret>>, SyncError> {
        read(self.secrets.get(name), "secret").await
    }

    /// Those of the names that exist.
    pub(crate) async fn collect(&self, config_maps: &[String], secrets: &[String]) -> Result<env::Objects, SyncError> {
        let mut objects = env::Objects::default();
        for name in config_maps {
            if let Some(map) = self.config_map(name).await? {
                objects.config_maps.insert(name.clone(), map);
            }
        }
        for name in secrets {
            if let Some(secret) = self.secret(name).await? {
                objects.secrets.insert(name.clone(), secret);
            }
        }
        Ok(objects)
    }
}

async fn read<K: Object>(entry: Option<&Arc<Entry<K>>>, kind: &'static str) -> Result<Option<Arc<K>>, SyncError> {
    let Some(entry) = entry else { return Ok(None) };
    tokio::time::timeout(SYNC_TIMEOUT, entry.cache.synced()).await.map_err(|_| SyncError { kind })?;
    Ok(entry.cache.get(&entry.key))
}

// === impl Watched ===

impl<K> Watched<K>
where
    K: Object + k8s_openapi::Resource + kube::Resource<DynamicType = ()>,
{
    fn new(client: &Client, supervisor: &Supervisor) -> Self {
        Watched { client: client.clone(), supervisor: supervisor.clone(), entries: Mutex::default() }
    }

    fn get(&self, namespace: &str, name: &str, mailbox: &Arc<Mailbox>) -> Arc<Entry<K>> {
        let key = ObjectKey::new(namespace, name);
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&key).and_then(Weak::upgrade) {
            let mut interested = entry.interested.lock();
            interested.retain(|other| other.strong_count() > 0);
            interested.push(Arc::downgrade(mailbox));
            drop(interested);
            return entry;
        }
        entries.retain(|_, entry| entry.strong_count() > 0);
        // A set of caches of its own, so that the watch ends with the last pod that needs it.
        let caches = Caches::new(self.client.clone(), &self.supervisor);
        let selection = Selection {
            namespace: namespace.to_owned(),
            fields: format!("metadata.name={name}"),
            labels: String::new(),
        };
        let cache = caches.selected::<K>(selection);
        let interested = Arc::new(Mutex::new(vec![Arc::downgrade(mailbox)]));
        let forwarder = self.supervisor.spawn_guarded("object-changes", forward(cache.clone(), interested.clone()));
        let entry = Arc::new(Entry { key: key.clone(), cache, interested, _caches: caches, _forwarder: forwarder });
        entries.insert(key, Arc::downgrade(&entry));
        entry
    }
}

/// Tells pods of every change but the first sight of the object.
async fn forward<K: Object>(cache: Cache<K>, interested: Arc<Mutex<Vec<Weak<Mailbox>>>>) {
    let mut changes = cache.subscribe();
    cache.synced().await;
    while changes.try_next().is_some() {}
    while changes.next().await.is_some() {
        for mailbox in interested.lock().iter().filter_map(Weak::upgrade) {
            mailbox.post(|letters| letters.objects_changed = true);
        }
    }
}

/// Names of all config maps and secrets in a pod's spec.
fn references(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let Some(spec) = &pod.spec else { return Default::default() };
    let mut config_maps = Vec::new();
    let mut secrets = Vec::new();
    for (container, _) in crate::pod::containers_of(pod) {
        let (maps, own_secrets) = env::references(&container);
        config_maps.extend(maps);
        secrets.extend(own_secrets);
    }
    secrets.extend(spec.image_pull_secrets.iter().flatten().map(|reference| reference.name.clone()));
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, &mut config_maps, &mut secrets);
    }
    (config_maps, secrets)
}

fn of_volume(volume: &Volume, config_maps: &mut Vec<String>, secrets: &mut Vec<String>) {
    config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
    secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
        secrets.extend(source.secret.iter().map(|source| source.name.clone()));
    }
}
