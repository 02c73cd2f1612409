//! Services as nf_tables rules: ClusterIP, NodePort, LoadBalancer, external IPs, session affinity, traffic policies.
//!
//! A Service's front (address, protocol, port) is an element of a few sets that say how it is answered; its endpoints
//! are numbered elements of one map. A new connection draws a number below the pool's size, rounded up to a power of
//! two, until somebody has it. So one endpoint more or less is one element, and nothing a change does depends on the
//! number of Services.
//!
//! ```text
//! (address, protocol, port)                           in ip-services, ip-services-of-4: chain ip-service-draw-4
//! (address, protocol, port, random number below four) --ip-service-endpoints--> (address, port)
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
mod plan;
mod run;
mod shadow;
mod stale;
mod tables;
mod view;

pub use config::Config;
pub use run::{Error, Proxy, teardown};
