//! Use of resources.

use crate::UnixNanos;

/// Use of one container's cgroup (`ContainerStats`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// Container id.
    pub id: String,
    /// Name and attempt.
    pub metadata: crate::ContainerMetadata,
    /// Sandbox it belongs to.
    pub sandbox_id: String,
    /// When it was read.
    pub at: UnixNanos,
    /// CPU time since start, nanoseconds.
    pub cpu_nanos: u64,
    /// Memory without inactive page cache, bytes.
    pub memory_working_set: u64,
    /// Memory with page cache, bytes.
    pub memory_usage: u64,
    /// Anonymous memory, bytes.
    pub memory_rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Major page faults.
    pub major_page_faults: u64,
    /// Bytes of the writable layer.
    pub rootfs_used_bytes: u64,
    /// Processes and threads.
    pub process_count: u64,
}

/// Use of a sandbox's network (`NetworkUsage`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Interface name.
    pub interface: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Send errors.
    pub tx_errors: u64,
}

/// Use of a whole sandbox (`PodSandboxStats`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSandboxStats {
    /// Sandbox id.
    pub id: String,
    /// When it was read.
    pub at: UnixNanos,
    /// CPU time since start, nanoseconds, of the pod's cgroup.
    pub cpu_nanos: u64,
    /// Memory without inactive page cache, bytes, of the pod's cgroup.
    pub memory_working_set: u64,
    /// Processes and threads.
    pub process_count: u64,
    /// Interfaces.
    pub network: Vec<NetworkUsage>,
    /// Its containers.
    pub containers: Vec<ContainerStats>,
}
