//! The schema of a custom resource as a tree, and the walkers over it: pruning, defaulting, validation.
//!
//! Built once from the JSON of a definition ([`Structural::new`]); everything that happens to an object of the kind is
//! a walk over this tree. Server-side apply and OpenAPI's definitions see the same tree as a [`crate::Schema`]
//! ([`typed::schema`]). It must not know what a definition is, nor evaluate expressions: rules are only carried.
//! Upstream counterpart: `apiextensions-apiserver/pkg/apiserver/schema`.

mod default;
mod embedded;
mod formats;
mod lists;
mod parse;
mod pattern;
mod prune;
pub mod typed;
mod validate;

use std::collections::BTreeMap;

use serde_json::Value;

pub use default::{apply as apply_defaults, drop_nulls};
pub use embedded::{MetaError, check as check_embedded, coerce as coerce_embedded, metadata};
pub use formats::Format;
pub use lists::check as check_lists;
pub use pattern::Pattern;
pub use prune::prune;
pub use validate::{Validated, validate, validate_update};

use crate::table::ListType;

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    pub json_type: Option<JsonType>,
    pub nullable: bool,
    pub default: Option<Value>,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    pub list: Option<ListType>,
    /// `x-kubernetes-map-type: atomic`
    pub atomic: bool,
    pub properties: BTreeMap<String, Structural>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Structural>>,
    /// None: the value may be anything of its type.
    pub checks: Option<Box<Checks>>,
    /// `x-kubernetes-validations`
    pub rules: Vec<Rule>,
    /// Whether this node or one below it has a default.
    pub has_defaults: bool,
    /// Whether this node or one below it has rules.
    pub has_rules: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    String,
    Number,
    Integer,
    Boolean,
    Array,
    Object,
}

/// What an object's members are that `properties` does not name.
#[derive(Clone, Debug)]
pub enum Additional {
    Any(bool),
    Schema(Box<Structural>),
}

/// Which values are good. Numbers are compared as doubles, as upstream does.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Only formats that are known; with the name that the schema gives it.
    pub format: Option<(Format, String)>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    /// In characters.
    pub max_length: Option<u64>,
    pub min_length: Option<u64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<u64>,
    pub min_items: Option<u64>,
    pub unique_items: bool,
    pub max_properties: Option<u64>,
    pub min_properties: Option<u64>,
    pub required: Vec<String>,
    pub values: Vec<Value>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Structural>,
}

/// One of `x-kubernetes-validations`, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    /// `FieldValueInvalid` and its siblings; empty: not said.
    pub reason: String,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

// === impl JsonType ===

impl JsonType {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "string" => Self::String,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

// === impl Structural ===

impl Structural {
    /// The schema of a member, if anything is known of it.
    pub fn member(&self, name: &str) -> Option<&Structural> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        })
    }

    /// A member that `properties` names, by a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Structural> {
        path.iter().try_fold(self, |node, name| node.properties.get(*name))
    }
}

/// The three members that every resource has, whatever its schema says.
pub(crate) fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

#[cfg(test)]
mod tests;
