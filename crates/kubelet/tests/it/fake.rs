//! A runtime whose containers are entries in a table. They end when a test says so or when they are stopped.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cri::*;
use futures::FutureExt as _;
use jiff::Timestamp;
use std::sync::Mutex;
use tokio::sync::{broadcast, watch};

#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    events: broadcast::Sender<ContainerEvent>,
    /// Counts changes, for those who wait.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, PodSandboxStatus>,
    containers: BTreeMap<String, (ContainerStatus, ContainerConfig)>,
    images: BTreeMap<String, Image>,
    next: u32,
    /// What was asked for, in order.
    calls: Vec<String>,
}

/// A process that is killed unless it ended by itself.
struct Killed(Option<Fake>);

impl Killed {
    fn ended(mut self) {
        self.0.take();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(fake) = self.0.take() {
            fake.call("killed".to_owned());
        }
    }
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap()
}

impl Fake {
    pub(crate) fn new() -> Self {
        let fake = Fake {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                events: broadcast::Sender::new(1024),
                changed: watch::Sender::new(0),
            }),
        };
        fake.add_image("docker.io/library/busybox:latest");
        fake
    }

    pub(crate) fn add_image(&self, name: &str) {
        let image =
            Image { id: format!("sha256:{name}"), repo_tags: vec![name.to_owned()], size: 1000, ..Image::default() };
        self.inner.state.lock().unwrap().images.insert(name.to_owned(), image);
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.inner.state.lock().unwrap().calls.clone()
    }

    pub(crate) fn config(&self, container: &str) -> ContainerConfig {
        let state = self.inner.state.lock().unwrap();
        let mut found: Vec<_> =
            state.containers.values().filter(|(_, config)| config.metadata.name == container).collect();
        found.sort_by_key(|(status, _)| status.created_at);
        found.last().map(|(_, config)| config.clone()).expect("container was made")
    }

    pub(crate) fn sandbox_count(&self) -> usize {
        self.inner.state.lock().unwrap().sandboxes.len()
    }

    /// Ends the running container of that name.
    pub(crate) fn end(&self, container: &str, code: i32) {
        let id = {
            let state = self.inner.state.lock().unwrap();
            let running = state
                .containers
                .values()
                .find(|(status, config)| config.metadata.name == container && status.state == ContainerState::Running);
            running.map(|(status, _)| status.id.clone()).expect("a running container")
        };
        self.finish(&id, code);
    }

    fn finish(&self, id: &str, code: i32) {
        let event = {
            let mut state = self.inner.state.lock().unwrap();
            let Some((status, _)) = state.containers.get_mut(id) else { return };
            if status.state == ContainerState::Exited {
                return;
            }
            status.state = ContainerState::Exited;
            status.exit_code = code;
            status.finished_at = now();
            status.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
            let sandbox = status.sandbox_id.clone();
            let uid = state.sandboxes.get(&sandbox).map(|sandbox| sandbox.metadata.uid.clone()).unwrap_or_default();
            ContainerEvent {
                kind: ContainerEventKind::Stopped,
                container_id: id.to_owned(),
                sandbox_id: sandbox,
                pod_uid: uid,
                at: now(),
            }
        };
        let _nobody = self.inner.events.send(event);
        self.inner.changed.send_modify(|count| *count += 1);
    }

    fn call(&self, text: String) {
        self.inner.state.lock().unwrap().calls.push(text);
    }

    fn keep(&self) -> Session {
        let (stdin, mut input) = tokio::io::duplex(64);
        let fake = self.clone();
        let process = Killed(Some(self.clone()));
        let exit = async move {
            let mut kept = String::new();
            let read = tokio::io::AsyncReadExt::read_to_string(&mut input, &mut kept).await;
            process.ended();
            fake.call(format!("kept {kept}"));
            read.map(|_| 0).map_err(|error| CriError::Unimplemented(error.to_string()))
        };
        let (resize, _) = tokio::sync::mpsc::channel(1);
        Session { stdin: Some(Box::new(stdin)), stdout: None, stderr: None, resize, exit: exit.boxed() }
    }

    fn id(&self, prefix: &str) -> String {
        let mut state = self.inner.state.lock().unwrap();
        state.next += 1;
        format!("{prefix}{}", state.next)
    }
}

