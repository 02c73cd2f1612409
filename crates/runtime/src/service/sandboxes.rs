//! Sandboxes: making, stopping, removing, describing.

use std::sync::Arc;

use cri::{
    CriError, CriResult, NamespaceMode, PodNetworkRequest, PodSandboxConfig, PodSandboxFilter, PodSandboxState,
    PodSandboxStatus,
};
use parking_lot::Mutex;

use super::{Runtime, Sandbox, blocking};
use crate::error::{Result, RuntimeError};
use crate::monitor::{self, Monitor};
use crate::record::{self, SandboxRecord};
use crate::sandbox::{self, Plan};

impl Runtime {
    pub(super) async fn make_sandbox(&self, config: &PodSandboxConfig) -> CriResult<String> {
        let id = record::new_id()?;
        match self.try_make_sandbox(&id, config).await {
            Ok(()) => Ok(id),
            Err(error) => {
                if let Err(cleanup) = self.drop_sandbox(&id).await {
                    tracing::warn!(error = %cleanup, sandbox = id, "a half-made sandbox cannot be removed");
                }
                Err(error)
            }
        }
    }

    async fn try_make_sandbox(&self, id: &str, config: &PodSandboxConfig) -> CriResult<()> {
        if config.namespaces.user.is_some() {
            return Err(CriError::Unimplemented("user namespaces are not supported by this runtime".to_owned()));
        }
        let cgroup_parent = match config.cgroup_parent.as_str() {
            "" => format!("{}/{id}", self.shared.default_cgroup_parent),
            parent if parent.starts_with('/') => parent.to_owned(),
            parent => return Err(CriError::InvalidArgument(format!("cgroup parent {parent:?} is not absolute"))),
        };
        let mut record = SandboxRecord {
            id: id.to_owned(),
            config: config.clone(),
            created_at: record::now(),
            boot_id: self.shared.boot_id.clone(),
            cgroup_parent,
            ips: Vec::new(),
            stopped: false,
            init_pid: None,
            half_made: true,
        };
        let sandbox = Arc::new(Sandbox {
            record: Mutex::new(record.clone()),
            monitor: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        });
        self.shared.state.lock().sandboxes.insert(id.to_owned(), Arc::clone(&sandbox));
        let _changing = sandbox.changing.lock().await;

        let (shared, for_thread) = (Arc::clone(&self.shared), record.clone());
        let socket = on_own_thread(move || {
            let directory = shared.layout.sandbox(&for_thread.id);
            sandbox::create_directory(&directory)?;
            // Written first, so that a restart finds and removes what was begun.
            record::save(&directory.join(record::RECORD_FILE), &for_thread)?;
            let listener = monitor::listen(&directory)?;
            let socket = monitor::connect(&directory)?;
            let program = shared.monitor_program.clone();
            Plan::new(&shared.layout, &for_thread.id, &for_thread.config, program, listener).carry_out()?;
            Ok(socket)
        })
        .await?;
        let monitor = Monitor::new(id, socket, &self.shared.supervisor, self.shared.news.clone())?;
        *sandbox.monitor.lock() = Some(monitor.clone());

        if config.namespaces.network != NamespaceMode::Node {
            record.ips = self.shared.network.attach(&self.network_request(&record)).await?.ips;
        }
        if config.namespaces.pid == NamespaceMode::Pod {
            let program = self.shared.monitor_program.to_string_lossy();
            let answer = monitor.order(&["init", &program], &[]).await?;
            record.init_pid = answer.fields.first().and_then(|pid| pid.parse().ok());
        }
        record.half_made = false;
        let (shared, for_thread) = (Arc::clone(&self.shared), record.clone());
        blocking(move || {
            let directory = shared.layout.sandbox(&for_thread.id);
            sandbox::write_files(&directory, &for_thread.config, &for_thread.ips)?;
            record::save(&directory.join(record::RECORD_FILE), &for_thread)
        })
        .await?;
        *sandbox.record.lock() = record;
        Ok(())
    }

