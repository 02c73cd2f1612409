//! The scheduler at work: caches in, bindings, conditions and events out. Everything that decides is elsewhere.

use std::{collections::HashMap, sync::Arc};

use api::{
    Time,
    core::v1::{Binding, Node, ObjectReference, Pod, PodCondition},
};
use apimachinery::ObjectKey;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use informer::{Caches, Change, Changes, EventKind, Recorder};
use jiff::Timestamp;
use kube::{
    Client,
    api::{Api, Patch, PatchParams, PostParams},
};
use serde_json::json;
use supervisor::Supervisor;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{
    columns::Columns,
    cycle::{Diagnosis, Profile, schedule},
    events::Events,
    pod::PodInfo,
    queue::Queue,
};

/// Bindings on their way at one time.
const BINDINGS_MAX: usize = 64;

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name that pods ask for in `schedulerName`.
    pub name: String,
    /// Makes choices among equal nodes repeatable.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "default-scheduler".to_owned(), seed: 0 }
    }
}

/// A pod, the node it was given, and what came of writing it.
type Bound = (PodInfo, String, Result<(), kube::Error>);

struct Scheduler {
    client: Client,
    recorder: Recorder,
    profile: Profile,
    columns: Columns,
    queue: Queue,
    /// Pods given a node whose binding is not yet seen in the cache.
    assumed: HashMap<ObjectKey, String>,
    bindings: FuturesUnordered<BoxFuture<'static, Bound>>,
    reports: FuturesUnordered<BoxFuture<'static, ()>>,
    /// The last message told about a pod, so that it is not written again and again.
    told: HashMap<ObjectKey, String>,
}

/// Schedules until the process shuts down.
pub async fn run(client: Client, caches: Caches, supervisor: Supervisor, options: Options) {
    let (pods, nodes) = (caches.of::<Pod>(), caches.of::<Node>());
    // Nodes first: a pod seen before any node would be called unschedulable.
    nodes.synced().await;
    pods.synced().await;
    let mut pod_changes = pods.subscribe();
    let mut node_changes = nodes.subscribe();
    let mut scheduler = Scheduler {
        recorder: Recorder::new(client.clone(), &options.name, "", &supervisor),
        client,
        profile: Profile::new(&options.name, options.seed),
        columns: Columns::default(),
        queue: Queue::default(),
        assumed: HashMap::new(),
        bindings: FuturesUnordered::new(),
        reports: FuturesUnordered::new(),
        told: HashMap::new(),
    };
    while scheduler.turn(&mut pod_changes, &mut node_changes).await {}
}

