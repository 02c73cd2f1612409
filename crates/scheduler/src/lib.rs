//! Decides on which node each pod runs. Upstream: `pkg/scheduler`.
//!
//! Nodes are columns, not objects: filters and scores are passes over vectors, and an event changes single cells.
//! `cycle` is pure (columns and a pod in, a node or the reasons against it out); `shell` reads the caches, keeps the
//! queue and writes bindings. Plugin names, extension points, weights and messages are upstream's.

mod columns;
mod cycle;
mod events;
mod intern;
mod plugins;
mod pod;
mod queue;
mod shell;

pub use columns::Columns;
pub use cycle::{Diagnosis, Profile, schedule};
pub use pod::PodInfo;
pub use shell::{Options, run};

#[cfg(test)]
mod tests;
