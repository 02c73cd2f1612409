//! Pod sandboxes: the namespaces and cgroup that a pod's containers share.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{LinuxResources, SecurityProfile, StringMap, UnixNanos};

/// Who a sandbox belongs to (`PodSandboxMetadata`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxMetadata {
    /// Pod name.
    pub name: String,
    /// Pod UID.
    pub uid: String,
    /// Pod namespace.
    pub namespace: String,
    /// Grows with every new sandbox of the same pod.
    pub attempt: u32,
}

/// What to create (`PodSandboxConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxConfig {
    /// Whose sandbox it is.
    pub metadata: PodSandboxMetadata,
    /// Hostname of the UTS namespace; empty with host network.
    pub hostname: String,
    /// Host directory in which the containers' log files go.
    pub log_directory: String,
    /// Content of `/etc/resolv.conf`; absent: the host's file is used.
    pub dns_config: Option<DnsConfig>,
    /// Ports of the host that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
    /// Labels to find the sandbox by.
    pub labels: StringMap,
    /// Free annotations, kept and returned.
    pub annotations: StringMap,
    /// Parent cgroup, as the absolute path below each hierarchy's mount (`/kubepods/burstable/pod<uid>`).
    pub cgroup_parent: String,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: StringMap,
    /// Which namespaces are shared with the host.
    pub namespaces: NamespaceOptions,
    /// Supplementary groups and identity of the sandbox's own process, where one exists.
    pub security_context: SandboxSecurityContext,
    /// Overhead of the sandbox itself, where the RuntimeClass names one.
    pub overhead: Option<LinuxResources>,
    /// Sum of the containers' resources.
    pub resources: Option<LinuxResources>,
}

/// Security settings of the whole pod (`LinuxSandboxSecurityContext`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSecurityContext {
    /// User of the sandbox's own process.
    pub run_as_user: Option<i64>,
    /// Group of the sandbox's own process.
    pub run_as_group: Option<i64>,
    /// Supplementary groups.
    pub supplemental_groups: Vec<i64>,
    /// Any container of the pod is privileged.
    pub privileged: bool,
    /// Seccomp profile.
    pub seccomp: Option<SecurityProfile>,
}

/// Nameservers of a pod (`DNSConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Addresses of nameservers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, `ndots:5` and the like.
    pub options: Vec<String>,
}

/// Transport protocols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the host that leads to the pod (`PortMapping`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port inside the pod.
    pub container_port: u16,
    /// Port of the host.
    pub host_port: u16,
    /// Address of the host; absent: all of them.
    pub host_ip: Option<IpAddr>,
}

/// Where a namespace comes from (`NamespaceMode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Shared by the pod's containers.
    #[default]
    Pod,
    /// Each container has its own.
    Container,
    /// The host's.
    Node,
}

/// The namespaces of a sandbox (`NamespaceOption`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceOptions {
    /// Network: pod or node.
    pub network: NamespaceMode,
    /// Process ids: pod, container or node.
    pub pid: NamespaceMode,
    /// System V IPC and POSIX queues: pod or node.
    pub ipc: NamespaceMode,
    /// User ids; absent: the host's.
    pub user: Option<UserNamespace>,
}

/// A user namespace's mapping (`UserNamespace` with mode POD).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// First host id.
    pub host_id: u32,
    /// First id inside.
    pub container_id: u32,
    /// How many ids.
    pub length: u32,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self { network: NamespaceMode::Pod, pid: NamespaceMode::Container, ipc: NamespaceMode::Pod, user: None }
    }
}

/// State of a sandbox (`PodSandboxState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodSandboxState {
    /// Its namespaces exist and containers may run in it.
    Ready,
    /// Stopped or lost.
    NotReady,
}

/// What is known of a sandbox (`PodSandboxStatus`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandboxStatus {
    /// Id given by the runtime.
    pub id: String,
    /// Whose it is.
    pub metadata: PodSandboxMetadata,
    /// State.
    pub state: PodSandboxState,
    /// When it was made.
    pub created_at: UnixNanos,
    /// The pod's addresses, primary first; empty with host network.
    pub ips: Vec<IpAddr>,
    /// Namespaces it was made with.
    pub namespaces: NamespaceOptions,
    /// Labels it was made with.
    pub labels: StringMap,
    /// Annotations it was made with.
    pub annotations: StringMap,
    /// Path that pins the network namespace, where it has its own.
    pub network_namespace: Option<std::path::PathBuf>,
}

/// Which sandboxes a list is of; absent fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSandboxFilter {
    /// A single id.
    pub id: Option<String>,
    /// A state.
    pub state: Option<PodSandboxState>,
    /// Labels that must all be there.
    pub labels: StringMap,
}
