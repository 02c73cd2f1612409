//! JSON bytes to a canonical object: types checked, unknown fields and nulls dropped, fields in upstream's order, and
//! what is printed although it is empty filled in. Unknown and duplicate fields are reported, the caller decides
//! whether they warn or refuse (`fieldValidation` Ignore, Warn, Strict).
//!
//! It must not default or validate. Upstream: `sigs.k8s.io/json` under `runtime/serializer/json`.

mod error;
mod walk;
mod zero;

pub use error::{DecodeError, StrictError};

use crate::json::{self, Limits, Node};
use crate::table::Type;

/// An object as a typed decoder would have read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'a> {
    /// The canonical object: writing it gives what upstream's encoder would print.
    pub object: Node<'a>,
    /// Unknown and duplicate fields in the order in which they were met, without repetition, at most 100.
    pub strict: Vec<StrictError>,
}

impl Decoded<'_> {
    /// Upstream's message of a refused request: `strict decoding error: unknown field "a", duplicate field "b"`.
    pub fn strict_error(&self) -> Option<String> {
        if self.strict.is_empty() {
            return None;
        }
        let all: Vec<String> = self.strict.iter().map(StrictError::to_string).collect();
        Some(format!("strict decoding error: {}", all.join(", ")))
    }
}

/// Parses a body and decodes it as an object of this type.
pub fn decode<'a>(kind: Type<'_>, body: &'a [u8], limits: &Limits) -> Result<Decoded<'a>, DecodeError> {
    decode_node(kind, json::parse(body, limits)?, limits)
}

/// Decodes what was parsed before: a YAML document, a patched object.
pub fn decode_node<'a>(kind: Type<'_>, node: Node<'a>, limits: &Limits) -> Result<Decoded<'a>, DecodeError> {
    let mut walker = walk::Walker::new(limits);
    let object = walker.top(kind, node)?;
    Ok(Decoded { object, strict: walker.strict })
}

/// The canonical form of a value that a typed encoder of ours made.
pub fn canonical<'a>(kind: Type<'_>, value: &'a serde_json::Value, limits: &Limits) -> Result<Node<'a>, DecodeError> {
    Ok(decode_node(kind, Node::from_value(value), limits)?.object)
}

pub(crate) use walk::is_zero;
pub(crate) use zero::{owned, zero};

#[cfg(test)]
mod tests;
