//! The runtime as one object: it implements `cri::RuntimeService` and `cri::ImageService`.

mod adopt;
mod containers;
mod exec;
mod images;
mod sandboxes;
mod start;
mod stats;
mod stop;
mod stream;
mod traits;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::images::Puller;
use cri::{ContainerEvent, ContainerEventKind, CriError, CriResult, PodNetwork};
use parking_lot::Mutex;
use supervisor::Supervisor;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::cgroup::Hierarchies;
use crate::error::{Result, RuntimeError};
use crate::layout::Layout;
use crate::monitor::{Monitor, News};
use crate::record::{self, ContainerRecord, Exit, RECORD_FILE, SandboxRecord};

/// What a runtime is made from.
pub struct RuntimeConfig {
    /// Its directory, usually `<data-dir>/runtime`. One process at a time may use it.
    pub root: PathBuf,
    /// Pulls into the store that containers run from.
    pub puller: Puller,
    /// The pod network.
    pub network: Arc<dyn PodNetwork>,
    /// Control group for sandboxes that name none.
    pub default_cgroup_parent: String,
    /// The binary whose `main` begins with [`crate::helper::main_if_helper`]; absent: this one.
    pub helper: Option<PathBuf>,
    /// Name and version to report.
    pub version: (String, String),
    /// Owner of the runtime's tasks.
    pub supervisor: Supervisor,
}

/// The runtime. Clones share it.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    layout: Layout,
    puller: Puller,
    network: Arc<dyn PodNetwork>,
    default_cgroup_parent: String,
    version: (String, String),
    supervisor: Supervisor,
    cgroups: Hierarchies,
    /// The monitor program and the helper binary, where they are safe to execute.
    monitor_program: PathBuf,
    helper_program: PathBuf,
    boot_id: String,
    state: Mutex<State>,
    news: mpsc::UnboundedSender<News>,
    events: broadcast::Sender<ContainerEvent>,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<String, Arc<Sandbox>>,
    containers: HashMap<String, Arc<Container>>,
    execs: HashMap<String, oneshot::Sender<i32>>,
}

struct Sandbox {
    record: Mutex<SandboxRecord>,
    monitor: Mutex<Option<Monitor>>,
    /// One change of a sandbox at a time.
    changing: tokio::sync::Mutex<()>,
}

struct Container {
    record: Mutex<ContainerRecord>,
    /// Set once, when it has ended.
    ended: watch::Sender<bool>,
    /// One start or removal at a time.
    changing: tokio::sync::Mutex<()>,
}

/// Receivers that lag behind further than this list again.
const EVENT_BACKLOG: usize = 4096;

// === impl Runtime ===

impl Runtime {
    /// Opens the runtime's directory and takes over what an earlier process left running.
    pub async fn open(config: RuntimeConfig) -> CriResult<Self> {
        let (news, heard) = mpsc::unbounded_channel();
        let supervisor = config.supervisor.clone();
        let runtime = Self { shared: Arc::new(blocking(move || Shared::new(config, news)).await?) };
        let listener = runtime.clone();
        supervisor.spawn("runtime news", async move { listener.hear(heard).await });
        runtime.adopt().await?;
        Ok(runtime)
    }

    async fn hear(self, mut news: mpsc::UnboundedReceiver<News>) {
        while let Some(item) = news.recv().await {
            match item {
                News::ContainerEnded { container, code, at } => {
                    if let Ok(container) = self.container(&container) {
                        self.container_ended(&container, code, at);
                        self.end_leftovers(&container).await;
                    }
                }
                News::ExecEnded { exec, code } => {
                    if let Some(waiter) = self.shared.state.lock().execs.remove(&exec) {
                        // The session may have been dropped.
                        waiter.send(code).ok();
                    }
                }
                News::Gone { sandbox } => self.monitor_gone(&sandbox).await,
            }
        }
    }

    /// A monitor that dies takes the streams of its containers along, so they are ended too.
    async fn monitor_gone(&self, sandbox_id: &str) {
        let Ok(sandbox) = self.sandbox(sandbox_id) else { return };
        let connected = sandbox.monitor.lock().as_ref().is_some_and(Monitor::is_connected);
        if connected || sandbox.record.lock().stopped {
            return;
        }
        for container in self.containers_of(sandbox_id) {
            if container.is_running() {
                let group = container.record.lock().cgroup.clone();
                self.kill_group(group).await;
                let (code, at) = self.recorded_exit(&container).unwrap_or((UNKNOWN_EXIT, record::now()));
                self.container_ended(&container, code, at);
            }
        }
        let pod_uid = sandbox.record.lock().config.metadata.uid.clone();
        let event = ContainerEvent {
            kind: ContainerEventKind::Stopped,
            container_id: sandbox_id.to_owned(),
            sandbox_id: sandbox_id.to_owned(),
            pod_uid,
            at: record::now(),
        };
        // Nobody listening is fine.
        drop(self.shared.events.send(event));
        tracing::warn!(sandbox = sandbox_id, "the pod's monitor has died");
    }

    /// In a shared pid namespace, the end of a container's first process does not end the others.
    async fn end_leftovers(&self, container: &Container) {
        let (sandbox_id, group) = {
            let record = container.record.lock();
            (record.sandbox_id.clone(), record.cgroup.clone())
        };
        let Ok(sandbox) = self.sandbox(&sandbox_id) else { return };
        let shared = sandbox.record.lock().config.namespaces.pid != cri::NamespaceMode::Container;
        if shared {
            self.kill_group(group).await;
        }
    }