    pub(super) async fn stop_sandbox(&self, id: &str) -> CriResult<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _changing = sandbox.changing.lock().await;
        for container in self.containers_of(id) {
            self.kill_container(&container).await?;
        }
        let record = {
            let mut record = sandbox.record.lock();
            record.stopped = true;
            record.clone()
        };
        if record.config.namespaces.network != NamespaceMode::Node {
            self.shared.network.detach(&self.network_request(&record)).await?;
        }
        // It holds the namespaces too; with it gone they end with their pins.
        let monitor = sandbox.monitor.lock().take();
        if let Some(monitor) = monitor {
            match monitor.order(&["quit"], &[]).await {
                Ok(_) | Err(RuntimeError::MonitorGone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            if let Some(pid) = record.init_pid {
                kill_init(pid);
            }
            sandbox::unpin(&shared.layout.pins(&record.id))?;
            record::save(&shared.layout.sandbox(&record.id).join(record::RECORD_FILE), &record)
        })
        .await?;
        Ok(())
    }

    pub(super) async fn drop_sandbox(&self, id: &str) -> CriResult<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        for container in self.containers_of(id) {
            let container_id = container.record.lock().id.clone();
            self.drop_container(&container_id).await?;
        }
        self.stop_sandbox(id).await?;
        let (shared, parent) = (Arc::clone(&self.shared), sandbox.record.lock().cgroup_parent.clone());
        let directory = self.shared.layout.sandbox(id);
        blocking(move || {
            shared.cgroups.remove_if_empty(&parent);
            record::remove_tree(&directory).map_err(RuntimeError::io("remove", &directory))
        })
        .await?;
        self.shared.state.lock().sandboxes.remove(id);
        Ok(())
    }

    pub(super) fn describe_sandbox(&self, id: &str) -> CriResult<PodSandboxStatus> {
        Ok(self.sandbox_status_of(&*self.sandbox(id)?))
    }

    pub(super) fn list_sandboxes(&self, filter: &PodSandboxFilter) -> Vec<PodSandboxStatus> {
        let sandboxes: Vec<Arc<Sandbox>> = self.shared.state.lock().sandboxes.values().cloned().collect();
        let statuses = sandboxes.iter().map(|sandbox| self.sandbox_status_of(sandbox));
        statuses
            .filter(|status| {
                filter.id.as_ref().is_none_or(|id| *id == status.id)
                    && filter.state.is_none_or(|state| state == status.state)
                    && filter.labels.iter().all(|(key, value)| status.labels.get(key) == Some(value))
            })
            .collect()
    }

    fn sandbox_status_of(&self, sandbox: &Sandbox) -> PodSandboxStatus {
        let connected = sandbox.monitor.lock().as_ref().is_some_and(Monitor::is_connected);
        let record = sandbox.record.lock();
        let ready = connected && !record.stopped && record.init_pid.is_none_or(is_init);
        let own_network = record.config.namespaces.network != NamespaceMode::Node;
        PodSandboxStatus {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            state: if ready { PodSandboxState::Ready } else { PodSandboxState::NotReady },
            created_at: record.created_at,
            ips: record.ips.clone(),
            namespaces: record.config.namespaces.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
            network_namespace: own_network.then(|| self.shared.layout.pins(&record.id).join("net")),
        }
    }

    pub(super) fn network_request(&self, record: &SandboxRecord) -> PodNetworkRequest {
        PodNetworkRequest {
            sandbox_id: record.id.clone(),
            namespace: record.config.metadata.namespace.clone(),
            name: record.config.metadata.name.clone(),
            uid: record.config.metadata.uid.clone(),
            netns: self.shared.layout.pins(&record.id).join("net"),
            port_mappings: record.config.port_mappings.clone(),
            annotations: record.config.annotations.clone(),
        }
    }

    /// The connection to a sandbox's monitor.
    pub(super) fn monitor_of(&self, sandbox_id: &str) -> CriResult<Monitor> {
        let sandbox = self.sandbox(sandbox_id)?;
        let monitor = sandbox.monitor.lock().clone();
        monitor.ok_or_else(|| CriError::FailedPrecondition(format!("pod sandbox {sandbox_id:?} is not running")))
    }
}

/// Whether `pid` still is the first process of a shared pid namespace, and not another one of that number.
pub(super) fn is_init(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "tiphys-init")
}

/// Ends the first process of the shared pid namespace; with it every process of the namespace ends.
fn kill_init(pid: i32) {
    if is_init(pid) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// Runs work that changes its thread for good: the thread ends with it, instead of going back to a pool.
async fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("sandbox".to_owned())
        .stack_size(256 << 10)
        .spawn(move || drop(sender.send(work())))
        .map_err(RuntimeError::io("start", "thread"))?;
    receiver.await.map_err(|_| RuntimeError::Interrupted { operation: "making the sandbox" })?
}
