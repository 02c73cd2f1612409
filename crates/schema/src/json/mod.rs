//! JSON as a small ordered tree that borrows from its source.
//!
//! `Node` keeps what `serde_json::Value` loses and strict decoding needs: the order of keys, duplicate keys, and the
//! exact text of numbers. It must not know anything about kinds. Upstream: `sigs.k8s.io/json` (scanner and literals).

mod parse;
mod write;

use std::borrow::Cow;

pub use parse::{JsonError, parse};

/// What a body may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest accepted input.
    pub bytes: usize,
    /// Deepest accepted nesting of objects and lists. Typed decoding behind this crate stops at 128, so more would
    /// only move the refusal.
    pub depth: usize,
    /// Most values (list elements, map entries, fields) of one object: bounds the memory that a small body can cost.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 3 * 1024 * 1024, depth: 120, nodes: 400_000 }
    }
}

impl Limits {
    /// For what the server itself wrote: lists have no size that could be named beforehand.
    pub const TRUSTED: Self = Self { bytes: usize::MAX, depth: 160, nodes: usize::MAX };
}

/// A JSON value; strings and numbers borrow from the parsed text where they can.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    /// The number as it was written: no precision is lost.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Object<'a>),
}

/// Members in the order of the text, duplicates included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a>(pub Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Object<'a> {
    /// The last member of this name: what a decoder that lets later keys win would see.
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        self.0.iter_mut().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: Node<'a>) {
        self.0.push((name.into(), value));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Node<'a> {
    pub fn string(text: impl Into<Cow<'a, str>>) -> Self {
        Node::String(text.into())
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Member of an object; nothing for other values.
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.as_object()?.get(name)
    }

    /// What Go's decoder calls this value in "cannot unmarshal … into".
    pub fn go_name(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "bool",
            Node::Number(_) => "number",
            Node::String(_) => "string",
            Node::Array(_) => "array",
            Node::Object(_) => "object",
        }
    }

    /// The same value without borrows.
    pub fn into_owned(self) -> Node<'static> {
        match self {
            Node::Null => Node::Null,
            Node::Bool(value) => Node::Bool(value),
            Node::Number(text) => Node::Number(Cow::Owned(text.into_owned())),
            Node::String(text) => Node::String(Cow::Owned(text.into_owned())),
            Node::Array(items) => Node::Array(items.into_iter().map(Node::into_owned).collect()),
            Node::Object(object) => Node::Object(Object(
                object.0.into_iter().map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned())).collect(),
            )),
        }
    }

    /// As `serde_json::Value`; of duplicate keys the last wins. A number that fits no integer becomes a double.
    pub fn into_value(self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(value),
            Node::Number(text) => Value::Number(number_value(&text)),
            Node::String(text) => Value::String(text.into_owned()),
            Node::Array(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
            Node::Object(object) => {
                Value::Object(object.0.into_iter().map(|(key, value)| (key.into_owned(), value.into_value())).collect())
            }
        }
    }

    /// Borrows strings from a `serde_json::Value`.
    pub fn from_value(value: &'a serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::Number(number) => Node::Number(Cow::Owned(number.to_string())),
            Value::String(text) => Node::String(Cow::Borrowed(text)),
            Value::Array(items) => Node::Array(items.iter().map(Node::from_value).collect()),
            Value::Object(members) => Node::Object(Object(
                members.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), Node::from_value(value))).collect(),
            )),
        }
    }

    /// Compact JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        write::node(self, &mut out);
        out
    }

    /// Appends compact JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write::node(self, out);
    }
}

/// Appends a string in quotes, escaped as Go's encoder does.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write::string(text, out);
}

/// Appends a member's name and the colon.
pub(crate) fn write_key(name: &str, out: &mut Vec<u8>) {
    write::string(name, out);
    out.push(b':');
}

fn number_value(text: &str) -> serde_json::Number {
    if let Ok(value) = text.parse::<i64>() {
        return value.into();
    }
    if let Ok(value) = text.parse::<u64>() {
        return value.into();
    }
    let double = text.parse::<f64>().unwrap_or(0.0);
    serde_json::Number::from_f64(double).unwrap_or_else(|| 0.into())
}

#[cfg(test)]
mod tests;
