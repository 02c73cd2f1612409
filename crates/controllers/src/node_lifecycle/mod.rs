//! Notices nodes that went silent, taints nodes by their conditions, and marks pods of lost nodes as not ready.
//! Upstream: `pkg/controller/nodelifecycle`, with a timer per node in the place of a round every five seconds.

mod plan;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{
    coordination::v1::Lease,
    core::v1::{Node, ObjectReference, Pod},
    pod,
};
use apimachinery::ObjectKey;
use informer::{
    Cache, Change, Controller, EventKind, Index, Next, Reconcile, ReconcileError, Recorder, Selection, reference,
};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use self::plan::{View, plan, ready_status};
use crate::{Context, Entry, Options, Rule, Watch, service_pods::by_node};

pub(crate) const ENTRY: Entry = Entry {
    name: "node-lifecycle-controller",
    service_account: "node-controller",
    watches: &[Watch::of("", "nodes"), Watch::of("", "pods"), Watch::of("coordination.k8s.io", "leases")],
    rules: &[
        Rule::of("", "nodes", &["patch"]),
        Rule::of("", "nodes/status", &["update"]),
        Rule::of("", "pods/status", &["patch"]),
        Rule::EVENTS,
    ],
    start,
};

/// Where kubelets keep their leases. Upstream: `NamespaceNodeLease`.
const LEASES: &str = "kube-node-lease";

struct Nodes {
    client: Client,
    recorder: Recorder,
    options: Arc<Options>,
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    pods_by_node: Index<Pod>,
    /// Bound: the nodes there are.
    known: Mutex<HashMap<String, Known>>,
}

/// What was seen of a node, by our own clock: clocks of nodes may be wrong.
#[derive(Clone, Debug)]
struct Known {
    uid: Option<String>,
    sign: Sign,
    heard: Instant,
    ready: Option<String>,
}

/// What changes whenever a kubelet reports.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sign {
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
}

fn start(context: Context) {
    let nodes = context.caches.of::<Node>();
    let pods = context.caches.of::<Pod>();
    let selection = Selection { namespace: LEASES.to_owned(), ..Selection::default() };
    let leases = context.caches.selected::<Lease>(selection);
    let reconciler = Nodes {
        client: context.client,
        recorder: context.recorder,
        options: context.options,
        nodes: nodes.clone(),
        leases: leases.clone(),
        pods_by_node: by_node(&pods),
        known: Mutex::default(),
    };
    Controller::new(ENTRY.name, reconciler)
        .watch_for(&nodes, {
            let nodes = nodes.clone();
            move |change, keys| changed_node(&nodes, change, keys)
        })
        .watch_for(&leases, |change, keys| keys.push(ObjectKey::cluster(&change.key.name)))
        .needs(&pods)
        .start(&context.supervisor);
}

/// When a node becomes ready or stops being so, it decides for the others whether the whole cluster is lost.
fn changed_node(nodes: &Cache<Node>, change: &Change<Node>, keys: &mut Vec<ObjectKey>) {
    let ready = |node: &Option<Arc<Node>>| node.as_ref().and_then(|node| ready_status(node)).map(str::to_owned);
    if ready(&change.old) == ready(&change.new) {
        keys.push(change.key.clone());
    } else {
        keys.push(change.key.clone());
        keys.extend(nodes.list().iter().filter_map(|node| node.metadata.name.as_deref().map(ObjectKey::cluster)));
    }
}

impl Reconcile for Nodes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(node) = self.nodes.get(key) else {
            if let Some(known) = self.known.lock().remove(&key.name) {
                let name = &key.name;
                let about = node_reference(name, known.uid.as_deref());
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                self.recorder.event(&about, EventKind::Normal, "RemovingNode", message);
            }
            return Ok(Next::Await);
        };
        let (silent, was_ready) = self.listen(&key.name, &node);
        let others = self.nodes.list();
        let mut others = others.iter().filter(|other| other.metadata.name != node.metadata.name);
        let any_ready = others.any(|other| ready_status(other) == Some("True"));
        let grace = if plan::has_reported(&node) {
            self.options.node_monitor_grace_period
        } else {
            self.options.node_startup_grace_period
        };
        let view = View { node: &node, silent, grace, any_ready };
        let plan = plan(&view, Timestamp::now());
        let api = Api::<Node>::all(self.client.clone());
        let mut current = node;
        if let Some(conditions) = plan.conditions {
            info!(node = key.name, silent = silent.as_secs(), "node is silent");
            let mut updated = (*current).clone();
            updated.status.get_or_insert_default().conditions = Some(conditions);
            current = Arc::new(api.replace_status(&key.name, &PostParams::default(), &updated).await?);
        }
        if let Some(taints) = plan.taints {
            let patch = json!({
                "metadata": {"resourceVersion": current.metadata.resource_version},
                "spec": {"taints": taints},
            });
            current = Arc::new(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?);
        }
        let ready = ready_status(&current).map(str::to_owned);
        if ready.as_deref() != Some("True") && ready.is_some() {
            if was_ready.as_deref() == Some("True") {
                let name = &key.name;
                let message = format!("Node {name} status is now: NodeNotReady");
                let about = node_reference(name, current.metadata.uid.as_deref());
                self.recorder.event(&about, EventKind::Normal, "NodeNotReady", message);
            }
            self.mark_pods_not_ready(&key.name).await?;
        }
        if let Some(known) = self.known.lock().get_mut(&key.name) {
            known.ready = ready;
        }
        Ok(plan.next)
    }
}

impl Nodes {
    /// For how long nothing was heard of the node, and whether it was ready when it was last looked at.
    fn listen(&self, name: &str, node: &Node) -> (Duration, Option<String>) {
        let lease = self.leases.get(&ObjectKey::new(LEASES, name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
        let sign = Sign { renewed, heartbeat: plan::heartbeat(node) };
        let mut known = self.known.lock();
        let now = Instant::now();
        match known.get_mut(name) {
            Some(entry) if entry.uid == node.metadata.uid => {
                if entry.sign != sign {
                    entry.sign = sign;
                    entry.heard = now;
                }
                (now.duration_since(entry.heard), entry.ready.clone())
            }
            _ => {
                let ready = ready_status(node).map(str::to_owned);
                let entry = Known { uid: node.metadata.uid.clone(), sign, heard: now, ready: ready.clone() };
                known.insert(name.to_owned(), entry);
                let about = node_reference(name, node.metadata.uid.as_deref());
                let message = format!("Node {name} event: Registered Node {name} in Controller");
                self.recorder.event(&about, EventKind::Normal, "RegisteredNode", message);
                (Duration::ZERO, ready)
            }
        }
    }

    /// No kubelet will say it of them. Upstream: `MarkPodsNotReady`.
    async fn mark_pods_not_ready(&self, node: &str) -> Result<(), kube::Error> {
        for pod in self.pods_by_node.get(node).iter().filter(|pod| pod::is_ready(pod)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
            let now = api::Time(Timestamp::now());
            let patch = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}]},
            });
            self.recorder.event(&reference(&**pod), EventKind::Warning, "NodeNotReady", "Node is not ready");
            match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                other => {
                    other?;
                }
            }
        }
        Ok(())
    }
}

/// As upstream's controller refers to nodes: no revision, and the UID it knows.
fn node_reference(name: &str, uid: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}
