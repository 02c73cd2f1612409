//! One step of a field path: a field, a list element by its keys or its value, or a place in a list.
//!
//! The order is upstream's: fields, keys, values, places; numbers by value. Upstream: `fieldpath/element.go`,
//! `fieldpath/serialize-pe.go`, `value.Compare`.

use std::{borrow::Cow, cmp::Ordering, fmt};

use apimachinery::field::go_quote;
use schema::{Node, table::Name};
use serde_json::{Map, Number, Value};

/// One step of a path.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// A struct's field or a map's key.
    Field(Name),
    /// An element of an associative list, by its keys in the order of their names.
    Key(Vec<(Name, Value)>),
    /// An element of a set.
    Value(Value),
    /// An element of a list by its place.
    Index(i64),
}

/// Why a step is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// A kind of step that a later version may know.
    #[error("unknown path element type")]
    Unknown,
    #[error("key must be 2 characters long:")]
    Short,
    #[error("missing colon: {0}")]
    NoColon(String),
    #[error("parsing key as path element: {0}")]
    Malformed(String),
}

impl PathElement {
    /// A field.
    pub fn field(name: impl Into<Name>) -> Self {
        Self::Field(name.into())
    }

    /// From `f:name`, `k:{"name":"a"}`, `v:"a"` or `i:0`.
    pub fn parse(text: &str) -> Result<Self, ElementError> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err(ElementError::Short);
        }
        if bytes.get(1) != Some(&b':') {
            return Err(ElementError::NoColon(text.to_owned()));
        }
        let rest = text.get(2..).unwrap_or_default();
        let malformed = |error: serde_json::Error| ElementError::Malformed(error.to_string());
        match bytes.first() {
            Some(b'f') => Ok(Self::Field(Cow::Owned(rest.to_owned()))),
            Some(b'v') => serde_json::from_str(rest).map(Self::Value).map_err(malformed),
            Some(b'k') => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(malformed)?;
                // The map is ordered by name.
                Ok(Self::Key(keys.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect()))
            }
            Some(b'i') => rest.parse().map(Self::Index).map_err(|_| ElementError::Malformed(rest.to_owned())),
            _ => Err(ElementError::Unknown),
        }
    }

    /// As `fieldsV1` spells it.
    pub fn print(&self, out: &mut String) {
        match self {
            Self::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            Self::Key(keys) => {
                let mut json = b"k:{".to_vec();
                for (index, (name, value)) in keys.iter().enumerate() {
                    if index > 0 {
                        json.push(b',');
                    }
                    schema::json::write_string(name, &mut json);
                    json.push(b':');
                    Node::from_value(value).write_json(&mut json);
                }
                json.push(b'}');
                out.push_str(&String::from_utf8_lossy(&json));
            }
            Self::Value(value) => {
                out.push_str("v:");
                out.push_str(&String::from_utf8_lossy(&Node::from_value(value).to_json()));
            }
            Self::Index(index) => {
                out.push_str("i:");
                out.push_str(&index.to_string());
            }
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(left), Self::Field(right)) => left.cmp(right),
            (Self::Key(left), Self::Key(right)) => {
                for ((left_name, left_value), (right_name, right_value)) in left.iter().zip(right) {
                    let order = left_name.cmp(right_name).then_with(|| compare(left_value, right_value));
                    if order != Ordering::Equal {
                        return order;
                    }
                }
                left.len().cmp(&right.len())
            }
            (Self::Value(left), Self::Value(right)) => compare(left, right),
            (Self::Index(left), Self::Index(right)) => left.cmp(right),
            (left, right) => left.rank().cmp(&right.rank()),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PathElement {}

/// `.spec`, `[name="a"]`, `[="a"]`, `[0]`: the form of messages.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (index, (name, value)) in keys.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", readable(value))?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={}]", readable(value)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Upstream: `value.ToString`.
fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Array(items) => format!("[{}]", items.iter().map(readable).collect::<Vec<_>>().join(",")),
        Value::Object(members) => members.iter().map(|(name, value)| format!("{name}={}", readable(value))).collect(),
        other => other.to_string(),
    }
}

/// Upstream: `value.Compare`.
fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let different =
                left.iter().zip(right).map(|(left, right)| compare(left, right)).find(|order| order.is_ne());
            different.unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let pairs = left.iter().zip(right);
            let mut orders = pairs.map(|((left_name, left), (right_name, right))| {
                left_name.cmp(right_name).then_with(|| compare(left, right))
            });
            orders.find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (left, right) => value_rank(left).cmp(&value_rank(right)),
    }
}

fn value_rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => match (left.as_u64(), right.as_u64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.as_f64().unwrap_or_default().total_cmp(&right.as_f64().unwrap_or_default()),
        },
    }
}

/// A path as messages show it: `.spec.containers[name="a"].image`.
pub fn path_text(path: &[PathElement]) -> String {
    path.iter().map(PathElement::to_string).collect()
}
