//! Deletes pods from nodes with a `NoExecute` taint they do not tolerate, at once or when their time is up.
//! Upstream: `pkg/controller/tainteviction`.

mod plan;

use std::collections::HashMap;

use api::{
    core::v1::{Node, ObjectReference, Pod},
    pod,
};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, EventKind, Next, Reconcile, ReconcileError, Recorder};
use kube::Client;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

use self::plan::{Fate, fate, no_execute};
use crate::{
    Context, Entry, Rule, Watch,
    evict::{Eviction, evict},
    service_pods::by_node,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "taint-eviction-controller",
    service_account: "node-controller",
    watches: &[Watch::of("", "pods"), Watch::of("", "nodes")],
    rules: &[Rule::of("", "pods", &["get", "delete"]), Rule::of("", "pods/status", &["patch"]), Rule::EVENTS],
    start,
};

struct TaintEviction {
    client: Client,
    recorder: Recorder,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    /// Since when a pod's time runs, by UID. Bound: the pods on tainted nodes.
    running: Mutex<HashMap<ObjectKey, (String, Instant)>>,
}

fn start(context: Context) {
    let pods = context.caches.of::<Pod>();
    let nodes = context.caches.of::<Node>();
    let on_node = by_node(&pods);
    let reconciler = TaintEviction {
        client: context.client,
        recorder: context.recorder,
        pods: pods.clone(),
        nodes: nodes.clone(),
        running: Mutex::default(),
    };
    Controller::new(ENTRY.name, reconciler)
        .workers(8)
        .watch_for(&pods, {
            let nodes = nodes.clone();
            move |change, keys| {
                let tainted = |pod: &Pod| {
                    let node = pod::node_name(pod).and_then(|name| nodes.get(&ObjectKey::cluster(name)));
                    node.is_some_and(|node| no_execute(&node).next().is_some())
                };
                // Nearly all pods are on nodes without such a taint and are none of our business.
                if change.new.as_ref().is_none_or(|pod| tainted(pod)) {
                    keys.push(change.key.clone());
                }
            }
        })
        .watch_for(&nodes, move |change, keys| {
            let taints = |node: &Option<std::sync::Arc<Node>>| {
                node.iter().flat_map(|node| no_execute(node).cloned()).collect::<Vec<_>>()
            };
            if taints(&change.old) != taints(&change.new) {
                keys.extend(on_node.keys(&change.key.name));
            }
        })
        .start(&context.supervisor);
}

impl Reconcile for TaintEviction {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod::is_terminating(pod)) else {
            self.running.lock().remove(key);
            return Ok(Next::Await);
        };
        let node = pod::node_name(&pod).and_then(|name| self.nodes.get(&ObjectKey::cluster(name)));
        let fate = node.map_or(Fate::Stays, |node| fate(&pod, &node));
        let Fate::Goes(after) = fate else {
            if self.running.lock().remove(key).is_some() {
                self.tell(&pod, format!("Cancelling deletion of Pod {key}"));
            }
            return Ok(Next::Await);
        };
        let now = Instant::now();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let since = {
            let mut running = self.running.lock();
            let entry = running.entry(key.clone()).or_insert_with(|| (uid.clone(), now));
            if entry.0 != uid {
                *entry = (uid, now);
            }
            entry.1
        };
        let left = after.saturating_sub(now.duration_since(since));
        if !left.is_zero() {
            return Ok(Next::After(left));
        }
        info!(pod = %key, "evicting from a tainted node");
        self.tell(&pod, format!("Marking for deletion Pod {key}"));
        let how = Eviction {
            disruption: Some(("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")),
            fail: false,
            grace: None,
        };
        evict(&self.client, &pod, &how).await?;
        Ok(Next::Await)
    }
}

impl TaintEviction {
    fn tell(&self, pod: &Pod, message: String) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.recorder.event(&about, EventKind::Normal, "TaintManagerEviction", message);
    }
}
