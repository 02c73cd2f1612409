//! Keeps the graph fed: a watch of every resource there is, and a look at discovery whenever the definitions of
//! resources change. Upstream: `graph_builder.go` `syncMonitors`; there discovery is asked every 30 seconds.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    core::v1::{Endpoints, Namespace, Node, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use informer::{Backoff, Cache, Caches, Change, Changes, Object, PartialObject};
use kube::core::ApiResource;
use parking_lot::Mutex;
use supervisor::TaskGuard;
use tracing::{debug, info, warn};

use super::{Collector, graph::Identity};
use crate::{
    Context,
    discovery::{Resources, Served, discover},
};

/// What changes come too often to be worth a look each: a definition is written several times while it is taken up.
const SETTLE: Duration = Duration::from_millis(500);

/// How long a resource may take to be listed before collecting goes on without it. Upstream waits as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The watches there are, and how kinds are found.
#[derive(Default)]
pub(super) struct Feeds {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<(String, String), Running>,
    kinds: HashMap<(String, String), Served>,
}

struct Running {
    resource: ApiResource,
    _task: TaskGuard,
}

impl Feeds {
    /// The resource of a kind, in the version the group prefers.
    pub(super) fn resolve(&self, group: &str, kind: &str) -> Option<Served> {
        self.state.lock().kinds.get(&(group.to_owned(), kind.to_owned())).cloned()
    }
}

