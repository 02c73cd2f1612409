//! Messages to canonical JSON objects.

use std::borrow::Cow;

use super::wire::{Cursor, Payload};
use super::{ProtobufError, decode};
use crate::decode::{is_zero, owned, zero};
use crate::json::{self, Limits, Node, Object};
use crate::table::{Field, Form, Presence, Schema, Shape, Type, WireEntry, WireTarget};
use crate::values::{self, Instant};

pub(super) struct Reader<'l> {
    depth: usize,
    nodes: usize,
    limits: &'l Limits,
}

impl<'l> Reader<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { depth: limits.depth, nodes: limits.nodes, limits }
    }

    fn spend(&mut self) -> Result<(), ProtobufError> {
        self.nodes = self.nodes.checked_sub(1).ok_or(ProtobufError::Nodes { limit: self.limits.nodes })?;
        Ok(())
    }

    pub(super) fn message<'a>(&mut self, kind: Type<'_>, raw: &'a [u8]) -> Result<Node<'a>, ProtobufError> {
        self.depth = self.depth.checked_sub(1).ok_or(ProtobufError::Depth)?;
        let node = match kind.def().form {
            Form::Struct => self.structure(kind, raw),
            form => self.special(kind, form, raw),
        };
        self.depth += 1;
        node
    }

    fn structure<'a>(&mut self, kind: Type<'_>, raw: &'a [u8]) -> Result<Node<'a>, ProtobufError> {
        let slots = self.slots(kind, raw)?;
        let fields = kind.fields();
        let mut members = Vec::with_capacity(slots.iter().flatten().count() + 4);
        for (field, slot) in fields.iter().zip(slots) {
            let value = match (field.presence, slot) {
                (Presence::NonZero, Some(value)) if is_zero(&value) => continue,
                // A pointer to the zero time: in JSON, null and absent are the same.
                (Presence::Set, Some(Node::Null)) => continue,
                (_, Some(value)) => finish(&field.shape, value),
                (Presence::NonZero | Presence::Set, None) => continue,
                (Presence::Nullable, None) => Node::Null,
                (Presence::Always, None) => {
                    self.spend()?;
                    zero(kind.schema(), &field.shape)
                }
            };
            members.push((owned(&field.name), value));
        }
        Ok(Node::Object(Object(members)))
    }

    /// The values of a message by field; nothing where the wire has none.
    fn slots<'a>(&mut self, kind: Type<'_>, raw: &'a [u8]) -> Result<Vec<Option<Node<'a>>>, ProtobufError> {
        let mut slots: Vec<Option<Node<'a>>> = Vec::new();
        slots.resize_with(kind.fields().len(), || None);
        self.collect(kind, kind.wire(), raw, &mut slots)?;
        Ok(slots)
    }

    fn collect<'a>(
        &mut self,
        kind: Type<'_>,
        entries: &[WireEntry],
        raw: &'a [u8],
        slots: &mut [Option<Node<'a>>],
    ) -> Result<(), ProtobufError> {
        let mut cursor = Cursor::new(raw);
        let mut hint = 0;
        while let Some((number, payload)) = cursor.field()? {
            // Fields come in the order of numbers from every writer there is.
            let found = match entries.get(hint) {
                Some(entry) if entry.number == number => Some(hint),
                _ => entries.binary_search_by_key(&number, |entry| entry.number).ok(),
            };
            let Some(position) = found else { continue };
            let Some(entry) = entries.get(position) else { continue };
            match &entry.target {
                WireTarget::Inline(inner) => {
                    let Payload::Bytes(bytes) = payload else {
                        return Err(ProtobufError::WrongWire { wire: payload.wire(), field: number.to_string() });
                    };
                    self.collect(kind, inner, bytes, slots)?;
                    hint = position + 1;
                }
                WireTarget::Field(index) => {
                    let (Some(field), Some(slot)) = (kind.fields().get(*index), slots.get_mut(*index)) else {
                        continue;
                    };
                    self.field(kind.schema(), field, &field.shape, payload, slot)?;
                    hint = if matches!(field.shape, Shape::List(_) | Shape::Map(_)) { position } else { position + 1 };
                }
            }
        }
        Ok(())
    }

    fn field<'a>(
        &mut self,
        schema: &Schema,
        field: &Field,
        shape: &Shape,
        payload: Payload<'a>,
        slot: &mut Option<Node<'a>>,
    ) -> Result<(), ProtobufError> {
        self.spend()?;
        match shape {
            Shape::List(inner) => {
                if !matches!(slot, Some(Node::Array(_))) {
                    *slot = Some(Node::Array(Vec::new()));
                }
                let Some(Node::Array(items)) = slot else { return Ok(()) };
                if let (Shape::Bool | Shape::Int32 | Shape::Int64, Payload::Bytes(packed)) = (&**inner, payload) {
                    let mut cursor = Cursor::new(packed);
                    while !cursor.is_empty() {
                        self.spend()?;
                        items.push(self.scalar(field, inner, Payload::Varint(cursor.varint()?))?);
                    }
                    return Ok(());
                }
                items.push(self.single(schema, field, inner, payload)?);
            }
            Shape::Map(inner) => {
                let Payload::Bytes(entry) = payload else { return Err(wrong(field, payload)) };
                let (mut key, mut value) = (Cow::Borrowed(""), None);
                let mut cursor = Cursor::new(entry);
                while let Some((number, payload)) = cursor.field()? {
                    match (number, payload) {
                        (1, Payload::Bytes(text)) => key = String::from_utf8_lossy(text),
                        (2, payload) => value = Some(self.single(schema, field, inner, payload)?),
                        _ => {}
                    }
                }
                let value = value.unwrap_or_else(|| zero(schema, inner));
                if !matches!(slot, Some(Node::Object(_))) {
                    *slot = Some(Node::Object(Object::default()));
                }
                if let Some(Node::Object(object)) = slot {
                    object.0.push((key, value));
                }
            }
            _ => *slot = Some(self.single(schema, field, shape, payload)?),
        }
        Ok(())
    }

    fn single<'a>(
        &mut self,
        schema: &Schema,
        field: &Field,
        shape: &Shape,
        payload: Payload<'a>,
    ) -> Result<Node<'a>, ProtobufError> {
        match (shape, payload) {
            (Shape::Ref(id), Payload::Bytes(bytes)) => match schema.by_id(*id) {
                Some(kind) => self.message(kind, bytes),
                None => Ok(Node::Null),
            },
            // No Kubernetes type nests lists or maps directly.
            (Shape::List(_) | Shape::Map(_) | Shape::Any, _) => Err(wrong(field, payload)),
            _ => self.scalar(field, shape, payload),
        }
    }

    fn scalar<'a>(&self, field: &Field, shape: &Shape, payload: Payload<'a>) -> Result<Node<'a>, ProtobufError> {
        Ok(match (shape, payload) {
            (Shape::String, Payload::Bytes(bytes)) => Node::String(String::from_utf8_lossy(bytes)),
            (Shape::Bytes, Payload::Bytes(bytes)) => Node::String(Cow::Owned(values::encode_base64(bytes))),
            (Shape::Bool, Payload::Varint(value)) => Node::Bool(value != 0),
            (Shape::Int32, Payload::Varint(value)) => number(i64::from(value as i32)),
            (Shape::Int64, Payload::Varint(value)) => number(value.cast_signed()),
            (Shape::Double, Payload::Fixed64(bits)) => {
                let value = f64::from_bits(bits);
                if !value.is_finite() {
                    return Err(ProtobufError::Text { message: format!("json: unsupported value: {value}") });
                }
                Node::Number(Cow::Owned(value.to_string()))
            }
            _ => return Err(wrong(field, payload)),
        })
    }

    fn special<'a>(&mut self, kind: Type<'_>, form: Form, raw: &'a [u8]) -> Result<Node<'a>, ProtobufError> {
        if matches!(form, Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings) {
            return self.either(kind, raw);
        }
        let (mut first, mut second, mut text, mut strings) = (0_u64, 0_u64, None, Vec::new());
        let mut cursor = Cursor::new(raw);
        while let Some((number, payload)) = cursor.field()? {
            match (number, payload) {
                (1, Payload::Varint(value)) => first = value,
                (2, Payload::Varint(value)) => second = value,
                (1, Payload::Bytes(bytes)) if form == Form::Strings => {
                    self.spend()?;
                    strings.push(Node::String(String::from_utf8_lossy(bytes)));
                }
                (1 | 3, Payload::Bytes(bytes)) => text = Some(bytes),
                _ => {}
            }
        }
        let as_text = |bytes: Option<&'a [u8]>| String::from_utf8_lossy(bytes.unwrap_or_default());
        Ok(match form {
            Form::Strings => Node::Array(strings),
            Form::Quantity => {
                let text = as_text(text);
                let text = if text.is_empty() { Cow::Borrowed("0") } else { text };
                Node::String(Cow::Owned(
                    values::canonical_quantity(&text).map_err(|message| ProtobufError::Text { message })?,
                ))
            }
            Form::IntOrString if first == 1 => Node::String(as_text(text)),
            Form::IntOrString => number(i64::from(second as i32)),
            Form::Duration => Node::String(Cow::Owned(values::format_duration(first.cast_signed()))),
            // An empty message is the zero time.
            Form::Time | Form::MicroTime if raw.is_empty() => Node::Null,
            Form::Time | Form::MicroTime => {
                let instant = Instant { seconds: first.cast_signed(), nanos: second as i32 };
                let text =
                    if form == Form::Time { values::format_time(instant) } else { values::format_micro_time(instant) };
                text.map_or(Node::Null, |text| Node::String(Cow::Owned(text)))
            }
            _ => self.raw(kind, text.unwrap_or_default())?,
        })
    }

    /// Bytes that hold an object: JSON, or an envelope of their own.
    fn raw<'a>(&self, kind: Type<'_>, bytes: &'a [u8]) -> Result<Node<'a>, ProtobufError> {
        if bytes.is_empty() {
            return Ok(Node::Null);
        }
        let limits = Limits { depth: self.depth, nodes: self.nodes, ..*self.limits };
        if super::is_enveloped(bytes) {
            return decode(kind.schema(), bytes, None, &limits);
        }
        json::parse(bytes, &limits).map_err(|error| ProtobufError::Text { message: error.to_string() })
    }

    /// A schema or something simpler.
    fn either<'a>(&mut self, kind: Type<'_>, raw: &'a [u8]) -> Result<Node<'a>, ProtobufError> {
        let mut allows = Node::Null;
        let mut schema = Node::Null;
        for (field, slot) in kind.fields().iter().zip(self.slots(kind, raw)?) {
            let Some(value) = slot else { continue };
            if field.name == "schema" { schema = value } else { allows = value }
        }
        Ok(match (schema, allows) {
            (Node::Null, Node::Null) if kind.def().form == Form::SchemaOrBool => Node::Bool(false),
            (Node::Null, other) => other,
            (schema, _) => schema,
        })
    }
}

/// Maps are printed sorted, and of equal keys the last one counts.
fn finish<'a>(shape: &Shape, value: Node<'a>) -> Node<'a> {
    match (shape, value) {
        (Shape::Map(_), Node::Object(mut object)) => {
            if !object.0.is_sorted_by(|(left, _), (right, _)| left < right) {
                object.0.reverse();
                object.0.sort_by(|(left, _), (right, _)| left.cmp(right));
                object.0.dedup_by(|(later, _), (earlier, _)| later == earlier);
            }
            Node::Object(object)
        }
        (_, value) => value,
    }
}

fn number(value: i64) -> Node<'static> {
    const SMALL: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    match usize::try_from(value).ok().and_then(|index| SMALL.get(index)) {
        Some(text) => Node::Number(Cow::Borrowed(text)),
        None => Node::Number(Cow::Owned(value.to_string())),
    }
}

#[cold]
fn wrong(field: &Field, payload: Payload<'_>) -> ProtobufError {
    let mut name = field.name.to_string();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    ProtobufError::WrongWire { wire: payload.wire(), field: name }
}
