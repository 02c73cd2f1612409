//! The pod network as the runtime sees it: given a network namespace, make it part of the cluster.

use std::{net::IpAddr, path::PathBuf};

use crate::{CriResult, PortMapping, StringMap};

/// A sandbox that joins or leaves the network.
#[derive(Debug, Clone, Default)]
pub struct PodNetworkRequest {
    /// Sandbox id.
    pub sandbox_id: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod UID.
    pub uid: String,
    /// Path that pins the network namespace.
    pub netns: PathBuf,
    /// Ports of the host that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
    /// Pod annotations (bandwidth and the like).
    pub annotations: StringMap,
}

/// What a sandbox got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodNetworkStatus {
    /// Addresses, primary first.
    pub ips: Vec<IpAddr>,
}

/// Joins sandboxes to the pod network. Upstream counterpart: a CNI plugin.
#[async_trait::async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Gives the namespace an interface, addresses and routes. Calling it again for the same sandbox answers
    /// with what it has.
    async fn attach(&self, request: &PodNetworkRequest) -> CriResult<PodNetworkStatus>;

    /// Takes back what [`PodNetwork::attach`] gave; done already is success, also where the namespace is gone.
    async fn detach(&self, request: &PodNetworkRequest) -> CriResult<()>;

    /// Whether pods can be attached now, and if not why: the node's `NetworkReady` condition.
    async fn ready(&self) -> CriResult<()>;

    /// Sandboxes that are still known after a restart; everything else is released.
    async fn retain(&self, sandbox_ids: &[String]) -> CriResult<()>;
}
