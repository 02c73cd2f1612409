//! Envelopes, lists and watch frames: how objects travel.
//!
//! A list is framed around items that were encoded before, so that it can be streamed without being built.

use std::borrow::Cow;

use super::wire::{self, Cursor, Payload};
use super::{ProtobufError, write};
use crate::json::{Limits, Node};
use crate::table::Type;

const MAGIC: &[u8; 4] = b"k8s\0";

/// A `runtime.Unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub raw: &'a [u8],
    pub content_encoding: Cow<'a, str>,
    pub content_type: Cow<'a, str>,
}

/// Whether a body starts as an envelope.
pub fn is_enveloped(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Takes the envelope off.
pub fn open<'a>(body: &'a [u8], limits: &Limits) -> Result<Envelope<'a>, ProtobufError> {
    if body.len() > limits.bytes {
        return Err(ProtobufError::Size { limit: limits.bytes });
    }
    if body.is_empty() {
        return Err(ProtobufError::Empty);
    }
    let rest = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let mut envelope = Envelope {
        api_version: Cow::Borrowed(""),
        kind: Cow::Borrowed(""),
        raw: &[],
        content_encoding: Cow::Borrowed(""),
        content_type: Cow::Borrowed(""),
    };
    let mut cursor = Cursor::new(rest);
    while let Some((number, payload)) = cursor.field()? {
        let Payload::Bytes(bytes) = payload else { continue };
        match number {
            1 => {
                let mut meta = Cursor::new(bytes);
                while let Some((number, payload)) = meta.field()? {
                    match (number, payload) {
                        (1, Payload::Bytes(text)) => envelope.api_version = String::from_utf8_lossy(text),
                        (2, Payload::Bytes(text)) => envelope.kind = String::from_utf8_lossy(text),
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = bytes,
            3 => envelope.content_encoding = String::from_utf8_lossy(bytes),
            4 => envelope.content_type = String::from_utf8_lossy(bytes),
            _ => {}
        }
    }
    Ok(envelope)
}

/// Puts a message into an envelope.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 32);
    head(api_version, kind, raw.len(), &mut out);
    out.extend_from_slice(raw);
    out.extend_from_slice(TAIL);
    out
}

/// Empty content encoding and content type.
const TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// Everything before the raw message of this length.
fn head(api_version: &str, kind: &str, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    wire::bytes(1, api_version.as_bytes(), &mut meta);
    wire::bytes(2, kind.as_bytes(), &mut meta);
    wire::bytes(1, &meta, out);
    wire::tag(2, 2, out);
    wire::varint(length as u64, out);
}

/// What stands around the items of an enveloped list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFraming {
    pub head: Vec<u8>,
    pub tail: &'static [u8],
}

/// Frames a list. `items` are the lengths of the messages that follow, each behind its [`item_head`].
pub fn list_framing(
    list: Type<'_>,
    api_version: &str,
    metadata: &Node<'_>,
    items: impl Iterator<Item = usize>,
) -> Result<ListFraming, ProtobufError> {
    let mut meta = Vec::new();
    if let Some(kind) = list.field("metadata").and_then(|field| list.element(&field.shape)) {
        wire::nested(1, &mut meta, |out| write::message(kind, Some(metadata), out))?;
    }
    let length: usize = meta.len() + items.map(|length| 1 + wire::varint_size(length) + length).sum::<usize>();
    let mut framing = ListFraming { head: Vec::with_capacity(meta.len() + 64), tail: TAIL };
    head(api_version, list.short_name(), length, &mut framing.head);
    framing.head.extend_from_slice(&meta);
    Ok(framing)
}

/// What stands before an item of a list.
pub fn item_head(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(6);
    wire::tag(2, 2, &mut out);
    wire::varint(length as u64, &mut out);
    out
}

/// A frame of a watch: a length of four bytes, then the event around an enveloped object.
pub fn watch_frame(event: &str, enveloped: &[u8]) -> Vec<u8> {
    let raw = 1 + wire::varint_size(enveloped.len()) + enveloped.len();
    let mut out = Vec::with_capacity(raw + event.len() + 16);
    out.extend_from_slice(&[0; 4]);
    wire::bytes(1, event.as_bytes(), &mut out);
    wire::tag(2, 2, &mut out);
    wire::varint(raw as u64, &mut out);
    wire::bytes(1, enveloped, &mut out);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    if let Some(prefix) = out.first_chunk_mut() {
        *prefix = length.to_be_bytes();
    }
    out
}
