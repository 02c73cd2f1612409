//! Why a body cannot be decoded, in upstream's words.

use crate::json::JsonError;

/// A body that is refused whatever the field validation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A value of the wrong type in a field.
    #[error("json: cannot unmarshal {value} into Go struct field {owner}.{path} of type {expected}")]
    Field { value: String, owner: String, path: String, expected: String },
    /// The whole body is of the wrong type.
    #[error("json: cannot unmarshal {value} into Go value of type {expected}")]
    Value { value: String, expected: String },
    /// A text that its type cannot read: a quantity, a time, base64.
    #[error("{message}")]
    Text { message: String, path: String },
    #[error("object has too many values: limit is {limit}")]
    Nodes { limit: usize },
}

/// What strict field validation refuses. Paths are upstream's: `spec.containers[0].imagePullpolicy`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    #[error("unknown field {}", quoted(.0))]
    Unknown(String),
    #[error("duplicate field {}", quoted(.0))]
    Duplicate(String),
}

/// Quoted as Go's `%q` quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' || control == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
