//! The two services of the interface.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::*;

/// Sandboxes and containers. Upstream counterpart: `runtime.v1.RuntimeService`.
///
/// All removing and stopping calls are idempotent: what is gone already is success.
#[async_trait]
pub trait RuntimeService: Send + Sync + 'static {
    /// Name and version, for the node's status (`tiphys`, `0.1.0`).
    fn version(&self) -> (String, String);

    /// Whether the runtime and the pod network work; the error says what does not.
    async fn status(&self) -> CriResult<()>;

    /// Makes a sandbox and attaches it to the network; its id.
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> CriResult<String>;
    /// Ends all containers of a sandbox by force and releases its network; its status stays.
    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> CriResult<()>;
    /// Removes a sandbox and its containers without a trace.
    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> CriResult<()>;
    /// One sandbox.
    async fn pod_sandbox_status(&self, sandbox_id: &str) -> CriResult<PodSandboxStatus>;
    /// All sandboxes that match.
    async fn list_pod_sandbox(&self, filter: &PodSandboxFilter) -> CriResult<Vec<PodSandboxStatus>>;

    /// Makes a container in a sandbox without starting it; its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> CriResult<String>;
    /// Starts a created container. Returns when its own first process has been executed.
    async fn start_container(&self, container_id: &str) -> CriResult<()>;
    /// Asks the container to stop with its stop signal and kills it after `timeout`; returns when it has ended.
    /// A second call with a shorter timeout shortens the first.
    async fn stop_container(&self, container_id: &str, timeout: Duration) -> CriResult<()>;
    /// Removes a container, by force if it still runs. Its log file stays.
    async fn remove_container(&self, container_id: &str) -> CriResult<()>;
    /// One container.
    async fn container_status(&self, container_id: &str) -> CriResult<ContainerStatus>;
    /// All containers that match.
    async fn list_containers(&self, filter: &ContainerFilter) -> CriResult<Vec<ContainerStatus>>;
    /// Changes limits of a running container.
    async fn update_container_resources(&self, container_id: &str, resources: &LinuxResources) -> CriResult<()>;
    /// Opens the log file anew, after it was renamed.
    async fn reopen_container_log(&self, container_id: &str) -> CriResult<()>;

    /// Runs a command to its end; past `timeout` it is killed and the answer is `DeadlineExceeded`.
    async fn exec_sync(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> CriResult<ExecSyncResult>;
    /// Runs a command with live streams.
    async fn exec(&self, request: &ExecRequest) -> CriResult<Session>;
    /// Joins the streams of a container's own process.
    async fn attach(&self, request: &AttachRequest) -> CriResult<Session>;
    /// Opens a connection to a port on the sandbox's loopback.
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> CriResult<Box<dyn Duplex>>;

    /// Use of resources of one container.
    async fn container_stats(&self, container_id: &str) -> CriResult<ContainerStats>;
    /// Use of resources of one sandbox and its containers.
    async fn pod_sandbox_stats(&self, sandbox_id: &str) -> CriResult<PodSandboxStats>;

    /// Everything that happens to containers from now on, as it happens.
    fn events(&self) -> broadcast::Receiver<ContainerEvent>;
}

/// Images. Upstream counterpart: `runtime.v1.ImageService`.
#[async_trait]
pub trait ImageService: Send + Sync + 'static {
    /// All images.
    async fn list_images(&self) -> CriResult<Vec<Image>>;
    /// An image by reference, id or id prefix; `None` where it is not on the node.
    async fn image_status(&self, image: &str) -> CriResult<Option<Image>>;
    /// Fetches an image. Where no registry answers but the node has the image, that copy is the answer.
    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> CriResult<PulledImage>;
    /// Removes an image with all its names; gone already is success.
    async fn remove_image(&self, image: &str) -> CriResult<()>;
    /// Disk use.
    async fn image_fs_info(&self) -> CriResult<FilesystemUsage>;
}
