//! Kinds of the `apps` group.

mod controller_revision;
mod daemon_set;
pub mod deployment;
pub mod replica_set;
pub(crate) mod rolling;
mod stateful_set;

pub use controller_revision::ControllerRevisions;
pub use daemon_set::DaemonSets;
pub use deployment::Deployments;
pub use replica_set::ReplicaSets;
pub use stateful_set::StatefulSets;
