//! Kinds of the core group.

pub mod persistent_volume_claim;
pub mod pod;
pub(crate) mod volume;

pub use pod::Pods;
