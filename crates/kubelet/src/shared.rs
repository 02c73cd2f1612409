//! What all parts of one node's agent share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use apimachinery::Quantity;
use cri::{ImageService, RuntimeService};
use informer::{Cache, Recorder};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Client;
use parking_lot::{Mutex, RwLock};
use supervisor::{Supervisor, TaskGuard};
use tokio::sync::Semaphore;

use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::env::Facts;
use crate::mailbox::Mailbox;
use crate::objects::Objects;
use crate::spec::HostResolver;

pub(crate) struct Shared {
    pub config: Config,
    pub client: Client,
    pub runtime: Arc<dyn RuntimeService>,
    pub images: Arc<dyn ImageService>,
    pub supervisor: Supervisor,
    pub recorder: Recorder,
    pub objects: Objects,
    pub services: Cache<Service>,
    pub node: Cache<Node>,
    pub cgroups: Cgroups,
    pub pods: Pods,
    /// Bounds how many sandboxes and containers are being made at once.
    pub starts: Semaphore,
    pub memory_capacity: i64,
    pub allocatable: BTreeMap<String, Quantity>,
    pub resolver: HostResolver,
}

/// The pods of this node, by UID.
#[derive(Default)]
pub(crate) struct Pods {
    entries: RwLock<HashMap<String, Arc<PodEntry>>>,
    /// Pods that came to their end lately: late news of them must not raise them again.
    finished: Mutex<VecDeque<String>>,
}

/// How many pods are remembered after their end.
const REMEMBERED: usize = 512;

/// One pod: how to tell its task something, and what its task last said of it.
pub(crate) struct PodEntry {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub mailbox: Arc<Mailbox>,
    pub view: RwLock<View>,
    /// Counts changes of the view, for those who wait for one.
    pub changed: tokio::sync::watch::Sender<u64>,
    pub task: Mutex<Option<TaskGuard>>,
}

/// What others see of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// With the newest status.
    pub pod: Arc<Pod>,
    pub sandbox: Option<String>,
    pub containers: Vec<ContainerView>,
    /// It holds resources of the node.
    pub holds: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerView {
    pub name: String,
    /// The present or last life.
    pub id: Option<String>,
    pub attempt: u32,
    pub running: bool,
    /// Had a life at all.
    pub started: bool,
    /// Had a life before the present one.
    pub previous: bool,
    pub tty: bool,
    pub stdin: bool,
}

// === impl Shared ===

impl Shared {
    /// What the environment and downward API volumes tell of the node and a sandbox.
    pub(crate) fn facts(&self, pod_ips: &[String]) -> Facts {
        Facts {
            node_name: self.config.node_name.clone(),
            pod_ips: pod_ips.to_vec(),
            host_ips: self.config.host_ips(),
            allocatable: self.allocatable.clone(),
        }
    }
}

// === impl Pods ===

impl Pods {
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<PodEntry>> {
        self.entries.read().get(uid).cloned()
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<PodEntry>> {
        let entries = self.entries.read();
        let mut same = entries.values().filter(|entry| entry.namespace == namespace && entry.name == name);
        // A successor of the same name can exist while its predecessor is still coming down.
        same.clone()
            .find(|entry| entry.view.read().pod.metadata.deletion_timestamp.is_none())
            .or_else(|| same.next())
            .cloned()
    }

    pub(crate) fn insert(&self, entry: Arc<PodEntry>) {
        self.entries.write().insert(entry.uid.clone(), entry);
    }

    pub(crate) fn remove(&self, uid: &str) {
        let mut finished = self.finished.lock();
        finished.push_back(uid.to_owned());
        if finished.len() > REMEMBERED {
            finished.pop_front();
        }
        drop(finished);
        self.entries.write().remove(uid);
    }

    /// Nothing of this pod is left on the node, nor will be.
    pub(crate) fn has_finished(&self, uid: &str) -> bool {
        self.finished.lock().iter().rev().any(|finished| finished == uid)
    }

    pub(crate) fn all(&self) -> Vec<Arc<PodEntry>> {
        self.entries.read().values().cloned().collect()
    }

    /// Pods that hold resources of the node.
    pub(crate) fn holding(&self) -> Vec<Arc<Pod>> {
        let entries = self.entries.read();
        let views = entries.values().map(|entry| entry.view.read());
        views.filter(|view| view.holds).map(|view| view.pod.clone()).collect()
    }
}
