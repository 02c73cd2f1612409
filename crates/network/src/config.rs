//! What a node's pod network is called and where it keeps its leases.

use std::path::PathBuf;

use ipnet::IpNet;
use netlink::nft::Table;

/// Names and ranges of one node's pod network. Two clusters on one machine differ in all names and ranges.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bridge.
    pub bridge: String,
    /// How names of the host's ends of pods' links begin; at most six characters.
    pub link_prefix: String,
    /// The nf_tables table, shared with the Service rules.
    pub table: Table,
    /// Where leases are kept.
    pub directory: PathBuf,
    /// Ranges of all pods of the cluster; traffic inside them is never masqueraded.
    pub cluster_ranges: Vec<IpNet>,
    /// Ranges of cluster IPs. They are routed to the bridge, so that the node itself reaches Services without having a
    /// default route; translation comes before a packet is sent there.
    pub service_ranges: Vec<IpNet>,
    /// Largest packet; an overlay needs some of the underlay's.
    pub mtu: u32,
    /// Whether pods' traffic that leaves the cluster gets the node's address.
    pub masquerade: bool,
}

impl Config {
    /// The names that a cluster alone on its machine has.
    pub fn new(directory: impl Into<PathBuf>, cluster_ranges: Vec<IpNet>) -> Self {
        Self {
            bridge: "tiphys0".to_owned(),
            link_prefix: "tv".to_owned(),
            table: Table::inet("tiphys"),
            directory: directory.into(),
            cluster_ranges,
            service_ranges: Vec::new(),
            mtu: 1500,
            masquerade: true,
        }
    }
}
