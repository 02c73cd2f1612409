//! From a pod's spec to what the runtime is asked for. Pure: files and objects are passed in.
//! Upstream: pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, kuberuntime_container.go, security_context.go.

mod container;
mod dns;
mod hosts;
mod sandbox;

pub(crate) use container::termination_path;
pub(crate) use container::{ContainerInputs, ImageUser, container_config};
pub(crate) use dns::{HostResolver, dns_config};
pub(crate) use hosts::hosts_file;
pub(crate) use sandbox::sandbox_config;
pub(crate) use sandbox::{forbidden_sysctl, log_directory};

/// Labels by which the runtime's objects are told to be a pod's. Upstream: pkg/kubelet/types/labels.go.
pub(crate) mod labels {
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Annotations of containers.
    pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    pub(crate) const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    pub(crate) const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// Which cluster's node made it, when several share a runtime.
    pub(crate) const NODE: &str = "tiphys.dev/node";
}
