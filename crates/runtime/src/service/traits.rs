//! The runtime service: each call leads to where it is done.

use std::time::Duration;

use cri::{
    AttachRequest, ContainerConfig, ContainerEvent, ContainerFilter, ContainerStats, ContainerStatus, CriResult,
    Duplex, ExecRequest, ExecSyncResult, LinuxResources, PodSandboxConfig, PodSandboxFilter, PodSandboxStats,
    PodSandboxStatus, RuntimeService, Session,
};
use tokio::sync::broadcast;

use super::Runtime;

#[async_trait::async_trait]
impl RuntimeService for Runtime {
    fn version(&self) -> (String, String) {
        self.shared.version.clone()
    }

    async fn status(&self) -> CriResult<()> {
        self.shared.network.ready().await
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> CriResult<String> {
        self.make_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> CriResult<()> {
        self.stop_sandbox(sandbox_id).await
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> CriResult<()> {
        self.drop_sandbox(sandbox_id).await
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> CriResult<PodSandboxStatus> {
        self.describe_sandbox(sandbox_id)
    }

    async fn list_pod_sandbox(&self, filter: &PodSandboxFilter) -> CriResult<Vec<PodSandboxStatus>> {
        Ok(self.list_sandboxes(filter))
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> CriResult<String> {
        self.make_container(sandbox_id, config, sandbox_config).await
    }

    async fn start_container(&self, container_id: &str) -> CriResult<()> {
        self.launch_container(container_id).await
    }

    async fn stop_container(&self, container_id: &str, timeout: Duration) -> CriResult<()> {
        self.end_container(container_id, timeout).await
    }

    async fn remove_container(&self, container_id: &str) -> CriResult<()> {
        self.drop_container(container_id).await
    }

    async fn container_status(&self, container_id: &str) -> CriResult<ContainerStatus> {
        self.describe_container(container_id)
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> CriResult<Vec<ContainerStatus>> {
        Ok(self.list_all_containers(filter))
    }

    async fn update_container_resources(&self, container_id: &str, resources: &LinuxResources) -> CriResult<()> {
        self.change_resources(container_id, resources).await
    }

    async fn reopen_container_log(&self, container_id: &str) -> CriResult<()> {
        let sandbox_id = self.container(container_id)?.record.lock().sandbox_id.clone();
        self.monitor_of(&sandbox_id)?.order(&["reopen", container_id], &[]).await?;
        Ok(())
    }

    async fn exec_sync(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> CriResult<ExecSyncResult> {
        self.run_to_end(container_id, command, timeout).await
    }

    async fn exec(&self, request: &ExecRequest) -> CriResult<Session> {
        self.run_live(request).await
    }

    async fn attach(&self, request: &AttachRequest) -> CriResult<Session> {
        self.join_streams(request).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> CriResult<Box<dyn Duplex>> {
        self.connect_to(sandbox_id, port).await
    }

    async fn container_stats(&self, container_id: &str) -> CriResult<ContainerStats> {
        self.measure_container(container_id).await
    }

    async fn pod_sandbox_stats(&self, sandbox_id: &str) -> CriResult<PodSandboxStats> {
        self.measure_sandbox(sandbox_id).await
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.shared.events.subscribe()
    }
}
