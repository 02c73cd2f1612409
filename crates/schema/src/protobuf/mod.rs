//! Protobuf to JSON objects and back, for every type of a schema.
//!
//! Kubernetes wraps an object in an envelope that tells its kind (`k8s\0` and a `runtime.Unknown`). What is written is
//! byte for byte what upstream's generated code writes: fields by number, scalars without a pointer always, maps sorted.
//! Upstream: `runtime/serializer/protobuf`, `generated.pb.go` of each API group.

mod envelope;
mod error;
mod read;
pub(crate) mod wire;
mod write;

use std::borrow::Cow;

pub use envelope::{Envelope, ListFraming, is_enveloped, item_head, list_framing, open, seal, watch_frame};
pub use error::ProtobufError;

use crate::json::{Limits, Node};
use crate::table::{Schema, Type};

/// The media type of enveloped objects.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// An enveloped object as a canonical JSON object with `kind` and `apiVersion`.
///
/// `default` is the kind when the envelope tells none, as for an object that a path already identifies.
pub fn decode<'a>(
    schema: &Schema,
    body: &'a [u8],
    default: Option<Type<'_>>,
    limits: &Limits,
) -> Result<Node<'a>, ProtobufError> {
    let envelope = open(body, limits)?;
    let kind = schema.kind_of(&envelope.api_version, &envelope.kind);
    let unknown =
        || ProtobufError::Kind { api_version: envelope.api_version.to_string(), kind: envelope.kind.to_string() };
    let object = match (kind, default) {
        (Some(kind), _) => decode_message(kind, envelope.raw, limits)?,
        (None, Some(kind)) if envelope.kind.is_empty() => decode_message(kind, envelope.raw, limits)?,
        (None, _) => return Err(unknown()),
    };
    Ok(with_kind(object, envelope.kind, envelope.api_version))
}

/// A message without envelope as a canonical JSON object, without `kind` and `apiVersion`.
pub fn decode_message<'a>(kind: Type<'_>, raw: &'a [u8], limits: &Limits) -> Result<Node<'a>, ProtobufError> {
    if raw.len() > limits.bytes {
        return Err(ProtobufError::Size { limit: limits.bytes });
    }
    read::Reader::new(limits).message(kind, raw)
}

/// An object with `kind` and `apiVersion` as an enveloped message.
pub fn encode(schema: &Schema, object: &Node<'_>) -> Result<Vec<u8>, ProtobufError> {
    let text = |name| object.get(name).and_then(Node::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let unknown = || ProtobufError::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let found = schema.kind_of(api_version, kind).ok_or_else(unknown)?;
    Ok(seal(api_version, kind, &encode_message(found, object)?))
}

/// An object as a message without envelope: an item of a list.
pub fn encode_message(kind: Type<'_>, object: &Node<'_>) -> Result<Vec<u8>, ProtobufError> {
    let mut out = Vec::with_capacity(512);
    write::message(kind, Some(object), &mut out)?;
    Ok(out)
}

fn with_kind<'a>(object: Node<'a>, kind: Cow<'a, str>, api_version: Cow<'a, str>) -> Node<'a> {
    let Node::Object(mut object) = object else { return object };
    let mut head = Vec::with_capacity(object.0.len() + 2);
    if !kind.is_empty() {
        head.push((Cow::Borrowed("kind"), Node::String(kind)));
    }
    if !api_version.is_empty() {
        head.push((Cow::Borrowed("apiVersion"), Node::String(api_version)));
    }
    head.append(&mut object.0);
    object.0 = head;
    Node::Object(object)
}

#[cfg(test)]
mod tests;
