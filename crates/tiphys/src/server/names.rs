//! What a cluster calls its things in the kernel, so that several clusters share a machine.

use anyhow::Context as _;
use ipnet::IpNet;

use crate::layout::Layout;

/// Names and ranges of one cluster on one machine.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    suffix: String,
    /// Ranges of pods; the node takes its part of them.
    pub(crate) cluster_ranges: Vec<IpNet>,
    /// Ranges of cluster IPs.
    pub(crate) service_ranges: Vec<IpNet>,
}

impl Names {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self { suffix: layout.suffix(), cluster_ranges: Vec::new(), service_ranges: Vec::new() }
    }

    /// With the ranges of a running cluster.
    pub(crate) fn with_ranges(mut self, pods: IpNet, services: IpNet) -> Self {
        self.cluster_ranges = vec![pods];
        self.service_ranges = vec![services];
        self
    }

    /// The bridge that pods hang on.
    pub(crate) fn bridge(&self) -> String {
        if self.suffix.is_empty() { "tiphys0".to_owned() } else { format!("tiphys-{}", self.suffix) }
    }

    /// The nf_tables table.
    pub(crate) fn table(&self) -> netlink::nft::Table {
        netlink::nft::Table::inet(if self.suffix.is_empty() {
            "tiphys".to_owned()
        } else {
            format!("tiphys-{}", self.suffix)
        })
    }

    /// Parent of all pods' cgroups.
    pub(crate) fn cgroup_root(&self) -> String {
        if self.suffix.is_empty() { "/kubepods".to_owned() } else { format!("/tiphys-{}/kubepods", self.suffix) }
    }

    /// The outermost cgroup that is this cluster's alone.
    pub(crate) fn cgroup_top(&self) -> String {
        if self.suffix.is_empty() { "/kubepods".to_owned() } else { format!("/tiphys-{}", self.suffix) }
    }

    pub(crate) fn network(&self, layout: &Layout) -> network::Config {
        let mut config = network::Config::new(layout.network(), self.cluster_ranges.clone());
        config.bridge = self.bridge();
        config.table = self.table();
        config.service_ranges = self.service_ranges.clone();
        if !self.suffix.is_empty() {
            config.link_prefix = format!("t{}", self.suffix);
        }
        config
    }

    pub(crate) fn proxy(&self, node_name: &str) -> proxy::Config {
        let mut config = proxy::Config::new(node_name, self.cluster_ranges.clone(), self.service_ranges.clone());
        config.table = self.table();
        config.loopback_links = vec![self.bridge()];
        config
    }

    /// Takes rules, links and addresses away; what is gone already is no error.
    pub(crate) async fn remove_network(&self, layout: &Layout) -> anyhow::Result<()> {
        proxy::teardown(&self.proxy("")).await.context("remove the rules of Services")?;
        network::BridgeNetwork::teardown(&self.network(layout)).await.context("remove the pod network")
    }
}
