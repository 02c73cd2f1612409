//! JSON objects to messages, byte for byte as upstream's generated code writes them.

use super::{ProtobufError, wire};
use crate::json::{Node, Object};
use crate::table::{Field, Form, Presence, Schema, Shape, Type, WireEntry, WireTarget};
use crate::values;

/// Writes the message of an object; nothing, or null, is the zero value.
pub(super) fn message(kind: Type<'_>, object: Option<&Node<'_>>, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    match (kind.def().form, object) {
        (Form::Struct, None | Some(Node::Null)) => structure(kind, kind.wire(), &Object::default(), out),
        (Form::Struct, Some(Node::Object(object))) => structure(kind, kind.wire(), object, out),
        (Form::Struct, Some(_)) => {
            Err(ProtobufError::Value { field: kind.short_name().to_owned(), expected: "an object" })
        }
        (form, object) => special(kind, form, object.unwrap_or(&Node::Null), out),
    }
}

fn structure(
    kind: Type<'_>,
    entries: &[WireEntry],
    object: &Object<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ProtobufError> {
    for entry in entries {
        match &entry.target {
            WireTarget::Inline(inner) => wire::nested(entry.number, out, |out| structure(kind, inner, object, out))?,
            WireTarget::Field(index) => {
                if let Some(field) = kind.fields().get(*index) {
                    self::field(kind.schema(), field, object.get(&field.name), out)?;
                }
            }
        }
    }
    Ok(())
}

fn field(schema: &Schema, field: &Field, value: Option<&Node<'_>>, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    let value = value.filter(|value| **value != Node::Null);
    let wrong = |expected| ProtobufError::Value { field: field.name.to_string(), expected };
    match (&field.shape, value) {
        (Shape::List(inner), Some(Node::Array(items))) => {
            for item in items {
                single(schema, field, inner, Some(item), field.number, out)?;
            }
        }
        (Shape::Map(inner), Some(Node::Object(object))) => {
            let mut members: Vec<_> = object.0.iter().collect();
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            for (key, value) in members {
                wire::nested(field.number, out, |out| {
                    wire::bytes(1, key.as_bytes(), out);
                    single(schema, field, inner, Some(value), 2, out)
                })?;
            }
        }
        (Shape::List(_), Some(_)) => return Err(wrong("a list")),
        (Shape::Map(_), Some(_)) => return Err(wrong("a map")),
        (Shape::List(_) | Shape::Map(_) | Shape::Bytes | Shape::Any, None) => {}
        // Go has no pointer here, and its generated code writes what is no pointer always; but a named slice is none.
        (shape, None) => {
            let pointer = matches!(field.presence, Presence::Set | Presence::Nullable);
            let slice = matches!(shape, Shape::Ref(id) if schema.by_id(*id).is_some_and(|kind| kind.def().form == Form::Strings));
            if !pointer && !slice {
                single(schema, field, shape, None, field.number, out)?;
            }
        }
        (shape, value) => single(schema, field, shape, value, field.number, out)?,
    }
    Ok(())
}

fn single(
    schema: &Schema,
    field: &Field,
    shape: &Shape,
    value: Option<&Node<'_>>,
    number: u32,
    out: &mut Vec<u8>,
) -> Result<(), ProtobufError> {
    let wrong = |expected| ProtobufError::Value { field: field.name.to_string(), expected };
    let value = value.unwrap_or(&Node::Null);
    match (shape, value) {
        (Shape::String, Node::String(text)) => wire::bytes(number, text.as_bytes(), out),
        (Shape::String | Shape::Bytes, Node::Null) => wire::bytes(number, b"", out),
        (Shape::Bytes, Node::String(text)) => {
            let bytes = values::decode_base64(text).map_err(|message| ProtobufError::Text { message })?;
            wire::bytes(number, &bytes, out);
        }
        (Shape::Bool, Node::Bool(value)) => wire::number(number, u64::from(*value), out),
        (Shape::Bool | Shape::Int32 | Shape::Int64, Node::Null) => wire::number(number, 0, out),
        (Shape::Int32 | Shape::Int64, Node::Number(text)) => {
            let value: i64 = text.parse().map_err(|_| wrong("an integer"))?;
            wire::number(number, value.cast_unsigned(), out);
        }
        (Shape::Double, Node::Number(_) | Node::Null) => {
            let double: f64 =
                if let Node::Number(text) = value { text.parse().map_err(|_| wrong("a number"))? } else { 0.0 };
            wire::tag(number, 1, out);
            out.extend_from_slice(&double.to_le_bytes());
        }
        (Shape::Ref(id), value) => {
            if let Some(kind) = schema.by_id(*id) {
                wire::nested(number, out, |out| message(kind, Some(value), out))?;
            }
        }
        (Shape::String, _) => return Err(wrong("a string")),
        (Shape::Bytes, _) => return Err(wrong("bytes")),
        (Shape::Bool, _) => return Err(wrong("a boolean")),
        (Shape::Int32 | Shape::Int64 | Shape::Double, _) => return Err(wrong("a number")),
        (Shape::List(_) | Shape::Map(_) | Shape::Any, _) => return Err(wrong("protobuf")),
    }
    Ok(())
}

fn special(kind: Type<'_>, form: Form, value: &Node<'_>, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    let wrong = |expected| ProtobufError::Value { field: kind.short_name().to_owned(), expected };
    let text = |message| ProtobufError::Text { message };
    match (form, value) {
        (Form::Raw, Node::Null) => {}
        (Form::Raw, value) => {
            let mut json = Vec::new();
            value.write_json(&mut json);
            wire::bytes(1, &json, out);
        }
        (Form::Quantity, Node::Null) => wire::bytes(1, b"0", out),
        (Form::Quantity, Node::String(amount) | Node::Number(amount)) => {
            wire::bytes(1, values::canonical_quantity(amount).map_err(text)?.as_bytes(), out);
        }
        (Form::IntOrString, Node::String(value)) => {
            wire::number(1, 1, out);
            wire::number(2, 0, out);
            wire::bytes(3, value.as_bytes(), out);
        }
        (Form::IntOrString, value @ (Node::Number(_) | Node::Null)) => {
            let value: i32 =
                if let Node::Number(text) = value { text.parse().map_err(|_| wrong("an integer"))? } else { 0 };
            wire::number(1, 0, out);
            wire::number(2, i64::from(value).cast_unsigned(), out);
            wire::bytes(3, b"", out);
        }
        // The zero time is an empty message.
        (Form::Time | Form::MicroTime, Node::Null) => {}
        (Form::Time | Form::MicroTime, Node::String(time)) => {
            let instant = values::parse_time(time).map_err(text)?;
            if instant.is_zero() {
                return Ok(());
            }
            let nanos = if form == Form::Time { 0 } else { instant.nanos / 1_000 * 1_000 };
            wire::number(1, instant.seconds.cast_unsigned(), out);
            wire::number(2, i64::from(nanos).cast_unsigned(), out);
        }
        (Form::Duration, Node::Null) => wire::number(1, 0, out),
        (Form::Duration, Node::String(duration)) => {
            wire::number(1, values::parse_duration(duration).map_err(text)?.cast_unsigned(), out);
        }
        (Form::Strings, Node::Null) => {}
        (Form::Strings, Node::Array(items)) => {
            for item in items {
                wire::bytes(1, item.as_str().unwrap_or_default().as_bytes(), out);
            }
        }
        (Form::SchemaOrBool, Node::Null) => wire::number(1, 0, out),
        (Form::SchemaOrBool, Node::Bool(allows)) => wire::number(1, u64::from(*allows), out),
        (Form::SchemaOrBool, schema @ Node::Object(_)) => {
            wire::number(1, 1, out);
            either(kind, "schema", schema, out)?;
        }
        (Form::SchemaOrArray | Form::SchemaOrStrings, Node::Null) => {}
        (Form::SchemaOrArray | Form::SchemaOrStrings, schema @ Node::Object(_)) => either(kind, "schema", schema, out)?,
        (Form::SchemaOrArray, schemas @ Node::Array(_)) => either(kind, "jSONSchemas", schemas, out)?,
        (Form::SchemaOrStrings, strings @ Node::Array(_)) => either(kind, "property", strings, out)?,
        _ => return Err(wrong("its own form")),
    }
    Ok(())
}

fn either(kind: Type<'_>, name: &str, value: &Node<'_>, out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    match kind.field(name) {
        Some(field) => self::field(kind.schema(), field, Some(value), out),
        None => Ok(()),
    }
}