fn missing(what: &str) -> CriError {
    CriError::NotFound(format!("{what} not found"))
}

fn matches(labels: &StringMap, wanted: &StringMap) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[async_trait]
impl RuntimeService for Fake {
    fn version(&self) -> (String, String) {
        ("fake".to_owned(), "1.0".to_owned())
    }

    async fn status(&self) -> CriResult<()> {
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> CriResult<String> {
        self.call(format!("sandbox {}", config.metadata.name));
        let id = self.id("sandbox");
        let number = self.inner.state.lock().unwrap().next;
        let status = PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: PodSandboxState::Ready,
            created_at: now(),
            ips: vec![IpAddr::from([10, 42, 0, u8::try_from(number % 250).unwrap()])],
            namespaces: config.namespaces.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            network_namespace: None,
        };
        self.inner.state.lock().unwrap().sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> CriResult<()> {
        self.call(format!("stop {sandbox_id}"));
        let containers: Vec<String> = {
            let mut state = self.inner.state.lock().unwrap();
            state.sandboxes.get_mut(sandbox_id).ok_or_else(|| missing(sandbox_id))?.state = PodSandboxState::NotReady;
            let of = |status: &&(ContainerStatus, ContainerConfig)| status.0.sandbox_id == sandbox_id;
            state.containers.values().filter(of).map(|(status, _)| status.id.clone()).collect()
        };
        for id in containers {
            self.finish(&id, 137);
        }
        Ok(())
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> CriResult<()> {
        self.call(format!("remove {sandbox_id}"));
        let mut state = self.inner.state.lock().unwrap();
        state.sandboxes.remove(sandbox_id);
        state.containers.retain(|_, (status, _)| status.sandbox_id != sandbox_id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> CriResult<PodSandboxStatus> {
        self.inner.state.lock().unwrap().sandboxes.get(sandbox_id).cloned().ok_or_else(|| missing(sandbox_id))
    }

    async fn list_pod_sandbox(&self, filter: &PodSandboxFilter) -> CriResult<Vec<PodSandboxStatus>> {
        let state = self.inner.state.lock().unwrap();
        Ok(state.sandboxes.values().filter(|sandbox| matches(&sandbox.labels, &filter.labels)).cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox: &PodSandboxConfig,
    ) -> CriResult<String> {
        self.call(format!("create {} #{}", config.metadata.name, config.metadata.attempt));
        let id = self.id("container");
        let log_path = PathBuf::from(&sandbox.log_directory).join(&config.log_path).to_string_lossy().into_owned();
        std::fs::write(&log_path, "2024-01-01T00:00:00Z stdout F hello\n").map_err(CriError::internal)?;
        let status = ContainerStatus {
            id: id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            metadata: config.metadata.clone(),
            state: ContainerState::Created,
            created_at: now(),
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: config.user_specified_image.clone(),
            image_ref: config.image.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path,
            resources: config.resources.clone(),
            user: Some((0, 0, vec![0])),
            stop_signal: "SIGTERM".to_owned(),
            pid: 1,
        };
        self.inner.state.lock().unwrap().containers.insert(id.clone(), (status, config.clone()));
        Ok(id)
    }

    async fn start_container(&self, container_id: &str) -> CriResult<()> {
        let command = {
            let mut state = self.inner.state.lock().unwrap();
            let (status, config) = state.containers.get_mut(container_id).ok_or_else(|| missing(container_id))?;
            status.state = ContainerState::Running;
            status.started_at = now();
            config.command.clone()
        };
        self.inner.changed.send_modify(|count| *count += 1);
        match command.first().map(String::as_str) {
            Some("exit") => self.finish(container_id, command[1].parse().unwrap()),
            Some("nonsense") => {
                self.finish(container_id, 128);
                return Err(CriError::StartContainer(
                    "exec: \"nonsense\": executable file not found in $PATH".to_owned(),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    async fn stop_container(&self, container_id: &str, timeout: Duration) -> CriResult<()> {
        self.call(format!("stop {container_id} {}s", timeout.as_secs_f64().round()));
        self.finish(container_id, 143);
        Ok(())
    }

    async fn remove_container(&self, container_id: &str) -> CriResult<()> {
        self.inner.state.lock().unwrap().containers.remove(container_id);
        Ok(())
    }

    async fn container_status(&self, container_id: &str) -> CriResult<ContainerStatus> {
        let state = self.inner.state.lock().unwrap();
        state.containers.get(container_id).map(|(status, _)| status.clone()).ok_or_else(|| missing(container_id))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> CriResult<Vec<ContainerStatus>> {
        let state = self.inner.state.lock().unwrap();
        let wanted = |status: &&ContainerStatus| {
            matches(&status.labels, &filter.labels)
                && filter.sandbox_id.as_ref().is_none_or(|id| *id == status.sandbox_id)
        };
        Ok(state.containers.values().map(|(status, _)| status).filter(wanted).cloned().collect())
    }

    async fn update_container_resources(&self, _container_id: &str, _resources: &LinuxResources) -> CriResult<()> {
        Ok(())
    }

    async fn reopen_container_log(&self, _container_id: &str) -> CriResult<()> {
        Ok(())
    }

    async fn exec_sync(&self, _id: &str, command: &[String], _timeout: Option<Duration>) -> CriResult<ExecSyncResult> {
        self.call(format!("exec {}", command.join(" ")));
        let failed = command.first().is_some_and(|word| word == "false");
        Ok(ExecSyncResult { stdout: b"output".to_vec(), stderr: Vec::new(), exit_code: i32::from(failed) })
    }

    /// Gives back on standard output what comes on standard input; ends with the length of the command. `keep` says
    /// instead what it has read when its input has ended, or that it was killed before.
    async fn exec(&self, request: &ExecRequest) -> CriResult<Session> {
        if request.command == ["keep"] {
            return Ok(self.keep());
        }
        let (stdin, stdout) = tokio::io::duplex(64);
        let (_, empty) = tokio::io::duplex(1);
        let code = i32::try_from(request.command.len()).unwrap() - 1;
        let (resize, _) = tokio::sync::mpsc::channel(1);
        Ok(Session {
            stdin: Some(Box::new(stdin)),
            stdout: Some(Box::new(stdout)),
            stderr: Some(Box::new(empty)),
            resize,
            exit: async move { Ok(code) }.boxed(),
        })
    }

    async fn attach(&self, _request: &AttachRequest) -> CriResult<Session> {
        Err(CriError::Unimplemented("attach".to_owned()))
    }

    async fn port_forward(&self, _sandbox_id: &str, _port: u16) -> CriResult<Box<dyn Duplex>> {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let echo = async move {
            let (mut reader, mut writer) = tokio::io::split(&mut theirs);
            let _ended = tokio::io::copy(&mut reader, &mut writer).await;
        };
        supervisor::Supervisor::new().spawn_guarded("echo", echo).detach();
        Ok(Box::new(ours))
    }

    async fn container_stats(&self, _container_id: &str) -> CriResult<ContainerStats> {
        Ok(ContainerStats::default())
    }

    async fn pod_sandbox_stats(&self, _sandbox_id: &str) -> CriResult<PodSandboxStats> {
        Ok(PodSandboxStats::default())
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.inner.events.subscribe()
    }
}

#[async_trait]
impl ImageService for Fake {
    async fn list_images(&self) -> CriResult<Vec<Image>> {
        Ok(self.inner.state.lock().unwrap().images.values().cloned().collect())
    }

    async fn image_status(&self, image: &str) -> CriResult<Option<Image>> {
        let state = self.inner.state.lock().unwrap();
        let full = format!("docker.io/library/{image}");
        Ok(state
            .images
            .values()
            .find(|own| own.id == image || own.repo_tags.iter().any(|tag| tag == image || *tag == full))
            .cloned())
    }

    async fn pull_image(&self, image: &str, _auth: Option<&AuthConfig>) -> CriResult<PulledImage> {
        match self.image_status(image).await? {
            Some(image) => Ok(PulledImage { image_ref: image.id, size: image.size, served_from_store: true }),
            None => Err(CriError::NotFound(format!("{image}: not found"))),
        }
    }

    async fn remove_image(&self, _image: &str) -> CriResult<()> {
        Ok(())
    }

    async fn image_fs_info(&self) -> CriResult<FilesystemUsage> {
        Ok(FilesystemUsage { mountpoint: "/".to_owned(), ..FilesystemUsage::default() })
    }
}
