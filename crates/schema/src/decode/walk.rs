//! The walk of a parsed value along its type.

use std::borrow::Cow;

use super::zero::{owned, zero};
use super::{DecodeError, StrictError};
use crate::json::{Limits, Node, Object};
use crate::table::{Field, Form, Presence, Schema, Shape, Type};
use crate::values;

/// Upstream stops counting here.
const MOST_STRICT_ERRORS: usize = 100;

pub(super) struct Walker<'s, 'a> {
    pub(super) strict: Vec<StrictError>,
    path: Vec<Segment<'s, 'a>>,
    nodes: usize,
    limit: usize,
}

enum Segment<'s, 'a> {
    Field(&'s str),
    Key(Cow<'a, str>),
    Index(usize),
}

impl<'s, 'a> Walker<'s, 'a> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { strict: Vec::new(), path: Vec::new(), nodes: limits.nodes, limit: limits.nodes }
    }

    pub(super) fn top(&mut self, kind: Type<'s>, node: Node<'a>) -> Result<Node<'a>, DecodeError> {
        self.named(kind, node, "")
    }

    /// Counts values that the canonical form adds, so that a small body of many empty structs stays small.
    fn spend(&mut self) -> Result<(), DecodeError> {
        self.nodes = self.nodes.checked_sub(1).ok_or(DecodeError::Nodes { limit: self.limit })?;
        Ok(())
    }

    fn shape(
        &mut self,
        schema: &'s Schema,
        shape: &'s Shape,
        node: Node<'a>,
        owner: &str,
    ) -> Result<Node<'a>, DecodeError> {
        let refused = |this: &Self, node: &Node<'_>| this.mismatch(node.go_name(), owner, schema, shape);
        match (shape, node) {
            (Shape::Any, node) => Ok(node),
            (shape, Node::Null) => Ok(zero(schema, shape)),
            (Shape::Ref(id), node) => match schema.by_id(*id) {
                Some(kind) => self.named(kind, node, owner),
                None => Ok(node),
            },
            (Shape::String, node @ Node::String(_)) | (Shape::Bool, node @ Node::Bool(_)) => Ok(node),
            (Shape::Int32 | Shape::Int64, Node::Number(text)) => match integer(&text, matches!(shape, Shape::Int32)) {
                Some(true) => Ok(Node::Number(text)),
                Some(false) => Ok(Node::Number(Cow::Borrowed("0"))),
                None => Err(self.mismatch(&format!("number {text}"), owner, schema, shape)),
            },
            (Shape::Double, Node::Number(text)) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Node::Number(text)),
                _ => Err(self.mismatch(&format!("number {text}"), owner, schema, shape)),
            },
            (Shape::Bytes, Node::String(text)) => match values::decode_base64(&text) {
                Ok(_) if !text.contains(['\r', '\n']) => Ok(Node::String(text)),
                Ok(bytes) => Ok(Node::String(Cow::Owned(values::encode_base64(&bytes)))),
                Err(message) => Err(self.text(message)),
            },
            (Shape::List(inner), Node::Array(mut items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push(Segment::Index(index));
                    let value = std::mem::replace(item, Node::Null);
                    *item = self.shape(schema, inner, value, owner)?;
                    self.path.pop();
                }
                Ok(Node::Array(items))
            }
            (Shape::Map(inner), Node::Object(object)) => self.map(schema, inner, object, owner),
            (_, node) => Err(refused(self, &node)),
        }
    }

    fn map(
        &mut self,
        schema: &'s Schema,
        inner: &'s Shape,
        object: Object<'a>,
        owner: &str,
    ) -> Result<Node<'a>, DecodeError> {
        let mut members = object.0;
        // Values without fields cannot report unknown ones, so that they need no path.
        let plain = !matches!(inner, Shape::Ref(_) | Shape::List(_) | Shape::Map(_));
        for (key, value) in &mut members {
            if !plain {
                self.path.push(Segment::Key(key.clone()));
            }
            let taken = std::mem::replace(value, Node::Null);
            *value = self.shape(schema, inner, taken, owner)?;
            if !plain {
                self.path.pop();
            }
        }
        self.sort_members(&mut members);
        Ok(Node::Object(Object(members)))
    }

    /// Go prints maps sorted; of equal keys the last one wins, and all are reported once.
    fn sort_members(&mut self, members: &mut Vec<(Cow<'a, str>, Node<'a>)>) {
        if members.is_sorted_by(|(left, _), (right, _)| left < right) {
            return;
        }
        members.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut kept: Vec<(Cow<'a, str>, Node<'a>)> = Vec::with_capacity(members.len());
        for member in members.drain(..) {
            match kept.last_mut() {
                Some(last) if last.0 == member.0 => {
                    self.report(StrictError::Duplicate, &member.0);
                    *last = member;
                }
                _ => kept.push(member),
            }
        }
        *members = kept;
    }

    fn named(&mut self, kind: Type<'s>, node: Node<'a>, owner: &str) -> Result<Node<'a>, DecodeError> {
        match (kind.def().form, node) {
            (Form::Raw, node) => Ok(node),
            (Form::Struct, Node::Object(object)) => self.structure(kind, object),
            (Form::Quantity, Node::String(text)) => values::canonical_quantity(&text)
                .map(|text| Node::String(Cow::Owned(text)))
                .map_err(|message| self.text(message)),
            (Form::Quantity, Node::Number(text)) => values::canonical_quantity(&text)
                .map(|text| Node::String(Cow::Owned(text)))
                .map_err(|message| self.text(message)),
            (Form::IntOrString, node @ Node::String(_)) => Ok(node),
            (Form::IntOrString, Node::Number(text)) => match integer(&text, true) {
                Some(_) => Ok(Node::Number(text)),
                None => Err(self.mismatch_as(&format!("number {text}"), owner, "int32".to_owned())),
            },
            (Form::Time, Node::String(text)) => match values::parse_time(&text) {
                Ok(_) if values::is_canonical_time(&text) => Ok(Node::String(text)),
                Ok(instant) => {
                    Ok(values::format_time(instant).map_or(Node::Null, |text| Node::String(Cow::Owned(text))))
                }
                Err(message) => Err(self.text(message)),
            },
            (Form::MicroTime, Node::String(text)) => match values::parse_time(&text) {
                Ok(instant) => {
                    Ok(values::format_micro_time(instant).map_or(Node::Null, |text| Node::String(Cow::Owned(text))))
                }
                Err(message) => Err(self.text(message)),
            },
            (Form::Duration, Node::String(text)) => match values::parse_duration(&text) {
                Ok(nanos) => Ok(Node::String(Cow::Owned(values::format_duration(nanos)))),
                Err(message) => Err(self.text(message)),
            },
            (Form::Strings, Node::Array(items)) => {
                for item in &items {
                    if !matches!(item, Node::String(_) | Node::Null) {
                        return Err(self.mismatch_as(item.go_name(), owner, "string".to_owned()));
                    }
                }
                let strings = items
                    .into_iter()
                    .map(|item| if item == Node::Null { Node::String(Cow::Borrowed("")) } else { item });
                Ok(Node::Array(strings.collect()))
            }
            (Form::SchemaOrArray, Node::Array(items)) => self.schemas(kind, items, "jSONSchemas"),
            (Form::SchemaOrStrings, Node::Array(items)) => self.schemas(kind, items, "property"),
            (Form::SchemaOrBool, node @ Node::Bool(_)) => Ok(node),
            (Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings, node @ Node::Object(_)) => {
                match kind.field("schema") {
                    Some(field) => self.shape(kind.schema(), &field.shape, node, owner),
                    None => Ok(node),
                }
            }
            (Form::Time | Form::MicroTime | Form::Duration, node) => {
                Err(self.mismatch_as(node.go_name(), owner, "string".to_owned()))
            }
            (Form::Quantity, _) => Err(self.text(values::QUANTITY_FORMAT.to_owned())),
            (form, node) => {
                let expected = if form == Form::IntOrString { "int32".to_owned() } else { go_type_of(kind) };
                Err(self.mismatch_as(node.go_name(), owner, expected))
            }
        }
    }

    fn schemas(&mut self, kind: Type<'s>, items: Vec<Node<'a>>, field: &str) -> Result<Node<'a>, DecodeError> {
        match kind.field(field) {
            Some(field) => self.shape(kind.schema(), &field.shape, Node::Array(items), kind.short_name()),
            None => Ok(Node::Array(items)),
        }
    }

    fn structure(&mut self, kind: Type<'s>, object: Object<'a>) -> Result<Node<'a>, DecodeError> {
        let def = kind.def();
        let schema = kind.schema();
        let owner = kind.short_name();
        let mut slots: Vec<Option<Node<'a>>> = Vec::new();
        slots.resize_with(def.fields.len(), || None);
        let mut seen = Seen::default();
        let (mut kind_text, mut api_version) = (None, None);
        let mut unknown = Vec::new();
        let mut hint = 0;
        for (name, value) in object.0 {
            if let Some(index) = def.position(&name, hint) {
                hint = index + 1;
                let (Some(field), Some(slot)) = (def.fields.get(index), slots.get_mut(index)) else { continue };
                if !seen.insert(index) {
                    self.report(StrictError::Duplicate, &field.name);
                }
                if value == Node::Null {
                    *slot = None;
                    continue;
                }
                self.path.push(Segment::Field(&field.name));
                let value = self.shape(schema, &field.shape, value, owner)?;
                self.path.pop();
                *slot = Some(value);
            } else if def.type_meta && (name == "kind" || name == "apiVersion") {
                let place = if name == "kind" { &mut kind_text } else { &mut api_version };
                if place.is_some() {
                    self.report(StrictError::Duplicate, &name);
                }
                match value {
                    Node::String(text) => *place = Some(text),
                    Node::Null => {}
                    other => {
                        self.path.push(Segment::Key(name));
                        return Err(self.mismatch_as(other.go_name(), owner, "string".to_owned()));
                    }
                }
            } else if def.preserve_unknown {
                unknown.push((name, value));
            } else {
                self.report(StrictError::Unknown, &name);
            }
        }
        let mut members = Vec::with_capacity(slots.iter().flatten().count() + 2 + unknown.len());
        let filled = |text: &Option<Cow<'a, str>>| text.as_ref().is_some_and(|text| !text.is_empty());
        if filled(&kind_text) {
            members.extend(kind_text.map(|text| (Cow::Borrowed("kind"), Node::String(text))));
        }
        if filled(&api_version) {
            members.extend(api_version.map(|text| (Cow::Borrowed("apiVersion"), Node::String(text))));
        }
        for (field, slot) in def.fields.iter().zip(slots) {
            if let Some(value) = self.printed(schema, field, slot)? {
                members.push((owned(&field.name), value));
            }
        }
        members.extend(unknown);
        Ok(Node::Object(Object(members)))
    }

    /// What is printed for a field, if anything.
    fn printed(
        &mut self,
        schema: &'s Schema,
        field: &Field,
        value: Option<Node<'a>>,
    ) -> Result<Option<Node<'a>>, DecodeError> {
        Ok(match (field.presence, value) {
            (Presence::NonZero, Some(value)) => (!is_zero(&value)).then_some(value),
            // A pointer to the zero time: null and absent are the same.
            (Presence::Set, Some(Node::Null)) => None,
            (_, Some(value)) => Some(value),
            (Presence::NonZero | Presence::Set, None) => None,
            (Presence::Nullable, None) => {
                self.spend()?;
                Some(Node::Null)
            }
            (Presence::Always, None) => {
                self.spend()?;
                Some(zero(schema, &field.shape))
            }
        })
    }

    // --- errors: paths are put together only when something is wrong ---

    #[cold]
    fn report(&mut self, make: fn(String) -> StrictError, name: &str) {
        if self.strict.len() >= MOST_STRICT_ERRORS {
            return;
        }
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
                Segment::Field(text) => dotted(&mut path, text),
                Segment::Key(text) => dotted(&mut path, text),
            }
        }
        dotted(&mut path, name);
        let error = make(path);
        if !self.strict.contains(&error) {
            self.strict.push(error);
        }
    }

    /// Go names only fields in its type errors, neither keys nor indexes.
    fn field_path(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            if let Segment::Field(name) = segment {
                dotted(&mut path, name);
            }
        }
        path
    }

    #[cold]
    fn text(&self, message: String) -> DecodeError {
        DecodeError::Text { message, path: self.field_path() }
    }

    #[cold]
    fn mismatch(&self, value: &str, owner: &str, schema: &Schema, shape: &Shape) -> DecodeError {
        self.mismatch_as(value, owner, go_type(schema, shape))
    }

    #[cold]
    fn mismatch_as(&self, value: &str, owner: &str, expected: String) -> DecodeError {
        let value = value.to_owned();
        if self.path.is_empty() {
            return DecodeError::Value { value, expected };
        }
        let mut path = self.field_path();
        if let Some(Segment::Key(key)) = self.path.last()
            && (key == "kind" || key == "apiVersion")
        {
            dotted(&mut path, key);
        }
        DecodeError::Field { value, owner: owner.to_owned(), path, expected }
    }
}

