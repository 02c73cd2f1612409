//! Puts the node's agent together: who hears of what, what the runtime still has, what nobody wants any more.
//! Upstream: pkg/kubelet/kubelet.go, kubelet_pods.go `HandlePodCleanups`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cri::{
    ContainerEventKind, ContainerFilter, ContainerState, ImageService, PodSandboxFilter, PodSandboxState,
    RuntimeService,
};
use informer::{Cache, Caches, Change, EventKind, ObjectKey, Recorder, Selection};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Client;
use parking_lot::{Mutex, RwLock};
use supervisor::Supervisor;
use tokio::sync::{Semaphore, broadcast};

use crate::admission::{Load, admit};
use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::mailbox::Mailbox;
use crate::node::{MachineFacts, keep_lease, keep_status};
use crate::objects::Objects;
use crate::pod::{Adopted, AdoptedContainer, SandboxInfo};
use crate::shared::{PodEntry, Pods, Shared, View};
use crate::spec::{HostResolver, labels};
use crate::{housekeeping, volumes, worker};

/// What the node's agent is made of.
pub struct Parts {
    pub config: Config,
    /// Speaks for the node (`system:node:<name>`).
    pub client: Client,
    pub runtime: Arc<dyn RuntimeService>,
    pub images: Arc<dyn ImageService>,
    pub supervisor: Supervisor,
    /// A cache of all services, where the process has one already.
    pub services: Option<Cache<Service>>,
}

/// A node's agent that runs; clones share it.
#[derive(Clone)]
pub struct Kubelet {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("prepare the node's directories")]
    Directories(#[source] std::io::Error),
    #[error("find the cgroup hierarchies")]
    Cgroups(#[source] std::io::Error),
    #[error("ask the runtime what it has")]
    Runtime(#[source] cri::CriError),
}

/// What the runtime has of pods, by UID.
type Leftovers = HashMap<String, Leftover>;

#[derive(Default)]
struct Leftover {
    sandboxes: Vec<cri::PodSandboxStatus>,
    containers: Vec<cri::ContainerStatus>,
}

impl Kubelet {
    /// Starts it: registers the node, adopts what runs already, and takes up the pods bound to the node.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { config, client, runtime, images, supervisor, services } = parts;
        volumes::prepare_node(&config).map_err(StartError::Directories)?;
        let cgroups = Cgroups::discover().map_err(StartError::Cgroups)?;
        let facts = MachineFacts::read(&config, &runtime.version());
        let caches = Caches::new(client.clone(), &supervisor);
        let of_node = |fields: String| Selection { fields, ..Selection::default() };
        let pods = caches.selected::<Pod>(of_node(format!("spec.nodeName={}", config.node_name)));
        let node = caches.selected::<Node>(of_node(format!("metadata.name={}", config.node_name)));
        let services = services.unwrap_or_else(|| caches.of::<Service>());
        let resolver = HostResolver::parse(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default());
        let shared = Arc::new(Shared {
            recorder: Recorder::new(client.clone(), "kubelet", &config.node_name, &supervisor),
            objects: Objects::new(&client, &supervisor),
            starts: Semaphore::new(config.max_parallel_operations.max(1)),
            memory_capacity: facts.memory,
            allocatable: facts.allocatable.clone(),
            pods: Pods::default(),
            config,
            client,
            runtime,
            images,
            supervisor: supervisor.clone(),
            services,
            node,
            cgroups,
            resolver,
        });
        // Subscribed before asking, so that nothing falls between.
        let events = shared.runtime.events();
        let leftovers = leftovers(&shared).await.map_err(StartError::Runtime)?;
        supervisor.spawn("node-status", keep_status(shared.clone(), facts));
        supervisor.spawn("node-lease", keep_lease(shared.clone()));
        supervisor.spawn("runtime-events", forward_events(shared.clone(), events));
        supervisor.spawn("housekeeping", housekeeping::run(shared.clone()));
        // The caches live as long as the task that reads them.
        supervisor.spawn("pods", follow_pods(shared.clone(), caches, pods, leftovers));
        Ok(Kubelet { shared })
    }
}

/// What the runtime has of this node's pods.
async fn leftovers(shared: &Shared) -> Result<Leftovers, cri::CriError> {
    let mut found = Leftovers::new();
    let own = cri::StringMap::from([(labels::NODE.to_owned(), shared.config.node_name.clone())]);
    let filter = PodSandboxFilter { labels: own.clone(), ..PodSandboxFilter::default() };
    for sandbox in shared.runtime.list_pod_sandbox(&filter).await? {
        found.entry(sandbox.metadata.uid.clone()).or_default().sandboxes.push(sandbox);
    }
    let filter = ContainerFilter { labels: own, ..ContainerFilter::default() };
    for container in shared.runtime.list_containers(&filter).await? {
        if let Some(uid) = container.labels.get(labels::POD_UID) {
            found.entry(uid.clone()).or_default().containers.push(container);
        }
    }
    Ok(found)
}

async fn follow_pods(shared: Arc<Shared>, _caches: Caches, cache: Cache<Pod>, mut leftovers: Leftovers) {
    let mut uids: HashMap<ObjectKey, String> = HashMap::new();
    let mut changes = cache.subscribe();
    let mut synced = std::pin::pin!(async {
        cache.synced().await;
    });
    let mut cleaned = false;
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = &mut synced, if !cleaned => {
                // Everything that was there at the first list is in the queue already; read it before judging.
                while let Some(change) = changes.try_next() {
                    take_change(&shared, &mut uids, &mut leftovers, change);
                }
                cleaned = true;
                remove_orphans(&shared, std::mem::take(&mut leftovers));
                continue;
            }
        };
        let Some(change) = change else { return };
        take_change(&shared, &mut uids, &mut leftovers, change);
    }
}

