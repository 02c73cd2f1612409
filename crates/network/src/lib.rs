//! The built-in pod network: a bridge, a veth pair a pod, addresses from the node's range, masquerade, host ports.
//!
//! A pod's address has the full prefix length and everything leaves by the gateway, so that two pods of one node talk
//! through routing too: translated answers find their way back without the bridge having to call the packet filter.
//! Upstream counterparts: the CNI plugins `bridge`, `host-local`, `portmap` and `bandwidth`.
//!
//! Invariants: an attach is two netlink sends; nothing is asked of the kernel to find out what we know; what is there
//! survives the process and is adopted by the next one; every name is the configuration's, so that several clusters
//! share a machine. Knows no API object.

mod bandwidth;
mod bridge;
mod config;
mod leases;
mod ports;
mod rules;

pub use bridge::{BridgeNetwork, Error};
pub use config::Config;
