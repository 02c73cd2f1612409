//! Why a patch is refused, in upstream's words.

use serde_json::{Map, Value};

/// A patch that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("invalid JSON document")]
    BadDocument,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    /// Everything for which upstream makes its sentence on the spot.
    #[error("{0}")]
    Other(String),
}

impl PatchError {
    /// The HTTP status that upstream answers with.
    pub fn status(&self) -> u16 {
        match self {
            PatchError::BadDocument | PatchError::PrimitiveList | PatchError::RetainKeys | PatchError::ElementOrder => {
                400
            }
            PatchError::ListOfLists => 422,
            PatchError::Other(_) => 500,
        }
    }

    pub(super) fn bad_patch_type(directive: &Value, members: &Map<String, Value>) -> Self {
        PatchError::Other(format!("unknown patch type: {} in map: {}", go_format(directive), go_format_map(members)))
    }

    pub(super) fn no_merge_key(members: &Map<String, Value>, key: &str) -> Self {
        PatchError::Other(format!("map: {} does not contain declared merge key: {key}", go_format_map(members)))
    }

    pub(super) fn bad_argument(expected: &str, actual: &Value) -> Self {
        PatchError::Other(format!("expected a {expected}, but received a {}", go_type(actual)))
    }
}

/// The Go type of a decoded JSON value.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%v` prints it.
pub fn go_format(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => go_format_list(items),
        Value::Object(members) => go_format_map(members),
        other => other.to_string(),
    }
}

pub(super) fn go_format_list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(go_format).collect::<Vec<_>>().join(" "))
}

fn go_format_map(members: &Map<String, Value>) -> String {
    let mut parts: Vec<String> = members.iter().map(|(key, value)| format!("{key}:{}", go_format(value))).collect();
    parts.sort();
    format!("map[{}]", parts.join(" "))
}
