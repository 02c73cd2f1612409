//! The operations a pod's machine asks for, each from one snapshot to one result.
//! Upstream: pkg/kubelet/kuberuntime.

use std::sync::Arc;
use std::time::Duration;

use cri::{ContainerState, CriError, PodSandboxFilter, PodSandboxState};
use informer::EventKind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::{Done, field_path, hooks, image, mounts};
use crate::env;
use crate::objects::PodObjects;
use crate::pod::{Exit, Index, Input, Life, LinuxUser, Outcome, ProbeKind, Role, SandboxInfo, StartFailure};
use crate::shared::Shared;
use crate::spec::{self, ContainerInputs};
use crate::volumes::{self, PodVolumes, VolumeCx, VolumeFailure};
use crate::{prober, qos};

/// Least time a container is left after its pre-stop hook.
const LEAST_AFTER_HOOK: SignedDuration = SignedDuration::from_secs(2);
/// A call of the runtime that failed is made again after this.
const RETRY: Duration = Duration::from_secs(1);
/// How much of a container's last words is kept.
const MAX_TERMINATION_MESSAGE: usize = 4096;
const FALLBACK_LINES: usize = 80;
const FALLBACK_BYTES: usize = 2048;

/// A snapshot for one operation.
#[derive(Clone)]
pub(super) struct Cx {
    pub shared: Arc<Shared>,
    pub pod: Arc<Pod>,
    pub objects: Arc<PodObjects>,
    pub volumes: Arc<PodVolumes>,
    pub sandbox: Option<SandboxInfo>,
    pub containers: Vec<Arc<Container>>,
    pub roles: Vec<Role>,
}

// === impl Cx ===

impl Cx {
    pub(super) fn container(&self, index: Index) -> Arc<Container> {
        self.containers.get(index).cloned().unwrap_or_default()
    }

    pub(super) fn reference(&self, index: Option<Index>) -> ObjectReference {
        let mut about = informer::reference(&*self.pod);
        if let (Some(index), Some(container)) = (index, index.and_then(|index| self.containers.get(index))) {
            about.field_path = Some(field_path(self.roles.get(index).copied().unwrap_or(Role::Main), &container.name));
        }
        about
    }

    pub(super) fn event(&self, index: Option<Index>, kind: EventKind, reason: &str, message: impl Into<String>) {
        self.shared.recorder.event(&self.reference(index), kind, reason, message);
    }

    pub(super) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Addresses under which the pod's containers are reached.
    pub(super) fn pod_ips(&self) -> Vec<String> {
        if self.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
            return self.shared.config.host_ips();
        }
        self.sandbox.as_ref().map(|info| info.ips.clone()).unwrap_or_default()
    }

    fn sandbox_config(&self, attempt: u32) -> Result<cri::PodSandboxConfig, String> {
        let config = &self.shared.config;
        let cluster_dns: Vec<_> = config.cluster_dns.iter().map(ToString::to_string).collect();
        let (dns, missing) = spec::dns_config(&self.pod, &cluster_dns, &config.cluster_domain, &self.shared.resolver);
        if missing {
            let message = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.";
            self.event(None, EventKind::Warning, "MissingClusterDNS", message);
        }
        spec::sandbox_config(config, &self.pod, attempt, dns)
    }

    async fn set_up(&self) -> Result<PodVolumes, Vec<VolumeFailure>> {
        let facts = self.shared.facts(&self.pod_ips());
        let cx = VolumeCx {
            config: &self.shared.config,
            client: &self.shared.client,
            images: &self.shared.images,
            objects: &self.objects,
            facts: &facts,
        };
        volumes::set_up(&cx, &self.pod, self.volumes.tokens()).await
    }
}

pub(super) async fn volumes_up(cx: Cx) -> Done {
    Done::VolumesUp(cx.set_up().await)
}

pub(super) async fn volumes_refresh(cx: Cx) -> Done {
    Done::VolumesRefreshed(cx.set_up().await)
}

pub(super) async fn create_sandbox(cx: Cx, attempt: u32) -> Done {
    Done::Input(Input::Sandbox(make_sandbox(&cx, attempt).await))
}

