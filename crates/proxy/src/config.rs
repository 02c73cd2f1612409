//! What a node's Service rules are called and what they assume.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink::nft::Table;

/// Names and ranges of one node. Two clusters on one machine differ in table and ranges.
#[derive(Debug, Clone)]
pub struct Config {
    /// The table, shared with the pod network.
    pub table: Table,
    /// The node's name, to know which endpoints are its own.
    pub node_name: String,
    /// The node's zone, for topology hints.
    pub zone: Option<String>,
    /// Addresses that lead to the node beside those of its links. Load balancer traffic for the node's addresses is
    /// also answered on `localhost`.
    pub node_addresses: Vec<IpAddr>,
    /// Ranges of all pods; what comes from elsewhere is masqueraded on its way to a cluster IP.
    pub cluster_ranges: Vec<IpNet>,
    /// Ranges of cluster IPs; what goes to an unused one is dropped. Also says which families there are.
    pub service_ranges: Vec<IpNet>,
    /// Masquerade all traffic to cluster IPs.
    pub masquerade_all: bool,
    /// The bit of the packet mark that says "masquerade". Upstream's `--iptables-masquerade-bit`, 14.
    pub masquerade_mark: u32,
    /// Whether `spec.externalIPs` is honoured.
    pub external_ips: bool,
    /// TCP ports on which the node itself has to stay reachable, such as the API server's: no Service takes them on
    /// the node's own addresses.
    pub reserved_ports: BTreeSet<u16>,
    /// Where health checks of load balancers are answered.
    pub health_check_address: IpAddr,
    /// Links on which loopback addresses are routed, so that `localhost` leads to what is behind them; `all` is every
    /// link. The rules keep the other direction shut.
    pub loopback_links: Vec<String>,
}

impl Config {
    /// The configuration of a cluster that is alone on its machine.
    pub fn new(node_name: impl Into<String>, cluster_ranges: Vec<IpNet>, service_ranges: Vec<IpNet>) -> Self {
        Self {
            table: Table::inet("tiphys"),
            node_name: node_name.into(),
            zone: None,
            node_addresses: Vec::new(),
            cluster_ranges,
            service_ranges,
            masquerade_all: false,
            masquerade_mark: 1 << 14,
            external_ips: false,
            reserved_ports: BTreeSet::new(),
            health_check_address: IpAddr::from([0, 0, 0, 0]),
            loopback_links: vec!["all".to_owned()],
        }
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = bool> {
        let has = |ipv6| self.service_ranges.iter().any(|range| range.addr().is_ipv6() == ipv6);
        [false, true].into_iter().filter(move |ipv6| has(*ipv6))
    }
}
