//! The node's agent: makes the pods bound to this node real and tells the API how they are.
//!
//! Invariants:
//! - It knows the API only through `kube::Client` and shared caches, and containers only through the `cri` traits.
//! - A pod's life is decided by a pure state machine (`pod`); all I/O is in the shell around it (`worker`).
//! - Nothing polls: watches, runtime events, file notifications, and timers that a plan asked for.
//! - A restart of the agent restarts no container.
//!
//! Upstream counterpart: `pkg/kubelet`.

mod admission;
mod cgroup;
mod config;
mod env;
mod format;
mod housekeeping;
mod kubelet;
mod logs;
mod mailbox;
mod node;
mod objects;
mod pod;
mod prober;
mod qos;
mod server;
mod shared;
mod spec;
mod volumes;
mod worker;

pub use config::Config;
pub use kubelet::{Kubelet, Parts, StartError};
pub use server::{ApiAuthorizer, Authorizer, Body, User};