async fn make_sandbox(cx: &Cx, attempt: u32) -> Result<SandboxInfo, String> {
    let config = cx.sandbox_config(attempt)?;
    let shared = &cx.shared;
    let Ok(_permit) = shared.starts.acquire().await else { return Err("the node is shutting down".to_owned()) };
    if attempt > 0 {
        remove_sandboxes(cx, true).await?;
    }
    let limits = qos::pod_resources(&cx.pod, shared.config.pod_pids_limit);
    shared.cgroups.create(&config.cgroup_parent, &limits).map_err(|error| {
        format!("failed to ensure that the pod: {} cgroups exist and are correctly applied: {error}", cx.uid())
    })?;
    std::fs::create_dir_all(&config.log_directory).map_err(|error| format!("create log directory: {error}"))?;
    let id = shared.runtime.run_pod_sandbox(&config).await.map_err(|error| error.to_string())?;
    let status = shared.runtime.pod_sandbox_status(&id).await.map_err(|error| error.to_string())?;
    Ok(SandboxInfo { id, ips: status.ips.iter().map(ToString::to_string).collect(), attempt })
}

/// Removes the pod's sandboxes from the runtime; only those that are down, or all.
pub(super) async fn remove_sandboxes(cx: &Cx, only_dead: bool) -> Result<(), String> {
    let runtime = &cx.shared.runtime;
    let labels = cri::StringMap::from([
        (spec::labels::POD_UID.to_owned(), cx.uid().to_owned()),
        (spec::labels::NODE.to_owned(), cx.shared.config.node_name.clone()),
    ]);
    let filter = PodSandboxFilter { labels, ..PodSandboxFilter::default() };
    for sandbox in runtime.list_pod_sandbox(&filter).await.map_err(|error| error.to_string())? {
        if only_dead && sandbox.state == PodSandboxState::Ready {
            continue;
        }
        if sandbox.state == PodSandboxState::Ready {
            runtime.stop_pod_sandbox(&sandbox.id).await.map_err(|error| error.to_string())?;
        }
        runtime.remove_pod_sandbox(&sandbox.id).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub(super) async fn start_container(cx: Cx, index: Index, attempt: u32, image: String) -> Done {
    Done::Input(Input::Started { container: index, result: make_container(&cx, index, attempt, image).await })
}

async fn make_container(cx: &Cx, index: Index, attempt: u32, image: String) -> Result<Life, StartFailure> {
    let shared = &cx.shared;
    let container = cx.container(index);
    let config_error = |message: String| StartFailure { reason: "CreateContainerConfigError", message, ended: None };
    let create_error = |message: String| StartFailure { reason: "CreateContainerError", message, ended: None };
    let Some(sandbox) = &cx.sandbox else { return Err(create_error("the pod has no sandbox".to_owned())) };
    let Ok(_permit) = shared.starts.acquire().await else {
        return Err(create_error("the node is shutting down".to_owned()));
    };
    let (config_maps, secrets) = env::references(&container);
    let objects = cx.objects.collect(&config_maps, &secrets).await.map_err(|error| config_error(error.to_string()))?;
    shared.services.synced().await;
    let facts = shared.facts(&cx.pod_ips());
    let services = relevant_services(cx);
    let mut env = env::environment(&cx.pod, &container, &facts, &objects, &services)
        .map_err(|error| config_error(error.to_string()))?;
    let sandbox_config = cx.sandbox_config(sandbox.attempt).map_err(create_error)?;
    if !env.iter().any(|(name, _)| name == "HOSTNAME") {
        env.insert(0, ("HOSTNAME".to_owned(), sandbox_config.hostname.clone()));
    }
    let image_user = image::user(cx, &container, &image).await.map_err(|error| create_error(error.to_string()))?;
    let mounts = mounts::of(cx, &container, &env).map_err(config_error)?;
    let inputs = ContainerInputs { attempt, image, image_user, env, mounts, memory_capacity: shared.memory_capacity };
    let config = spec::container_config(&shared.config, &cx.pod, &container, inputs)
        .map_err(|error| config_error(error.to_string()))?;
    let logs = std::path::Path::new(&sandbox_config.log_directory).join(&container.name);
    std::fs::create_dir_all(&logs).map_err(|error| create_error(format!("create log directory: {error}")))?;
    let id = match shared.runtime.create_container(&sandbox.id, &config, &sandbox_config).await {
        Ok(id) => id,
        Err(error) => return Err(create_error(error.to_string())),
    };
    cx.event(Some(index), EventKind::Normal, "Created", "Container created");
    if let Err(error) = shared.runtime.start_container(&id).await {
        return Err(start_failure(cx, &id, attempt, error).await);
    }
    match shared.runtime.container_status(&id).await {
        Ok(status) => Ok(life_of(&status)),
        Err(error) => Err(create_error(error.to_string())),
    }
}

/// A container that was made and could not be executed has an end like any other.
async fn start_failure(cx: &Cx, id: &str, _attempt: u32, error: CriError) -> StartFailure {
    let message = error.to_string();
    let status = cx.shared.runtime.container_status(id).await.ok();
    let life = status
        .as_ref()
        .map_or_else(|| Life { id: id.to_owned(), started: Timestamp::UNIX_EPOCH, ..Life::default() }, life_of);
    let exit = match status.as_ref().filter(|status| status.state == ContainerState::Exited) {
        Some(status) => exit_of(cx, status),
        None => Exit {
            code: 128,
            signal: None,
            finished: Timestamp::now(),
            reason: "StartError".to_owned(),
            message: message.clone(),
        },
    };
    StartFailure { reason: "RunContainerError", message, ended: Some(Box::new((life, exit))) }
}

/// Services that the pod's environment can name.
fn relevant_services(cx: &Cx) -> Vec<Arc<k8s_openapi::api::core::v1::Service>> {
    let namespace = cx.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = cx.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut services = if links { cx.shared.services.list_namespace(namespace) } else { Vec::new() };
    if !(links && namespace == "default") {
        services.extend(cx.shared.services.get(&informer::ObjectKey::new("default", "kubernetes")));
    }
    services
}

pub(crate) fn life_of(status: &cri::ContainerStatus) -> Life {
    Life {
        id: status.id.clone(),
        started: Timestamp::from_nanosecond(i128::from(status.started_at)).unwrap_or(Timestamp::UNIX_EPOCH),
        image: status.image.clone(),
        image_id: status.image_ref.clone(),
        user: status.user.as_ref().map(|(uid, gid, groups)| LinuxUser {
            uid: *uid,
            gid: *gid,
            supplemental_groups: groups.clone(),
        }),
    }
}

fn exit_of(cx: &Cx, status: &cri::ContainerStatus) -> Exit {
    let message = termination_message(cx, status);
    Exit {
        code: status.exit_code,
        signal: None,
        finished: Timestamp::from_nanosecond(i128::from(status.finished_at)).unwrap_or_else(|_| Timestamp::now()),
        reason: status.reason.clone(),
        message: if message.is_empty() { status.message.clone() } else { message },
    }
}

/// How a container ended, its last words included.
pub(crate) fn exit_of_status(shared: &Arc<Shared>, pod: &Arc<Pod>, status: &cri::ContainerStatus) -> Exit {
    let cx = Cx {
        shared: shared.clone(),
        pod: pod.clone(),
        objects: Arc::default(),
        volumes: Arc::default(),
        sandbox: None,
        containers: Vec::new(),
        roles: Vec::new(),
    };
    exit_of(&cx, status)
}

fn termination_message(cx: &Cx, status: &cri::ContainerStatus) -> String {
    let Some(path) = status.annotations.get(spec::labels::TERMINATION_PATH) else { return String::new() };
    let file = status.mounts.iter().find(|mount| mount.container_path == *path).map(|mount| mount.host_path.clone());
    let mut content = file.and_then(|file| read_head(&file, MAX_TERMINATION_MESSAGE).ok()).unwrap_or_default();
    let fallback =
        status.annotations.get(spec::labels::TERMINATION_POLICY).map(String::as_str) == Some("FallbackToLogsOnError");
    if content.is_empty() && fallback && status.exit_code != 0 {
        let log = if status.log_path.is_empty() {
            format!(
                "{}/{}/{}.log",
                spec::log_directory(&cx.shared.config, &cx.pod),
                status.metadata.name,
                status.metadata.attempt
            )
        } else {
            status.log_path.clone()
        };
        content = crate::logs::last_lines(&log, FALLBACK_LINES, FALLBACK_BYTES).unwrap_or_default();
    }
    content
}

/// The container writes this file: never more than asked for is read, and a link is not followed.
fn read_head(path: &str, limit: usize) -> std::io::Result<String> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut content = Vec::new();
    file.take(limit as u64).read_to_end(&mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Asks the runtime how a container ended.
/// The end of a container, and whether its sandbox went with it: nothing can be started in one that is dead.
pub(super) async fn exit(cx: Cx, id: String) -> Done {
    match cx.shared.runtime.container_status(&id).await {
        Ok(status) if status.state == ContainerState::Exited => {
            let sandbox_alive = match &cx.sandbox {
                Some(sandbox) => sandbox_alive(&cx, &sandbox.id).await,
                None => true,
            };
            Done::Looked { exits: vec![(id, exit_of(&cx, &status))], sandbox_alive }
        }
        Ok(_) => Done::Nothing,
        Err(error) if error.is_not_found() => Done::Input(Input::Exited { id, exit: lost() }),
        Err(error) => {
            tracing::warn!(%error, id, "end of a container not known");
            tokio::time::sleep(RETRY).await;
            Done::Looked { exits: Vec::new(), sandbox_alive: true }
        }
    }
}

fn lost() -> Exit {
    Exit {
        code: 137,
        signal: None,
        finished: Timestamp::now(),
        reason: "ContainerStatusUnknown".to_owned(),
        message: "The container could not be located when the pod was terminated".to_owned(),
    }
}

async fn sandbox_alive(cx: &Cx, id: &str) -> bool {
    match cx.shared.runtime.pod_sandbox_status(id).await {
        Ok(status) => status.state == PodSandboxState::Ready,
        Err(error) => !error.is_not_found(),
    }
}

/// Compares with the runtime after events may have been missed.
pub(super) async fn look(cx: Cx, sandbox: Option<String>) -> Done {
    let Some(sandbox) = sandbox else { return Done::Nothing };
    let runtime = &cx.shared.runtime;
    let sandbox_alive = sandbox_alive(&cx, &sandbox).await;
    let filter = cri::ContainerFilter { sandbox_id: Some(sandbox), ..cri::ContainerFilter::default() };
    let exits = match runtime.list_containers(&filter).await {
        Ok(list) => list
            .iter()
            .filter(|status| status.state == ContainerState::Exited)
            .map(|status| (status.id.clone(), exit_of(&cx, status)))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "containers of a sandbox not listed");
            Vec::new()
        }
    };
    Done::Looked { exits, sandbox_alive }
}

pub(super) async fn kill(cx: Cx, index: Index, id: String, grace: SignedDuration, pre_stop: bool) -> Done {
    let started = Timestamp::now();
    let mut left = grace;
    if pre_stop && grace > SignedDuration::ZERO {
        hooks::pre_stop(&cx, index, &id, grace).await;
        left = (grace - Timestamp::now().duration_since(started)).max(LEAST_AFTER_HOOK);
    }
    let timeout = Duration::try_from(left).unwrap_or_default();
    loop {
        match cx.shared.runtime.stop_container(&id, timeout).await {
            Ok(()) => return exit(cx, id).await,
            Err(error) if error.is_not_found() => return Done::Input(Input::Exited { id, exit: lost() }),
            Err(error) => {
                tracing::warn!(%error, id, "container not stopped");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

pub(super) async fn probe(cx: Cx, index: Index, id: String, kind: ProbeKind) -> Done {
    let container = cx.container(index);
    let outcome = match kind.of(&container) {
        Some(probe) => {
            let ips = cx.pod_ips();
            prober::run(&*cx.shared.runtime, probe, &container, &id, ips.first().map(String::as_str)).await
        }
        None => Outcome::Success,
    };
    Done::Input(Input::Probed { container: index, id, kind, outcome })
}

pub(super) async fn remove_container(cx: Cx, id: String) -> Done {
    if id.is_empty() {
        return Done::Nothing;
    }
    if let Err(error) = cx.shared.runtime.remove_container(&id).await {
        tracing::warn!(%error, id, "dead container not removed");
    }
    Done::Nothing
}

pub(super) async fn stop_sandbox(cx: Cx, id: String) -> Done {
    loop {
        match cx.shared.runtime.stop_pod_sandbox(&id).await {
            Ok(()) => return Done::Input(Input::SandboxStopped(Ok(()))),
            Err(error) if error.is_not_found() => return Done::Input(Input::SandboxStopped(Ok(()))),
            Err(error) => {
                cx.event(None, EventKind::Warning, "FailedKillPod", format!("error killing pod: {error}"));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Deletes the object, now that nothing of it is left here.
pub(super) async fn delete(cx: Cx) -> Done {
    let meta = &cx.pod.metadata;
    let pods: Api<Pod> = Api::namespaced(cx.shared.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    let result = match pods.delete(meta.name.as_deref().unwrap_or_default(), &params).await {
        Ok(_) => Ok(()),
        // Not there, or another pod's name by now: what was to go is gone.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    Done::Input(Input::Deleted(result))
}
