//! Kinds of the `apps` group.

pub mod deployment;
pub mod replica_set;
pub(crate) mod rolling;

pub use deployment::Deployments;
pub use replica_set::ReplicaSets;