/// Which fields were seen, for up to 128 without allocation.
#[derive(Default)]
struct Seen {
    low: u128,
    high: Vec<usize>,
}

impl Seen {
    /// False when it was there.
    fn insert(&mut self, index: usize) -> bool {
        if index < 128 {
            let bit = 1_u128 << index;
            let new = self.low & bit == 0;
            self.low |= bit;
            return new;
        }
        let new = !self.high.contains(&index);
        if new {
            self.high.push(index);
        }
        new
    }
}

fn dotted(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Whether the text is an integer of the width; `Some(false)` for a zero that is written oddly (`-0`).
fn integer(text: &str, narrow: bool) -> Option<bool> {
    let fits = if narrow { text.parse::<i32>().is_ok() } else { text.parse::<i64>().is_ok() };
    fits.then(|| text != "-0")
}

/// Go's `omitempty` and `omitzero`.
pub(crate) fn is_zero(node: &Node<'_>) -> bool {
    match node {
        Node::Null | Node::Bool(false) => true,
        Node::Bool(true) => false,
        Node::Number(text) => text == "0" || text.parse::<f64>().is_ok_and(|value| value == 0.0),
        Node::String(text) => text.is_empty(),
        Node::Array(items) => items.is_empty(),
        Node::Object(object) => object.is_empty(),
    }
}

/// The Go type that upstream's message names.
fn go_type(schema: &Schema, shape: &Shape) -> String {
    match shape {
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Double => "float64".to_owned(),
        Shape::String => "string".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Any => "interface {}".to_owned(),
        Shape::List(inner) => format!("[]{}", go_type(schema, inner)),
        Shape::Map(inner) => format!("map[string]{}", go_type(schema, inner)),
        Shape::Ref(id) => schema.by_id(*id).map_or_else(String::new, go_type_of),
    }
}

/// `v1.PodSpec` of `io.k8s.api.core.v1.PodSpec`.
fn go_type_of(kind: Type<'_>) -> String {
    let mut parts = kind.name().rsplit('.');
    let name = parts.next().unwrap_or_default();
    match parts.next() {
        Some(package) => format!("{package}.{name}"),
        None => name.to_owned(),
    }
}
