//! The caches of a process: one per resource and selection, started at first use.
//! Upstream: client-go `SharedInformerFactory` and `metadatainformer`.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};

use kube::{Client, core::ApiResource};
use parking_lot::Mutex;
use supervisor::{Supervisor, TaskGuard};

use crate::{
    Cache, Object, PartialObject,
    reflector::{self, Source},
};

/// The caches of a process; clones share them. Watches run under the identity of the client.
#[derive(Clone)]
pub struct Caches {
    inner: Arc<Inner>,
}

/// What of a resource is cached; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// A namespace; empty: all.
    pub namespace: String,
    /// A field selector, as in `spec.nodeName=node-1`; empty: all.
    pub fields: String,
    /// A label selector; empty: all.
    pub labels: String,
}

struct Inner {
    client: Client,
    supervisor: Supervisor,
    running: Mutex<HashMap<Id, Running>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Id {
    Typed(TypeId, Selection),
    Partial { group: String, version: String, plural: String },
}

struct Running {
    cache: Box<dyn Any + Send>,
    _task: TaskGuard,
}

impl Caches {
    /// No cache yet. The tasks that feed caches end with the supervisor.
    pub fn new(client: Client, supervisor: &Supervisor) -> Self {
        let inner = Inner { client, supervisor: supervisor.clone(), running: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The cache of every object of a kind.
    pub fn of<K>(&self) -> Cache<K>
    where
        K: Object + k8s_openapi::Resource + kube::Resource<DynamicType = ()>,
    {
        self.selected(Selection::default())
    }

    /// The cache of some objects of a kind.
    pub fn selected<K>(&self, selection: Selection) -> Cache<K>
    where
        K: Object + k8s_openapi::Resource + kube::Resource<DynamicType = ()>,
    {
        let namespace = Some(selection.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let source = Source {
            path: K::url_path(&(), namespace),
            fields: selection.fields.clone(),
            labels: selection.labels.clone(),
            metadata_only: false,
        };
        self.start(Id::Typed(TypeId::of::<K>(), selection), source)
    }

    /// The cache of the metadata of every object of any resource, known from discovery.
    pub fn metadata(&self, resource: &ApiResource) -> Cache<PartialObject> {
        let source =
            Source { path: path_of(resource), fields: String::new(), labels: String::new(), metadata_only: true };
        self.start(Id::partial(resource), source)
    }

    /// Ends the watch of a metadata cache, for a resource that is no longer served. Handles stay readable.
    pub fn stop_metadata(&self, resource: &ApiResource) {
        self.inner.running.lock().remove(&Id::partial(resource));
    }

    /// The client that the watches use.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    fn start<K: Object>(&self, id: Id, source: Source) -> Cache<K> {
        let mut running = self.inner.running.lock();
        if let Some(cache) = running.get(&id).and_then(|entry| entry.cache.downcast_ref::<Cache<K>>()) {
            return cache.clone();
        }
        let cache = Cache::unfed();
        let task = reflector::run(self.inner.client.clone(), source, cache.clone());
        let task = self.inner.supervisor.spawn_guarded("cache", task);
        running.insert(id, Running { cache: Box::new(cache.clone()), _task: task });
        cache
    }
}

impl Id {
    fn partial(resource: &ApiResource) -> Self {
        Self::Partial {
            group: resource.group.clone(),
            version: resource.version.clone(),
            plural: resource.plural.clone(),
        }
    }
}

fn path_of(resource: &ApiResource) -> String {
    if resource.group.is_empty() {
        format!("/api/{}/{}", resource.version, resource.plural)
    } else {
        format!("/apis/{}/{}/{}", resource.group, resource.version, resource.plural)
    }
}
