//! The controllers of the control plane. Upstream: `pkg/controller` and `cmd/kube-controller-manager`.
//!
//! Invariants:
//! - A controller knows the API only through its client, with the rights of its own service account.
//! - What to do is decided by a pure `plan`; shells read caches, carry out and requeue.
//! - Nothing polls: an idle cluster costs no CPU here.

mod claim;
mod context;
mod entry;
mod pod_control;

mod deployment;
mod replicaset;

pub use context::{ClientFactory, Context, Options};
pub use entry::{Entry, Rule, Watch, run};

/// Every controller there is, in the order they start.
pub static CONTROLLERS: &[Entry] = &[deployment::ENTRY, replicaset::ENTRY];
