//! Kinds of the `flowcontrol.apiserver.k8s.io` group.

pub mod bootstrap;
mod flow_schema;
mod priority_level_configuration;

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};

use crate::check::Report;

pub use flow_schema::FlowSchemas;
pub use priority_level_configuration::PriorityLevelConfigurations;

/// Conditions of this group are known by their type alone.
fn conditions<'a>(types: impl Iterator<Item = &'a str>, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let mut seen = BTreeSet::new();
    for (index, kind) in types.enumerate() {
        let path = path.index(index).child("type");
        if !seen.insert(kind) {
            errors.duplicate(&path, kind);
        }
        if kind.is_empty() {
            errors.required(&path, "must not be empty");
        }
    }
}
