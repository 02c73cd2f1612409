//! A pod network that gives a sandbox nothing but its loopback interface: for tests and for nodes without network.

use std::net::{IpAddr, Ipv4Addr};

use cri::{CriResult, PodNetwork, PodNetworkRequest, PodNetworkStatus};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopbackOnly;

#[async_trait::async_trait]
impl PodNetwork for LoopbackOnly {
    async fn attach(&self, _request: &PodNetworkRequest) -> CriResult<PodNetworkStatus> {
        Ok(PodNetworkStatus { ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)] })
    }

    async fn detach(&self, _request: &PodNetworkRequest) -> CriResult<()> {
        Ok(())
    }

    async fn ready(&self) -> CriResult<()> {
        Ok(())
    }

    async fn retain(&self, _sandbox_ids: &[String]) -> CriResult<()> {
        Ok(())
    }
}
