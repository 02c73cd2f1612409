//! The kinds of the API: one folder a kind, with its strategy, defaults, validation and table columns.
//!
//! Pure over the object and the request: no I/O, no clock. Upstream counterpart: `pkg/registry/<group>/<kind>`,
//! `pkg/apis/<group>` and `pkg/printers/internalversion`.

mod check;
mod meta;
mod optional;

pub mod apps;
pub mod core;

use registry::Resource;

/// Every kind that is served, in the order of discovery.
pub static RESOURCES: &[&dyn Resource] = &[&core::Pods, &apps::Deployments, &apps::ReplicaSets];
