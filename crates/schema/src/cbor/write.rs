//! JSON trees to CBOR.

use crate::json::Node;
use crate::table::{Form, Shape, Type};
use crate::values;

/// What stands around the items of a list: everything before the first, and everything behind the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFraming {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
}

/// One data item, without the magic tag. With a type, fields of bytes and of floating point are known as such.
pub fn encode(object: &Node<'_>, kind: Option<Type<'_>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    encode_into(object, kind, &mut out);
    out
}

pub fn encode_into(object: &Node<'_>, kind: Option<Type<'_>>, out: &mut Vec<u8>) {
    match kind {
        Some(kind) => typed(kind, object, out),
        None => plain(object, out),
    }
}

/// Frames a list of `count` items. `members` are all others of the list's object, in any order; `items` is the name of
/// the member that the items belong to (`items`, or `rows` of a table).
pub fn list_framing<'a>(members: &[(&'a str, Node<'a>)], items: &'a str, count: usize) -> ListFraming {
    let mut sorted: Vec<(&str, Option<&Node<'_>>)> = members.iter().map(|(name, node)| (*name, Some(node))).collect();
    sorted.push((items, None));
    sorted.sort_by(|(left, _), (right, _)| order(left, right));
    let mut framing = ListFraming { head: super::SELF_DESCRIBED.to_vec(), tail: Vec::new() };
    head(5, sorted.len() as u64, &mut framing.head);
    let mut behind = false;
    for (name, node) in sorted {
        let out = if behind { &mut framing.tail } else { &mut framing.head };
        bytes(name.as_bytes(), out);
        match node {
            Some(node) => plain(node, out),
            None => {
                head(4, count as u64, out);
                behind = true;
            }
        }
    }
    framing
}

/// What stands before `count` items.
pub fn array_head(count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    head(4, count as u64, &mut out);
    out
}

/// A frame of a watch around an object's document.
pub fn frame(event: &str, document: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len() + event.len() + 24);
    out.extend_from_slice(&super::SELF_DESCRIBED);
    head(5, 2, &mut out);
    bytes(b"type", &mut out);
    bytes(event.as_bytes(), &mut out);
    bytes(b"object", &mut out);
    out.extend_from_slice(document);
    out
}

fn plain(node: &Node<'_>, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.push(0xf6),
        Node::Bool(value) => out.push(0xf4 + u8::from(*value)),
        Node::Number(text) => number(text, false, out),
        Node::String(text) => bytes(text.as_bytes(), out),
        Node::Array(items) => {
            head(4, items.len() as u64, out);
            for item in items {
                plain(item, out);
            }
        }
        Node::Object(object) => map(&object.0, out, |_, value, out| plain(value, out)),
    }
}

fn typed(kind: Type<'_>, node: &Node<'_>, out: &mut Vec<u8>) {
    match (kind.def().form, node) {
        (Form::Struct, Node::Object(object)) => {
            map(&object.0, out, |name, value, out| match kind.field(name) {
                Some(field) => shaped(kind, &field.shape, value, out),
                None => plain(value, out),
            });
        }
        (Form::SchemaOrArray, Node::Array(items)) => {
            head(4, items.len() as u64, out);
            for item in items {
                nested_schema(kind, item, out);
            }
        }
        (Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings, node @ Node::Object(_)) => {
            nested_schema(kind, node, out);
        }
        (_, node) => plain(node, out),
    }
}

fn nested_schema(kind: Type<'_>, node: &Node<'_>, out: &mut Vec<u8>) {
    match kind.field("schema").and_then(|field| kind.element(&field.shape)) {
        Some(schema) => typed(schema, node, out),
        None => plain(node, out),
    }
}

