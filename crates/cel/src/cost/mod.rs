//! What evaluation costs: as it happens, and as an estimate beforehand from the sizes that a schema allows.
//!
//! One unit is about 50 ns. Upstream counterparts: `cel-go/interpreter/runtimecost.go`, `cel-go/checker/cost.go`,
//! `k8s.io/apiserver/pkg/cel/library/cost.go`. The numbers are part of the API: they decide which rules may be written.

mod estimate;
mod range;
#[cfg(test)]
mod tests;

use crate::value::{List, Opaque, Value};

pub(crate) use estimate::estimate;
pub use estimate::{NoSizes, PathPart, Sizes};
pub use range::CostRange;

/// Going through a text, for each character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// A regular expression, for each of its characters.
pub(crate) const REGEX: f64 = 0.25;
/// Characters that a named format's regular expression is taken to have.
pub(crate) const FORMAT_REGEX: u64 = 128;

/// How the cost of a call follows from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallCost {
    One,
    /// An authorization check.
    Check,
    /// A selector's text (second argument) is parsed.
    Selector,
    /// The first argument is gone through so many times.
    Traverse(u64),
    /// Everything in the first argument is looked at.
    Deep,
    /// One for each element of the second argument.
    Elements,
    /// The shorter of two is gone through.
    Shorter,
    /// Both are copied.
    Concat,
    Regex,
    Contains,
    Join,
    ContainsIp {
        parsed: bool,
    },
    ContainsCidr {
        parsed: bool,
    },
    Validate,
    /// Two lists are compared element by element, so many times.
    Sets(u64),
    ListOutput,
    Flatten,
    /// The argument of that number is compared with itself.
    SelfCompare(usize),
}

impl CallCost {
    /// `overload`: `""` when it is found out only at run time; then what depends on it costs one.
    pub(crate) fn of(function: &str, overload: &str) -> Self {
        match overload {
            "list_sets_contains_list" | "list_sets_intersects_list" => return Self::Sets(1),
            "list_sets_equivalent_list" => return Self::Sets(2),
            "list_slice" | "lists_range" | "list_reverse" => return Self::ListOutput,
            "list_flatten" | "list_flatten_int" => return Self::Flatten,
            "list_distinct" => return Self::SelfCompare(0),
            _ if overload.ends_with("_sort") => return Self::SelfCompare(0),
            _ if overload.ends_with("_sortByAssociatedKeys") => return Self::SelfCompare(1),
            _ => {}
        }
        match function {
            "check" => return Self::Check,
            "fieldSelector" | "labelSelector" => return Self::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => return Self::Deep,
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => return Self::Traverse(1),
            "ip" if overload == "cidr_ip" => return Self::One,
            "ip" => return Self::Traverse(1),
            "replace" | "split" | "ip.isCanonical" => return Self::Traverse(2),
            "join" => return Self::Join,
            "find" | "findAll" => return Self::Regex,
            "containsIP" => return Self::ContainsIp { parsed: overload == "cidr_contains_ip_string" },
            "containsCIDR" => return Self::ContainsCidr { parsed: overload == "cidr_contains_cidr_string" },
            "validate" => return Self::Validate,
            _ => {}
        }
        match overload {
            "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
            | "string_format" => Self::Traverse(1),
            "in_list" => Self::Elements,
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes" => Self::Shorter,
            "add_string" | "add_bytes" => Self::Concat,
            "matches_string" => Self::Regex,
            "contains_string" => Self::Contains,
            _ => Self::One,
        }
    }

    /// Whether the cost follows from the result.
    pub(crate) fn needs_result(self) -> bool {
        matches!(self, Self::Join | Self::ListOutput)
    }

    pub(crate) fn run_time(self, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
        let size = |index: usize| args.get(index).map_or(1, Value::cost_size);
        match self {
            Self::One => 1,
            Self::Check => 350_000,
            Self::Selector => selector(size(1)),
            Self::Traverse(times) => scaled(size(0), TRAVERSAL * lossy(times)),
            Self::Deep => args.first().map_or(0, deep),
            Self::Elements => size(1),
            Self::Shorter => traverse(size(0).min(size(1))),
            Self::Concat => traverse(size(0).saturating_add(size(1))),
            Self::Regex => traverse(size(0) + 1).saturating_mul(scaled(size(1), REGEX)),
            Self::Contains => traverse(size(0)).saturating_mul(traverse(size(1))),
            Self::Join => scaled(result.map_or(1, Value::cost_size), 2.0 * TRAVERSAL),
            Self::ContainsIp { parsed } => traverse(size(0) * 2) + if parsed { traverse(size(1)) } else { 0 },
            Self::ContainsCidr { parsed } => {
                traverse(size(0) * 2) + traverse(size(0)) + 1 + if parsed { traverse(size(1)) } else { 0 }
            }
            Self::Validate => {
                let regex = match args.first() {
                    Some(Value::Opaque(opaque)) => match &**opaque {
                        Opaque::Format(format) => format.regex_size,
                        _ => FORMAT_REGEX,
                    },
                    _ => FORMAT_REGEX,
                };
                traverse(size(1) + 1).saturating_mul(scaled(regex, REGEX))
            }
            Self::Sets(times) => size(0).saturating_mul(size(1)).saturating_mul(times).saturating_add(1),
            Self::ListOutput => allocating(result.map_or(1, Value::cost_size)),
            Self::Flatten => {
                let depth = match args.get(1) {
                    Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or(0),
                    _ => 1,
                };
                allocating(size(0).saturating_mul(depth))
            }
            Self::SelfCompare(index) => {
                let size = size(index);
                let text = match args.get(index) {
                    Some(Value::List(list)) => matches!(list.get(0), Some(Value::String(_) | Value::Bytes(_))),
                    _ => false,
                };
                let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
                allocating(floored(size.saturating_mul(size), factor))
            }
        }
    }
}

/// The call and a list, beside what the elements cost.
fn allocating(elements: u64) -> u64 {
    elements.saturating_add(11)
}

fn selector(length: u64) -> u64 {
    10 + traverse(length) + scaled(scaled(length, 0.5), 50.0)
}

/// Going through so many characters.
pub(crate) fn traverse(size: u64) -> u64 {
    scaled(size, TRAVERSAL)
}

#[expect(clippy::cast_precision_loss, reason = "upstream computes costs in doubles")]
fn lossy(value: u64) -> f64 {
    value as f64
}

/// `size * factor`, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of doubles saturate")]
pub(crate) fn scaled(size: u64, factor: f64) -> u64 {
    (lossy(size) * factor).ceil() as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of doubles saturate")]
fn floored(size: u64, factor: f64) -> u64 {
    (lossy(size) * factor) as u64
}

/// Everything in a value is looked at. Upstream: `traversalCost`.
fn deep(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => floored(text.len() as u64, TRAVERSAL),
        Value::Bytes(bytes) => floored(bytes.len() as u64, TRAVERSAL),
        Value::List(list) => deep_list(list),
        Value::Map(map) => map.entries().map(|(key, value)| deep(&key) + deep(&value)).sum(),
        _ => 1,
    }
}

fn deep_list(list: &List<'_>) -> u64 {
    list.iter().map(|item| deep(&item)).sum()
}
