//! Whether a value is what its type says. Upstream: `typed/validate.go`.

use std::collections::BTreeSet;

use schema::{Node, json::Object};

use super::{Invalid, ListView, MapView, Members, Relation, Scalar, TypeRef, view};
use crate::element::PathElement;

/// Most errors that are told.
const MOST_ERRORS: usize = 100;

pub(super) fn validate(
    kind: TypeRef<'_>,
    node: &Node<'_>,
    literal: bool,
    allow_duplicates: bool,
) -> Result<(), Invalid> {
    let mut walker = Walker { literal, allow_duplicates, path: Vec::new(), errors: Vec::new() };
    walker.value(kind, node);
    if walker.errors.is_empty() { Ok(()) } else { Err(Invalid(walker.errors)) }
}

struct Walker {
    literal: bool,
    allow_duplicates: bool,
    path: Vec<PathElement>,
    errors: Vec<(String, String)>,
}

impl Walker {
    fn error(&mut self, message: String) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push((crate::element::path_text(&self.path), message));
        }
    }

    fn value(&mut self, kind: TypeRef<'_>, node: &Node<'_>) {
        let atom = kind.resolve().deduced(Some(node));
        if let Some(map) = atom.map {
            return match node {
                Node::Object(object) => self.map(map, object),
                Node::Null => {}
                other => self.error(format!("expected map, got {}", shown(other))),
            };
        }
        if let Some(scalar) = atom.scalar {
            return self.scalar(scalar, node);
        }
        if let Some(list) = atom.list {
            match node {
                Node::Array(items) => self.list(list, items),
                Node::Null => {}
                other => self.error(format!("expected list, got {}", shown(other))),
            }
        }
    }

    fn scalar(&mut self, scalar: Scalar, node: &Node<'_>) {
        match (scalar, node) {
            (_, Node::Null)
            | (Scalar::Numeric, Node::Number(_))
            | (Scalar::String, Node::String(_))
            | (Scalar::Boolean, Node::Bool(_))
            | (Scalar::Untyped, Node::Number(_) | Node::String(_) | Node::Bool(_)) => {}
            (Scalar::Numeric, other) => self.error(format!("expected numeric (int or float), got {}", go_type(other))),
            (Scalar::String, other) => {
                self.error(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(other)));
            }
            (Scalar::Boolean, other) => self.error(format!("expected boolean, got {}", shown(other))),
            (Scalar::Untyped, other) => self.error(format!("expected any scalar, got {}", shown(other))),
        }
    }

    fn map(&mut self, map: MapView<'_>, object: &Object<'_>) {
        let sides = Members { left_literal: self.literal, right_literal: true };
        let visited = sides.zip(map, Some(object), None, |member, (own, _): (_, Option<&Node<'_>>)| {
            let Some(node) = own else { return Ok(()) };
            self.path.push(member.element());
            match member.kind {
                Some(kind) => self.value(kind, node),
                None => self.error("field not declared in schema".to_owned()),
            }
            self.path.pop();
            Ok(())
        });
        debug_assert!(visited.is_ok());
    }

    fn list(&mut self, list: ListView<'_>, items: &[Node<'_>]) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = match list.relation {
                Relation::Atomic => PathElement::Index(i64::try_from(index).unwrap_or(i64::MAX)),
                _ => match view::item_element(list, item, self.literal) {
                    Ok(element) => {
                        if !seen.insert(element.clone()) && !self.allow_duplicates {
                            self.error(format!("duplicate entries for key {element}"));
                        }
                        element
                    }
                    Err(message) => return self.error(format!("element {index}: {message}")),
                },
            };
            self.path.push(element);
            self.value(list.element, item);
            self.path.pop();
        }
    }
}

fn go_type(node: &Node<'_>) -> &'static str {
    match node {
        Node::Null => "<nil>",
        Node::Bool(_) => "bool",
        Node::Number(text) if text.parse::<i64>().is_ok() => "int64",
        Node::Number(_) => "float64",
        Node::String(_) => "string",
        Node::Array(_) => "[]interface {}",
        Node::Object(_) => "map[string]interface {}",
    }
}

/// Go's `%v` of a value in upstream's wrapper.
fn shown(node: &Node<'_>) -> String {
    format!("&{{{}}}", go_format(node))
}

fn go_format(node: &Node<'_>) -> String {
    match node {
        Node::Null => "<nil>".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Number(text) | Node::String(text) => text.to_string(),
        Node::Array(items) => format!("[{}]", items.iter().map(go_format).collect::<Vec<_>>().join(" ")),
        Node::Object(object) => {
            let mut parts: Vec<String> =
                object.0.iter().map(|(key, value)| format!("{key}:{}", go_format(value))).collect();
            parts.sort();
            format!("map[{}]", parts.join(" "))
        }
    }
}

/// Go's `%#v`.
fn go_syntax(node: &Node<'_>) -> String {
    match node {
        Node::Null => "interface {}(nil)".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Number(text) => text.to_string(),
        Node::String(text) => apimachinery::field::go_quote(text),
        Node::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Node::Object(object) => {
            let mut parts: Vec<String> = object
                .0
                .iter()
                .map(|(key, value)| format!("{}:{}", apimachinery::field::go_quote(key), go_syntax(value)))
                .collect();
            parts.sort();
            format!("map[string]interface {{}}{{{}}}", parts.join(", "))
        }
    }
}
