//! [`BridgeNetwork`]: `cri::PodNetwork` over a bridge.

mod attach;
mod reaper;
mod setup;

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;
use cri::{CriError, CriResult, PodNetwork, PodNetworkRequest, PodNetworkStatus};
use ipnet::IpNet;
use netlink::{Protocol, Socket};
use tokio::sync::Mutex;

use crate::bridge::reaper::Reaper;
use crate::config::Config;
use crate::leases::{LeaseError, Leases};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    #[error("set {key}")]
    Sysctl {
        key: String,
        #[source]
        source: io::Error,
    },
    #[error("pod network state")]
    State(#[source] io::Error),
    #[error("{0}")]
    Lease(String),
    #[error("the bridge {0} is gone")]
    NoBridge(String),
    #[error("the node has no pod range yet")]
    NotConfigured,
    #[error("{0}")]
    Invalid(String),
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        match &error {
            LeaseError::Io { source, .. } => Self::Lease(format!("{error}: {source}")),
            LeaseError::Exhausted(_) | LeaseError::Name(_) => Self::Lease(error.to_string()),
        }
    }
}

/// The pod network of one node.
#[derive(Debug)]
pub struct BridgeNetwork {
    config: Config,
    state: Mutex<Option<State>>,
}

/// What a configured network works with: sockets stay open, the kernel is told and never asked.
#[derive(Debug)]
struct State {
    route: Socket,
    netfilter: Socket,
    bridge: u32,
    leases: Leases,
    reaper: Reaper,
}

impl BridgeNetwork {
    /// Not ready until [`Self::configure`]: the node's range may come from the API.
    pub fn new(config: Config) -> Self {
        Self { config, state: Mutex::new(None) }
    }

    /// Makes or adopts the bridge and the rules, in the calling thread's network namespace. `ranges` are the node's,
    /// primary first, at most one a family. Called again with the same ranges it mends what is missing.
    pub async fn configure(&self, ranges: &[IpNet]) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let leases = match state.take() {
            Some(state) if state.leases.ranges() == ranges => state.leases,
            _ => Leases::load(&self.config.directory.join("leases"), ranges.to_vec())?,
        };
        let reaper = Reaper::start(attach::group(&self.config)).map_err(Error::State)?;
        let mut route = Socket::open(Protocol::Route)?;
        let mut netfilter = Socket::open(Protocol::Netfilter)?;
        let bridge = setup::bridge(&self.config, &mut route, ranges).await?;
        setup::rules(&self.config, &mut netfilter, &leases).await?;
        for stray in setup::strays(&self.config, &mut route, bridge, &leases).await? {
            reaper.delete(stray);
        }
        *state = Some(State { route, netfilter, bridge, leases, reaper });
        tracing::info!(bridge = self.config.bridge, ?ranges, "pod network ready");
        Ok(())
    }

    /// Ends when the links of all detached pods are deleted.
    pub async fn settled(&self) {
        let settled = self.state.lock().await.as_ref().map(|state| state.reaper.settled());
        if let Some(settled) = settled {
            settled.await;
        }
    }

    /// The node's address inside the pod network, one a range: where pods reach the node itself.
    pub fn gateways(ranges: &[IpNet]) -> Vec<IpAddr> {
        ranges.iter().map(crate::leases::gateway).collect()
    }

    /// Removes the bridge, every pod's link, the rules, the leases and the kernel settings that were changed. Works
    /// without a running network, from the configuration alone; done already is success.
    pub async fn teardown(config: &Config) -> Result<(), Error> {
        setup::teardown(config).await
    }
}

#[async_trait]
impl PodNetwork for BridgeNetwork {
    async fn attach(&self, request: &PodNetworkRequest) -> CriResult<PodNetworkStatus> {
        let mut state = self.state.lock().await;
        let state = state.as_mut().ok_or_else(|| failure(request, &Error::NotConfigured))?;
        let attached = attach::attach(&self.config, state, request).await;
        attached.map(|ips| PodNetworkStatus { ips }).map_err(|error| failure(request, &error))
    }

    async fn detach(&self, request: &PodNetworkRequest) -> CriResult<()> {
        let mut state = self.state.lock().await;
        let state = state.as_mut().ok_or_else(|| failure(request, &Error::NotConfigured))?;
        attach::detach(&self.config, state, &request.sandbox_id).await.map_err(|error| failure(request, &error))
    }

    async fn ready(&self) -> CriResult<()> {
        let mut state = self.state.lock().await;
        let Some(state) = state.as_mut() else {
            return Err(CriError::FailedPrecondition(Error::NotConfigured.to_string()));
        };
        let found = netlink::link::find(&mut state.route, &self.config.bridge).await.map_err(CriError::internal)?;
        match found {
            Some(bridge) if bridge.index == state.bridge && bridge.up => Ok(()),
            Some(_) => Err(CriError::FailedPrecondition(format!("the bridge {} is not up", self.config.bridge))),
            None => Err(CriError::FailedPrecondition(Error::NoBridge(self.config.bridge.clone()).to_string())),
        }
    }

    async fn retain(&self, sandbox_ids: &[String]) -> CriResult<()> {
        let mut state = self.state.lock().await;
        let state = state.as_mut().ok_or_else(|| CriError::FailedPrecondition(Error::NotConfigured.to_string()))?;
        let stale: Vec<String> = state
            .leases
            .iter()
            .map(|lease| lease.sandbox.clone())
            .filter(|sandbox| !sandbox_ids.contains(sandbox))
            .collect();
        for sandbox in stale {
            attach::detach(&self.config, state, &sandbox).await.map_err(CriError::internal)?;
            tracing::info!(sandbox, "released the network of a sandbox that is gone");
        }
        Ok(())
    }
}

fn failure(request: &PodNetworkRequest, error: &Error) -> CriError {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let text = format!("network of pod {}/{}: {error}{source}", request.namespace, request.name);
    match error {
        Error::Invalid(_) => CriError::InvalidArgument(text),
        Error::NotConfigured => CriError::FailedPrecondition(text),
        _ => CriError::Internal(text),
    }
}
