//! What the node's agent is told when it is started. Upstream: `KubeletConfiguration`, with its defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name under which the node is registered.
    pub node_name: String,
    /// The hostname shown in labels and addresses; the node's name where not told apart.
    pub hostname: String,
    /// Where volumes and pod directories live.
    pub root_dir: PathBuf,
    /// Where container logs go (`<namespace>_<pod>_<uid>/<container>/<n>.log`).
    pub log_dir: PathBuf,
    /// Parent of all pods' cgroups, as a path below each hierarchy's mount.
    pub cgroup_root: String,
    /// Addresses of the node, primary first.
    pub node_ips: Vec<IpAddr>,
    /// Nameservers of pods with `dnsPolicy: ClusterFirst`.
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The host's resolver configuration, for pods with `dnsPolicy: Default`.
    pub resolv_conf: PathBuf,
    pub max_pods: u32,
    pub pod_pids_limit: Option<i64>,
    /// Port of the HTTPS server, as the node's status tells it.
    pub port: u16,
    /// Pods without a seccomp profile get the runtime's.
    pub seccomp_default: bool,
    /// Sysctls that are not namespaced safely, allowed all the same (`net.*` style patterns).
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Added to the node when it registers.
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Stands for what the machine has (several nodes share one machine in tests).
    pub capacity: BTreeMap<String, String>,
    /// Kept back from pods.
    pub reserved: BTreeMap<String, String>,
    /// `vX.Y.Z` as nodes show it.
    pub version: String,
    /// Longest time between status writes of an unchanged node.
    pub status_report_frequency: Duration,
    pub lease_duration: Duration,
    /// A log file is rotated beyond this size.
    pub container_log_max_size: u64,
    pub container_log_max_files: u32,
    /// Images are collected when the disk is fuller than this (percent), down to the low mark.
    pub image_gc_high: u8,
    pub image_gc_low: u8,
    /// Images younger than this stay.
    pub image_minimum_age: Duration,
    /// How many images the node's status lists.
    pub max_images_in_status: usize,
    /// Starts of pods that run at once (image pulls included), so that a burst does not starve the machine.
    pub max_parallel_operations: usize,
}

impl Config {
    /// Defaults for a node of that name, with everything below `root_dir`.
    pub fn new(node_name: impl Into<String>, root_dir: impl Into<PathBuf>) -> Self {
        let node_name = node_name.into();
        let root_dir = root_dir.into();
        Config {
            hostname: node_name.clone(),
            node_name,
            log_dir: root_dir.join("pod-logs"),
            root_dir,
            cgroup_root: "/kubepods".to_owned(),
            node_ips: Vec::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            max_pods: 110,
            pod_pids_limit: None,
            port: 10250,
            seccomp_default: true,
            allowed_unsafe_sysctls: Vec::new(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            capacity: BTreeMap::new(),
            reserved: BTreeMap::new(),
            version: "v1.36.0".to_owned(),
            status_report_frequency: Duration::from_secs(300),
            lease_duration: Duration::from_secs(40),
            container_log_max_size: 10 << 20,
            container_log_max_files: 5,
            image_gc_high: 85,
            image_gc_low: 80,
            image_minimum_age: Duration::from_secs(120),
            max_images_in_status: 50,
            max_parallel_operations: 16,
        }
    }

    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.root_dir.join("pods")
    }

    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    pub(crate) fn host_ips(&self) -> Vec<String> {
        self.node_ips.iter().map(ToString::to_string).collect()
    }
}
