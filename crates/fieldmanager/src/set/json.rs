//! `fieldsV1`: a set as JSON. Upstream: `fieldpath/serialize.go`.

use std::cmp::Ordering;

use schema::Node;

use super::Set;
use crate::element::{ElementError, PathElement};

/// Why `fieldsV1` is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("fields are not an object")]
    NotAnObject,
    #[error("{0}")]
    Element(#[from] ElementError),
}

impl Set {
    /// From the JSON of `fieldsV1`. Steps of an unknown kind are dropped, as upstream does.
    pub fn from_json(node: &Node<'_>) -> Result<Set, SetError> {
        Ok(read(node)?.0.unwrap_or_default())
    }

    /// Appends the JSON of `fieldsV1`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write(false, &mut String::new(), out);
    }

    /// The JSON of `fieldsV1`.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    fn write(&self, itself: bool, scratch: &mut String, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        let mut comma = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
        };
        if itself && !(self.members.is_empty() && self.children.is_empty()) {
            comma(out);
            out.extend_from_slice(b"\".\":{}");
        }
        let mut key = |element: &PathElement, out: &mut Vec<u8>, scratch: &mut String| {
            comma(out);
            scratch.clear();
            element.print(scratch);
            schema::json::write_string(scratch, out);
            out.push(b':');
        };
        let (mut members, mut children) = (self.members.iter().peekable(), self.children.iter().peekable());
        loop {
            let order = match (members.peek(), children.peek()) {
                (Some(member), Some((element, _))) => (*member).cmp(element),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let member = if order.is_le() { members.next() } else { None };
            let child = if order.is_ge() { children.next() } else { None };
            match (member, child) {
                (_, Some((element, child))) => {
                    key(element, out, scratch);
                    child.write(member.is_some(), scratch, out);
                }
                (Some(member), None) => {
                    key(member, out, scratch);
                    out.extend_from_slice(b"{}");
                }
                (None, None) => break,
            }
        }
        out.push(b'}');
    }
}

/// What is below, and whether the subtree is itself a member.
fn read(node: &Node<'_>) -> Result<(Option<Set>, bool), SetError> {
    let members = match node {
        Node::Object(object) => object.0.as_slice(),
        Node::Null => &[],
        _ => return Err(SetError::NotAnObject),
    };
    let mut itself = false;
    let mut set: Option<Set> = None;
    for (key, below) in members {
        if key == "." {
            itself = true;
            continue;
        }
        let element = match PathElement::parse(key) {
            Ok(element) => element,
            Err(ElementError::Unknown) => continue,
            Err(error) => return Err(error.into()),
        };
        let (children, is_member) = read(below)?;
        let set = set.get_or_insert_default();
        match (children, is_member) {
            (Some(children), true) => {
                set.insert_member(element.clone());
                set.insert_child(element, children);
            }
            (Some(children), false) => set.insert_child(element, children),
            (None, _) => set.insert_member(element),
        }
    }
    let leaf = set.is_none();
    Ok((set, itself || leaf))
}
