//! What a controller is given when it starts.

use std::{sync::Arc, time::Duration};

use informer::{Caches, Recorder};
use kube::Client;
use supervisor::Supervisor;

/// Makes the client with the rights of a service account in `kube-system`.
pub type ClientFactory = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What a controller is given when it starts.
#[derive(Clone)]
pub struct Context {
    /// The shared caches of the process.
    pub caches: Caches,
    /// The client for writes, with the rights of the controller's own service account.
    pub client: Client,
    /// Records events in the controller's name.
    pub recorder: Recorder,
    /// Owner of its tasks.
    pub supervisor: Supervisor,
    /// Settings.
    pub options: Arc<Options>,
}

/// Settings of all controllers, with upstream's defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which controllers run: names, `*` for all, `-name` for all but that. Upstream: `--controllers`.
    pub names: Vec<String>,
    /// PEM of the authorities that signed the API server's certificate, published to every namespace;
    /// empty: nothing is published. Upstream: `--root-ca-file`.
    pub root_ca: String,
    /// A node whose lease is older than this is no longer known to be well. Upstream: `--node-monitor-grace-period`.
    pub node_monitor_grace_period: Duration,
    /// The same for a node that has never reported. Upstream: `--node-startup-grace-period`.
    pub node_startup_grace_period: Duration,
    /// So many ended pods are kept; zero or less: all. Upstream: `--terminated-pod-gc-threshold`.
    pub terminated_pod_threshold: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: vec!["*".to_owned()],
            root_ca: String::new(),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            terminated_pod_threshold: 12_500,
        }
    }
}