impl Scheduler {
    /// Waits for something to happen, takes all of it in, and schedules what can be; `false`: the caches are gone.
    async fn turn(&mut self, pods: &mut Changes<Pod>, nodes: &mut Changes<Node>) -> bool {
        let timer = self.queue.next_timer();
        tokio::select! {
            change = nodes.next() => match change {
                Some(change) => self.node_changed(&change),
                None => return false,
            },
            change = pods.next() => match change {
                Some(change) => self.pod_changed(change),
                None => return false,
            },
            Some((pod, node, outcome)) = self.bindings.next(), if !self.bindings.is_empty() => self.bound(pod, &node, outcome),
            Some(()) = self.reports.next(), if !self.reports.is_empty() => {}
            () = tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                self.queue.advance(Instant::now());
            }
        }
        while let Some(change) = nodes.try_next() {
            self.node_changed(&change);
        }
        while let Some(change) = pods.try_next() {
            self.pod_changed(change);
        }
        while self.bindings.len() < BINDINGS_MAX
            && let Some(pod) = self.queue.pop()
        {
            self.schedule(pod);
        }
        true
    }

    fn node_changed(&mut self, change: &Change<Node>) {
        let events = match &change.new {
            Some(node) => {
                let change = self.columns.set_node(node);
                let kinds = [
                    (change.added, Events::NODE_ADDED),
                    (change.allocatable, Events::NODE_ALLOCATABLE),
                    (change.labels, Events::NODE_LABELS),
                    (change.taints, Events::NODE_TAINTS),
                ];
                kinds.iter().filter(|(happened, _)| *happened).fold(Events::NONE, |all, (_, kind)| all.or(*kind))
            }
            None => {
                self.columns.remove_node(&change.key.name);
                Events::NONE
            }
        };
        self.queue.on_events(events, Instant::now());
    }

    fn pod_changed(&mut self, change: Change<Pod>) {
        let now = Instant::now();
        let Some(pod) = change.new.filter(|pod| !api::pod::is_terminal(pod)) else {
            self.assumed.remove(&change.key);
            self.told.remove(&change.key);
            self.queue.remove(&change.key);
            if self.columns.unplace(&change.key).is_some() {
                self.queue.on_events(Events::POD_GONE, now);
            }
            return;
        };
        if let Some(node) = api::pod::node_name(&pod).map(str::to_owned) {
            self.assumed.remove(&change.key);
            self.told.remove(&change.key);
            self.queue.remove(&change.key);
            self.columns.place(PodInfo::new(pod), &node);
            return;
        }
        let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler");
        if name != self.profile.name || api::pod::is_terminating(&pod) {
            self.queue.remove(&change.key);
        } else if !self.assumed.contains_key(&change.key) {
            self.queue.update(PodInfo::new(pod), now);
        }
    }

    fn schedule(&mut self, pod: PodInfo) {
        match schedule(&mut self.profile, &self.columns, &pod) {
            Ok(node) => {
                debug!(pod = %pod.key, node, "placed pod");
                self.assumed.insert(pod.key.clone(), node.clone());
                self.columns.place(pod.clone(), &node);
                self.bindings.push(bind(self.client.clone(), pod, node).boxed());
            }
            Err(diagnosis) => {
                self.queue.unschedulable(&pod.key, diagnosis.helps, Instant::now());
                self.tell(&pod, &diagnosis);
            }
        }
    }

    fn bound(&mut self, pod: PodInfo, node: &str, outcome: Result<(), kube::Error>) {
        match outcome {
            Ok(()) => {
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.action(&*pod.pod, EventKind::Normal, "Scheduled", "Binding", message);
            }
            Err(error) => {
                // Nothing of the placement counts; the pod's own events say whether it still wants a node.
                self.assumed.remove(&pod.key);
                self.columns.unplace(&pod.key);
                let gone = matches!(&error, kube::Error::Api(status) if status.code == 404 || status.code == 409);
                if gone {
                    debug!(pod = %pod.key, %error, "pod was not bound");
                } else {
                    warn!(pod = %pod.key, %error, "binding failed");
                }
                self.queue.retry(&pod.key, Instant::now());
            }
        }
    }

    /// Writes the event and the condition, where they say something new.
    fn tell(&mut self, pod: &PodInfo, diagnosis: &Diagnosis) {
        let message = format!("{diagnosis}{}", no_preemption(diagnosis));
        if self.told.get(&pod.key) == Some(&message) {
            return;
        }
        self.told.insert(pod.key.clone(), message.clone());
        self.recorder.object(&*pod.pod, EventKind::Warning, "FailedScheduling", message.clone());
        self.reports.push(report(self.client.clone(), pod.pod.clone(), message).boxed());
    }
}

/// What upstream's DefaultPreemption adds where there is nobody to make room.
fn no_preemption(diagnosis: &Diagnosis) -> String {
    if diagnosis.nodes == 0 {
        return String::new();
    }
    let (nodes, resolvable) = (diagnosis.nodes, ["NodeResourcesFit", "NodePorts"]);
    let word = if diagnosis.plugins.iter().any(|plugin| resolvable.contains(plugin)) {
        "No preemption victims found for incoming pod"
    } else {
        "Preemption is not helpful for scheduling"
    };
    format!(" preemption: 0/{nodes} nodes are available: {nodes} {word}.")
}

async fn bind(client: Client, pod: PodInfo, node: String) -> Bound {
    let pods: Api<Pod> = Api::namespaced(client, &pod.key.namespace);
    let binding = Binding {
        metadata: api::ObjectMeta {
            name: Some(pod.key.name.clone()),
            namespace: Some(pod.key.namespace.clone()),
            uid: pod.pod.metadata.uid.clone(),
            ..api::ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.clone()),
            ..ObjectReference::default()
        },
    };
    let outcome = pods
        .create_subresource::<_, serde_json::Value>("binding", &pod.key.name, &PostParams::default(), &binding)
        .await
        .map(drop);
    (pod, node, outcome)
}

async fn report(client: Client, pod: Arc<Pod>, message: String) {
    let (namespace, name) =
        (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message),
        last_transition_time: Some(
            api::pod::condition(&pod, "PodScheduled")
                .filter(|condition| condition.status == "False")
                .and_then(|condition| condition.last_transition_time.clone())
                .unwrap_or_else(|| Time(Timestamp::now())),
        ),
        ..PodCondition::default()
    };
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    if let Err(error) = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        debug!(namespace, name, %error, "pod condition not written");
    }
}
