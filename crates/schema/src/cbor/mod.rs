//! CBOR to JSON trees and back, as Kubernetes speaks it: deterministic, strings as byte strings, bytes under tag 22.
//!
//! What is written is what upstream's deterministic encoder writes: map keys in bytewise order of their encoding,
//! definite lengths, shortest integers and floats. What is read is what its decoder accepts. It must not know media
//! types. Upstream: `k8s.io/apimachinery/pkg/runtime/serializer/cbor` (modes of `github.com/fxamacker/cbor`).

mod read;
mod write;

use std::borrow::Cow;

pub use read::{CborError, decode, decode_first};
pub use write::{array_head, encode, encode_into, frame, list_framing};

use crate::json::Node;

/// The media type of one data item.
pub const MEDIA_TYPE: &str = "application/cbor";
/// The media type of a sequence of data items: watches.
pub const SEQUENCE_MEDIA_TYPE: &str = "application/cbor-seq";
/// The tag "self-described CBOR", which every document begins with.
pub const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// A document: the magic tag and the object.
pub fn document(object: &Node<'_>, kind: Option<crate::Type<'_>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&SELF_DESCRIBED);
    encode_into(object, kind, &mut out);
    out
}

/// A map key as it stands in JSON.
type Key<'a> = Cow<'a, str>;

#[cfg(test)]
mod tests;
