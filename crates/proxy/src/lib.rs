//! Services as nf_tables rules: ClusterIP, NodePort, LoadBalancer, external IPs, session affinity, traffic policies.
//!
//! A Service's front (address, protocol, port) is one element of a verdict map; the verdict is a chain that says how
//! to choose among so many endpoints, and is shared by all fronts of the same shape; the endpoints are elements of
//! one map, numbered within their front. So nothing a change does depends on the number of Services.
//!
//! ```text
//! (address, protocol, port)                            --services-->          chain "one of three"
//! (address, protocol, port, random number below three) --service-endpoints--> (address, port)
//! ```
//!
//! Upstream: `pkg/proxy` and `pkg/proxy/nftables`, whose decisions these are; its chains per Service are not.
//!
//! Invariants: deciding (`plan`, `shadow`) is pure; the kernel is told differences and asked only at start; each
//! change is one transaction; the rules stay when the process goes; every name is the configuration's.

mod affinity;
mod chains;
mod config;
mod health;
pub mod load_balancer;
mod plan;
mod run;
mod shadow;
mod stale;
mod tables;
mod view;

pub use config::Config;
pub use run::{Error, Proxy, teardown};
