//! Who set which field: `managedFields`, server-side apply and its conflicts.
//!
//! - [`set`]: sets of field paths, their algebra, and the `fieldsV1` form in which they are stored.
//! - [`typed`]: objects seen through their schema: compared, merged, cut, and checked.
//! - [`managed`]: the entries of `metadata.managedFields`.
//! - [`updater`]: what a write does to everybody's fields.
//! - [`manager`]: the rules around it: names, time stamps, the cap on managers, the client-side annotation.
//! - [`scale`]: the entries of an object as its scale subresource shows them.
//!
//! Invariants: no I/O, no clock. Objects are JSON trees (`schema::Node`), never typed structs; nothing is known of a kind
//! but its schema. Upstream counterparts: `sigs.k8s.io/structured-merge-diff` and
//! `k8s.io/apimachinery/pkg/util/managedfields`.

pub mod conflict;
pub mod element;
pub mod managed;
pub mod manager;
pub mod scale;
pub mod set;
pub mod typed;
pub mod updater;

#[cfg(test)]
mod testing;

pub use conflict::Conflicts;
pub use element::PathElement;
pub use managed::{Managed, ManagerId, VersionedSet};
pub use manager::{Applied, ApplyError, Operation};
pub use set::{Filter, Set};
pub use typed::{Comparison, Invalid, TypeRef, TypedValue};
pub use updater::Versions;