fn take_change(
    shared: &Arc<Shared>,
    uids: &mut HashMap<ObjectKey, String>,
    leftovers: &mut Leftovers,
    change: Change<Pod>,
) {
    let new_uid = change.new.as_ref().and_then(|pod| pod.metadata.uid.clone());
    if let Some(old) = uids.get(&change.key).filter(|old| new_uid.as_ref() != Some(*old))
        && let Some(entry) = shared.pods.get(old)
    {
        entry.mailbox.post(|letters| letters.gone = true);
    }
    match (change.new, new_uid) {
        (Some(pod), Some(uid)) => {
            uids.insert(change.key, uid.clone());
            match shared.pods.get(&uid) {
                Some(entry) => entry.mailbox.post(|letters| letters.pod = Some(pod)),
                None if shared.pods.has_finished(&uid) => {}
                None => begin(shared, pod, uid.clone(), leftovers.remove(&uid).unwrap_or_default()),
            }
        }
        _ => {
            uids.remove(&change.key);
        }
    }
}

/// Starts a pod's task.
fn begin(shared: &Arc<Shared>, pod: Arc<Pod>, uid: String, leftover: Leftover) {
    let adopted = adopt(shared, &pod, leftover);
    let fresh = adopted.sandbox.is_none()
        && adopted.containers.is_empty()
        && pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().is_none_or(|status| status.start_time.is_none());
    let mut refusal = None;
    if fresh {
        let holding = shared.pods.holding();
        let node = shared.node.list().into_iter().next();
        let load = Load { allocatable: &shared.allocatable, pods: &holding, node: node.as_deref() };
        if let Err(refused) = admit(&shared.config, &load, &pod) {
            shared.recorder.object(&*pod, EventKind::Warning, &refused.reason, refused.message.clone());
            let message = format!("Pod was rejected: {}", refused.message);
            refusal = Some((refused.reason, message));
        }
    }
    let terminal =
        pod.status.as_ref().is_some_and(|status| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")));
    let entry = Arc::new(PodEntry {
        uid,
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        mailbox: Arc::new(Mailbox::default()),
        view: RwLock::new(View { pod: pod.clone(), holds: !terminal && refusal.is_none(), ..View::default() }),
        changed: tokio::sync::watch::Sender::new(0),
        task: Mutex::default(),
    });
    if adopted.sandbox.is_some() {
        // Events that came between the list and this moment found nobody.
        entry.mailbox.post(|letters| letters.look_again = true);
    }
    shared.pods.insert(entry.clone());
    let task = worker::run(shared.clone(), entry.clone(), pod, adopted, refusal);
    *entry.task.lock() = Some(shared.supervisor.spawn_guarded("pod", task));
}

/// What of a pod runs already.
fn adopt(shared: &Arc<Shared>, pod: &Arc<Pod>, leftover: Leftover) -> Adopted {
    let newest = leftover
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.state == PodSandboxState::Ready)
        .max_by_key(|sandbox| sandbox.metadata.attempt);
    let sandbox = newest.map(|sandbox| SandboxInfo {
        id: sandbox.id.clone(),
        ips: sandbox.ips.iter().map(ToString::to_string).collect(),
        attempt: sandbox.metadata.attempt,
    });
    let containers = leftover
        .containers
        .iter()
        .filter(|status| matches!(status.state, ContainerState::Running | ContainerState::Exited))
        // A process without its sandbox is of no use; it ends with the clean-up of its sandbox.
        .filter(|status| {
            status.state == ContainerState::Exited
                || sandbox.as_ref().is_some_and(|sandbox| sandbox.id == status.sandbox_id)
        })
        .map(|status| AdoptedContainer {
            name: status.metadata.name.clone(),
            attempt: status.metadata.attempt,
            life: worker::life_of(status),
            exit: (status.state == ContainerState::Exited).then(|| worker::exit_of_status(shared, pod, status)),
        })
        .collect();
    Adopted { sandbox, containers }
}