/// Resources come and go with the objects of these, where a server has such.
const DEFINITIONS: [(&str, &str); 2] =
    [("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// Never ends.
pub(super) async fn follow_discovery(collector: Arc<Collector>, context: Context) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    let mut definitions: Vec<Changes<PartialObject>> = Vec::new();
    loop {
        let Some(resources) = refresh(&collector, &context).await else {
            tokio::time::sleep(backoff.next_delay()).await;
            continue;
        };
        backoff.reset();
        if definitions.is_empty() {
            let is_definition = |served: &&Served| {
                DEFINITIONS.contains(&(served.resource.group.as_str(), served.resource.plural.as_str()))
            };
            let served = resources.served.iter().filter(is_definition);
            definitions = served.map(|served| context.caches.metadata(&served.resource).subscribe()).collect();
            // What they begin with has just been discovered, or will be told as a change.
        }
        if definitions.is_empty() {
            // This server's resources are fixed.
            return std::future::pending().await;
        }
        let mut any: FuturesUnordered<_> = definitions.iter_mut().map(Changes::next_batch).collect();
        any.next().await;
        drop(any);
        tokio::time::sleep(SETTLE).await;
        while definitions.iter_mut().any(|changes| changes.try_next().is_some()) {}
    }
}

/// What was discovered; `None` if the server could not be asked.
async fn refresh(collector: &Arc<Collector>, context: &Context) -> Option<Resources> {
    let resources = match discover(&collector.client).await {
        Ok(resources) => resources,
        Err(error) => {
            warn!(%error, "discovery failed");
            return None;
        }
    };
    let is_event = |served: &Served| served.resource.plural == "events";
    let watchable = |served: &&Served| {
        served.supports("delete") && served.supports("list") && served.supports("watch") && !is_event(served)
    };
    let mut synced = FuturesUnordered::<BoxFuture<'static, ()>>::new();
    {
        let mut state = collector.feeds.state.lock();
        let mut gone: Vec<_> = state.running.keys().cloned().collect();
        for served in &resources.served {
            let kind = (served.resource.group.clone(), served.resource.kind.clone());
            state.kinds.insert(kind, served.clone());
        }
        for served in resources.served.iter().filter(watchable) {
            let id = (served.resource.group.clone(), served.resource.plural.clone());
            gone.retain(|known| *known != id);
            if state.running.get(&id).is_some_and(|running| running.resource == served.resource) {
                continue;
            }
            collector.complete.send_replace(false);
            let (task, is_synced) = feed(collector, &context.caches, &served.resource);
            let task = context.supervisor.spawn_guarded("garbage-collector-feed", task);
            synced.push(is_synced);
            state.running.insert(id, Running { resource: served.resource.clone(), _task: task });
        }
        // A group that could not be asked is not gone.
        if resources.failed.is_empty() {
            for id in gone {
                if let Some(running) = state.running.remove(&id) {
                    info!(resource = %id.1, group = %id.0, "resource is no longer served");
                    state.kinds.retain(|_, served| served.resource != running.resource);
                    context.caches.stop_metadata(&running.resource);
                }
            }
        }
    }
    let count = synced.len();
    let all = async { while synced.next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        warn!("some resources cannot be listed, collecting without them");
    }
    debug!(count, objects = collector.graph.lock().len(), "graph is complete");
    collector.complete.send_replace(true);
    Some(resources)
}

type Feed = (BoxFuture<'static, ()>, BoxFuture<'static, ()>);

/// What other controllers watch anyway is not watched twice.
fn feed(collector: &Arc<Collector>, caches: &Caches, resource: &ApiResource) -> Feed {
    match (resource.group.as_str(), resource.version.as_str(), resource.plural.as_str()) {
        ("", "v1", "pods") => feed_from(collector, &caches.of::<Pod>(), resource),
        ("", "v1", "nodes") => feed_from(collector, &caches.of::<Node>(), resource),
        ("", "v1", "namespaces") => feed_from(collector, &caches.of::<Namespace>(), resource),
        ("", "v1", "services") => feed_from(collector, &caches.of::<Service>(), resource),
        ("", "v1", "endpoints") => feed_from(collector, &caches.of::<Endpoints>(), resource),
        ("", "v1", "serviceaccounts") => feed_from(collector, &caches.of::<ServiceAccount>(), resource),
        ("apps", "v1", "deployments") => feed_from(collector, &caches.of::<Deployment>(), resource),
        ("apps", "v1", "replicasets") => feed_from(collector, &caches.of::<ReplicaSet>(), resource),
        ("apps", "v1", "daemonsets") => feed_from(collector, &caches.of::<DaemonSet>(), resource),
        ("apps", "v1", "statefulsets") => feed_from(collector, &caches.of::<StatefulSet>(), resource),
        ("discovery.k8s.io", "v1", "endpointslices") => feed_from(collector, &caches.of::<EndpointSlice>(), resource),
        _ => feed_from::<PartialObject>(collector, &caches.metadata(resource), resource),
    }
}

fn feed_from<K: Object>(collector: &Arc<Collector>, cache: &Cache<K>, resource: &ApiResource) -> Feed {
    let changes = cache.subscribe();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let cache = cache.clone();
    let (collector, group, kind) =
        (collector.clone(), Arc::from(resource.group.as_str()), Arc::from(resource.kind.as_str()));
    let task = async move {
        let mut changes: Changes<K> = changes;
        cache.synced().await;
        while let Some(change) = changes.try_next() {
            take(&collector, &group, &kind, &change);
        }
        // Nobody waits any more once patience has run out.
        let _ = sender.send(()).is_ok();
        drop(cache);
        while let Some(change) = changes.next().await {
            take(&collector, &group, &kind, &change);
        }
    };
    (task.boxed(), receiver.map(|_| ()).boxed())
}

fn take<K: Object>(collector: &Collector, group: &Arc<str>, kind: &Arc<str>, change: &Change<K>) {
    let uid = |object: &Arc<K>| object.meta().uid.clone().unwrap_or_default();
    let mut outcomes = Vec::new();
    {
        let mut graph = collector.graph.lock();
        if let Some(old) = change.old.as_ref().filter(|_| change.new.is_none() || change.is_replacement()) {
            outcomes.push(graph.remove(&uid(old)));
        }
        if let Some(new) = &change.new {
            let identity = Identity { group: group.clone(), kind: kind.clone(), key: change.key.clone() };
            outcomes.push(graph.upsert(identity, new.meta()));
        }
    }
    for outcome in outcomes {
        collector.accept(outcome);
    }
}