    /// Kills what nobody reaps any more.
    async fn kill_group(&self, group: String) {
        let cgroups = self.shared.cgroups.clone();
        if let Err(error) = blocking(move || cgroups.kill(&group)).await {
            tracing::warn!(error = error.chain(), "a lost container cannot be killed");
        }
    }

    fn recorded_exit(&self, container: &Container) -> Option<(i32, cri::UnixNanos)> {
        record::load_exit(&self.shared.layout.container(&container.record.lock().id))
    }

    /// Writes down how a container ended and tells everybody. Later calls do nothing.
    fn container_ended(&self, container: &Container, code: i32, at: cri::UnixNanos) {
        let group = {
            let record = container.record.lock();
            if record.exit.is_some() {
                return;
            }
            record.cgroup.clone()
        };
        let out_of_memory = self.shared.cgroups.oom_kills(&group) > 0;
        let reason = match code {
            _ if out_of_memory => "OOMKilled",
            0 => "Completed",
            _ => "Error",
        };
        let exit = Exit { code, at, reason: reason.to_owned(), message: String::new() };
        self.set_exit(container, exit);
    }

    fn set_exit(&self, container: &Container, exit: Exit) {
        let snapshot = {
            let mut record = container.record.lock();
            if record.exit.is_some() {
                return;
            }
            record.exit = Some(exit);
            record.clone()
        };
        container.ended.send_replace(true);
        self.save_container(&snapshot);
        self.tell(ContainerEventKind::Stopped, &snapshot);
    }

    fn tell(&self, kind: ContainerEventKind, record: &ContainerRecord) {
        let pod_uid = self
            .sandbox(&record.sandbox_id)
            .map(|sandbox| sandbox.record.lock().config.metadata.uid.clone())
            .unwrap_or_default();
        let event = ContainerEvent {
            kind,
            container_id: record.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            pod_uid,
            at: record::now(),
        };
        // Nobody listening is fine.
        drop(self.shared.events.send(event));
    }

    /// Failing to write a record costs knowledge after a restart, nothing now.
    fn save_container(&self, record: &ContainerRecord) {
        let path = self.shared.layout.container(&record.id).join(RECORD_FILE);
        if let Err(error) = record::save(&path, record) {
            tracing::warn!(error = error.chain(), container = record.id, "container record cannot be written");
        }
    }

    fn sandbox(&self, id: &str) -> CriResult<Arc<Sandbox>> {
        let state = self.shared.state.lock();
        state.sandboxes.get(id).cloned().ok_or_else(|| CriError::NotFound(format!("pod sandbox {id:?} not found")))
    }

    fn container(&self, id: &str) -> CriResult<Arc<Container>> {
        let state = self.shared.state.lock();
        state.containers.get(id).cloned().ok_or_else(|| CriError::NotFound(format!("container {id:?} not found")))
    }

    fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        let state = self.shared.state.lock();
        state.containers.values().filter(|c| c.record.lock().sandbox_id == sandbox_id).cloned().collect()
    }
}

/// Exit code of a container whose end nobody saw, as the kubelet's `ContainerStatusUnknown` has it.
const UNKNOWN_EXIT: i32 = 137;

// === impl Shared ===

impl Shared {
    fn new(config: RuntimeConfig, news: mpsc::UnboundedSender<News>) -> Result<Self> {
        use crate::sandbox::create_directory;
        let layout = Layout::new(config.root);
        create_directory(layout.root())?;
        let root = std::fs::canonicalize(layout.root()).map_err(RuntimeError::io("resolve", layout.root()))?;
        let layout = Layout::new(root);
        for directory in [layout.bin(), layout.oci(), layout.sandboxes(), layout.containers()] {
            create_directory(&directory)?;
        }
        crate::sandbox::prepare_run_directory(&layout)?;
        let monitor_program = crate::monitor::install(&layout.bin())?;
        let own = match config.helper {
            Some(path) => path,
            None => std::env::current_exe().map_err(RuntimeError::io("find", "/proc/self/exe"))?,
        };
        let helper_program = crate::sandbox::protect_binary(&own, &layout)?;
        Ok(Self {
            layout,
            puller: config.puller,
            network: config.network,
            default_cgroup_parent: config.default_cgroup_parent,
            version: config.version,
            supervisor: config.supervisor,
            cgroups: Hierarchies::detect()?,
            monitor_program,
            helper_program,
            boot_id: record::boot_id(),
            state: Mutex::default(),
            news,
            events: broadcast::Sender::new(EVENT_BACKLOG),
        })
    }
}

// === impl Container ===

impl Container {
    fn new(record: ContainerRecord) -> Self {
        let ended = watch::Sender::new(record.exit.is_some());
        Self { record: Mutex::new(record), ended, changing: tokio::sync::Mutex::default() }
    }

    fn is_running(&self) -> bool {
        let record = self.record.lock();
        record.started_at != 0 && record.exit.is_none()
    }

    /// Waits for its end.
    async fn wait(&self) {
        // The sender is ours, so this cannot fail while we wait.
        drop(self.ended.subscribe().wait_for(|ended| *ended).await);
    }
}

/// Runs file and mount work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(RuntimeError::Interrupted { operation: "file work" }),
    }
}