/// Ends and removes what no pod of the API stands for.
fn remove_orphans(shared: &Arc<Shared>, leftovers: Leftovers) {
    let known: HashSet<String> = shared.pods.all().iter().map(|entry| entry.uid.clone()).collect();
    let owner = shared.supervisor.clone();
    let shared = shared.clone();
    owner.spawn("orphans", async move {
        for (uid, leftover) in leftovers {
            tracing::info!(uid, "removing a pod that the API does not have");
            for sandbox in leftover.sandboxes {
                let stopped = shared.runtime.stop_pod_sandbox(&sandbox.id).await;
                if let Err(error) = stopped.and(shared.runtime.remove_pod_sandbox(&sandbox.id).await) {
                    tracing::warn!(%error, sandbox = sandbox.id, "orphaned sandbox not removed");
                }
            }
        }
        let config = shared.config.clone();
        let cgroups = shared.cgroups.clone();
        let pods: HashSet<String> = shared.pods.all().iter().map(|entry| entry.uid.clone()).chain(known).collect();
        let sweep =
            tokio::task::spawn_blocking(move || housekeeping::remove_stale_files(&config, &cgroups, &pods)).await;
        if let Err(error) = sweep {
            tracing::warn!(%error, "stale files not removed");
        }
    });
}

/// Tells pods of the ends of their containers.
async fn forward_events(shared: Arc<Shared>, mut events: broadcast::Receiver<cri::ContainerEvent>) {
    loop {
        match events.recv().await {
            Ok(event) if event.kind == ContainerEventKind::Stopped => {
                if let Some(entry) = shared.pods.get(&event.pod_uid) {
                    entry.mailbox.post(|letters| {
                        // As containerd does it, a sandbox that ended goes by the name of a container.
                        if event.container_id == event.sandbox_id {
                            letters.look_again = true;
                        } else {
                            letters.exited.insert(event.container_id);
                        }
                    });
                }
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "runtime events missed, looking at all pods");
                for entry in shared.pods.all() {
                    entry.mailbox.post(|letters| letters.look_again = true);
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
