//! Containers of a sandbox.

use serde::{Deserialize, Serialize};

use crate::{StringMap, UnixNanos};

/// Name and attempt of a container (`ContainerMetadata`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// The container's name in the pod.
    pub name: String,
    /// The restart count that this instance stands for.
    pub attempt: u32,
}

/// What to create (`ContainerConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Name and attempt.
    pub metadata: ContainerMetadata,
    /// Image reference or id, as resolved by [`crate::ImageService::pull_image`] or `image_status`.
    pub image: String,
    /// What the user wrote, for the status.
    pub user_specified_image: String,
    /// Replaces the image's entrypoint where not empty.
    pub command: Vec<String>,
    /// Replaces the image's command where not empty.
    pub args: Vec<String>,
    /// Working directory; empty: the image's.
    pub working_dir: String,
    /// Environment, in order, added over the image's. Values may hold any bytes but NUL.
    pub envs: Vec<(String, String)>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Labels.
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
    /// Path of the log file, below the sandbox's log directory.
    pub log_path: String,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input after the first attached client has gone.
    pub stdin_once: bool,
    /// Give the container a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: LinuxResources,
    /// User, capabilities and confinement.
    pub security_context: ContainerSecurityContext,
    /// Signal that asks it to stop, overriding the image's (`SIGTERM` form).
    pub stop_signal: Option<String>,
}

/// How mounts travel between host and container (`MountPropagation`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPropagation {
    /// Not at all.
    #[default]
    Private,
    /// From the host into the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A bind mount (`Mount`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub container_path: String,
    /// Absolute path on the host.
    pub host_path: String,
    /// No writing.
    pub readonly: bool,
    /// No writing in mounts below it either; implies `readonly`.
    pub recursive_read_only: bool,
    /// Propagation.
    pub propagation: MountPropagation,
    /// Mount this image's root file system instead of `host_path`.
    pub image: Option<String>,
    /// Path inside the image to mount.
    pub image_sub_path: String,
}

/// A device of the host (`Device`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits and weights of a cgroup (`LinuxContainerResources`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxResources {
    /// Microseconds of a CPU scheduling period.
    pub cpu_period: Option<i64>,
    /// Microseconds of CPU in each period; negative: no limit.
    pub cpu_quota: Option<i64>,
    /// Relative weight, 2 to 262144 (cgroup v1 scale; converted for v2).
    pub cpu_shares: Option<i64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
    /// Bytes of memory and swap together.
    pub memory_swap_limit: Option<i64>,
    /// `oom_score_adj` of the container's processes.
    pub oom_score_adj: Option<i32>,
    /// CPUs it may run on (`0-3`).
    pub cpuset_cpus: String,
    /// Memory nodes it may use.
    pub cpuset_mems: String,
    /// Page size (`2MB`) and limit in bytes.
    pub hugepage_limits: Vec<(String, u64)>,
    /// Number of processes and threads.
    pub pids_limit: Option<i64>,
    /// cgroup v2 files written as they are.
    pub unified: StringMap,
}

/// A confinement profile (`SecurityProfile`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProfile {
    /// The runtime's default.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file on the node (seccomp: absolute path; AppArmor: profile name).
    Localhost(String),
}

/// User, capabilities and confinement of a container (`LinuxContainerSecurityContext`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSecurityContext {
    /// Capabilities to add, without `CAP_`; `ALL` for all.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop, without `CAP_`; `ALL` for all.
    pub drop_capabilities: Vec<String>,
    /// All capabilities, devices and paths.
    pub privileged: bool,
    /// Numeric user; wins over `run_as_username`.
    pub run_as_user: Option<i64>,
    /// Numeric group.
    pub run_as_group: Option<i64>,
    /// User name looked up in the image.
    pub run_as_username: String,
    /// Supplementary groups.
    pub supplemental_groups: Vec<i64>,
    /// Do not add the groups that the image's `/etc/group` gives the user.
    pub supplemental_groups_strict: bool,
    /// The root file system cannot be written.
    pub readonly_rootfs: bool,
    /// Set `no_new_privs`.
    pub no_new_privs: bool,
    /// Seccomp profile; absent: unconfined.
    pub seccomp: Option<SecurityProfile>,
    /// AppArmor profile; absent: the runtime's choice.
    pub apparmor: Option<SecurityProfile>,
    /// Paths hidden from the container; absent: the usual ones.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written; absent: the usual ones.
    pub readonly_paths: Option<Vec<String>>,
}

/// State of a container (`ContainerState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Its first process runs.
    Running,
    /// Ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// What is known of a container (`ContainerStatus`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Id given by the runtime.
    pub id: String,
    /// Sandbox it belongs to.
    pub sandbox_id: String,
    /// Name and attempt.
    pub metadata: ContainerMetadata,
    /// State.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: UnixNanos,
    /// When its first process was started; zero: not yet.
    pub started_at: UnixNanos,
    /// When it ended; zero: not yet.
    pub finished_at: UnixNanos,
    /// Exit code; 128 + signal where a signal ended it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerCannotRun`.
    pub reason: String,
    /// Detail of `reason`.
    pub message: String,
    /// The image as the user wrote it.
    pub image: String,
    /// The image's id or digest reference, for `imageID` (`docker.io/library/nginx@sha256:…`).
    pub image_ref: String,
    /// Labels it was created with.
    pub labels: StringMap,
    /// Annotations it was created with.
    pub annotations: StringMap,
    /// Mounts it was created with.
    pub mounts: Vec<Mount>,
    /// Absolute path of the log file.
    pub log_path: String,
    /// Limits in force.
    pub resources: LinuxResources,
    /// The user its first process runs as: uid, gid and supplementary groups.
    pub user: Option<(i64, i64, Vec<i64>)>,
    /// Signal that asks it to stop.
    pub stop_signal: String,
    /// Process id of its first process in the runtime's own pid namespace; zero: none.
    pub pid: i32,
}

/// Which containers a list is of; absent fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    /// A single id.
    pub id: Option<String>,
    /// A state.
    pub state: Option<ContainerState>,
    /// Containers of one sandbox.
    pub sandbox_id: Option<String>,
    /// Labels that must all be there.
    pub labels: StringMap,
}

/// What happened to a container (`ContainerEventType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// Created.
    Created,
    /// Its first process runs.
    Started,
    /// Ended; the status says how.
    Stopped,
    /// Removed.
    Deleted,
}

/// An event of the runtime (`ContainerEventResponse`). A receiver that lagged behind gets a lag error from the
/// channel and lists again.
#[derive(Debug, Clone)]
pub struct ContainerEvent {
    /// What happened.
    pub kind: ContainerEventKind,
    /// The container it happened to; the sandbox itself where that has ended on its own.
    pub container_id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// When.
    pub at: UnixNanos,
}