fn shaped(owner: Type<'_>, shape: &Shape, node: &Node<'_>, out: &mut Vec<u8>) {
    match (shape, node) {
        (Shape::Bytes, Node::String(text)) => match values::decode_base64(text) {
            Ok(decoded) => {
                out.push(0xd6);
                bytes(&decoded, out);
            }
            // Not what the server writes; the text is what JSON clients see.
            Err(_) => bytes(text.as_bytes(), out),
        },
        (Shape::Double, Node::Number(text)) => number(text, true, out),
        (Shape::Ref(_), node) => match owner.element(shape) {
            Some(kind) => typed(kind, node, out),
            None => plain(node, out),
        },
        (Shape::List(inner), Node::Array(items)) => {
            head(4, items.len() as u64, out);
            for item in items {
                shaped(owner, inner, item, out);
            }
        }
        (Shape::Map(inner), Node::Object(object)) => {
            map(&object.0, out, |_, value, out| shaped(owner, inner, value, out));
        }
        (_, node) => plain(node, out),
    }
}

/// Of duplicate keys the last counts, as everywhere.
fn map<'a>(
    members: &[(super::Key<'a>, Node<'a>)],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&str, &Node<'a>, &mut Vec<u8>),
) {
    let mut sorted: Vec<&(super::Key<'a>, Node<'a>)> = members.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| order(left, right));
    let is_last = |index: usize| sorted.get(index + 1).is_none_or(|next| next.0 != sorted[index].0);
    let count = (0..sorted.len()).filter(|index| is_last(*index)).count();
    head(5, count as u64, out);
    for (index, (name, value)) in sorted.iter().enumerate() {
        if is_last(index) {
            bytes(name.as_bytes(), out);
            write(name, value, out);
        }
    }
}

/// Of the encoded keys: the length comes first.
fn order(left: &str, right: &str) -> std::cmp::Ordering {
    left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

fn bytes(text: &[u8], out: &mut Vec<u8>) {
    head(2, text.len() as u64, out);
    out.extend_from_slice(text);
}

fn number(text: &str, as_float: bool, out: &mut Vec<u8>) {
    if !as_float
        && !text.contains(['.', 'e', 'E'])
        && let Ok(value) = text.parse::<i64>()
    {
        return match u64::try_from(value) {
            Ok(value) => head(0, value, out),
            Err(_) => head(1, !value.cast_unsigned(), out),
        };
    }
    float(text.parse().unwrap_or(0.0), out);
}

/// In the smallest width that keeps the value.
fn float(value: f64, out: &mut Vec<u8>) {
    #[expect(clippy::cast_possible_truncation, reason = "whether anything is lost is looked at next")]
    let single = value as f32;
    if f64::from(single).to_bits() != value.to_bits() {
        out.push(0xfb);
        out.extend_from_slice(&value.to_be_bytes());
        return;
    }
    match half(single) {
        Some(bits) => {
            out.push(0xf9);
            out.extend_from_slice(&bits.to_be_bytes());
        }
        None => {
            out.push(0xfa);
            out.extend_from_slice(&single.to_be_bytes());
        }
    }
}

/// The half-precision form of a finite number, if it has one.
fn half(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let sign = u16::try_from(bits >> 16 & 0x8000).ok()?;
    let exponent = i32::try_from(bits >> 23 & 0xff).ok()? - 127;
    let fraction = bits & 0x7f_ffff;
    if bits & 0x7fff_ffff == 0 {
        return Some(sign);
    }
    if (-14..=15).contains(&exponent) {
        if fraction & 0x1fff != 0 {
            return None;
        }
        let exponent = u16::try_from(exponent + 15).ok()?;
        return Some(sign | exponent << 10 | u16::try_from(fraction >> 13).ok()?);
    }
    if (-24..-14).contains(&exponent) {
        // Subnormal: the leading one becomes part of the fraction.
        let shift = u32::try_from(-exponent - 14 + 13).ok()?;
        let whole = fraction | 0x80_0000;
        if whole & ((1 << shift) - 1) != 0 {
            return None;
        }
        return Some(sign | u16::try_from(whole >> shift).ok()?);
    }
    None
}

fn head(major: u8, value: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    let large = value.to_be_bytes();
    match value {
        0..=23 => out.push(major | large[7]),
        24..=0xff => out.extend_from_slice(&[major | 24, large[7]]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&large[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&large[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&large);
        }
    }
}
