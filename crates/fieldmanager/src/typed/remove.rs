//! A value without some of its members and elements. Upstream: `typed/remove.go`.

use schema::{Node, json::Object};

use super::{ListView, MapView, Members, Relation, TypeRef, view};
use crate::{element::PathElement, set::Set};

/// What remains; null where nothing does.
pub(super) fn remove<'a>(kind: TypeRef<'_>, node: &Node<'a>, items: &Set, literal: bool) -> Node<'a> {
    let atom = kind.resolve().deduced(Some(node));
    if let Some(map) = atom.map {
        return match node {
            Node::Object(object) if !map.atomic => members(map, object, items, literal),
            _ => Node::Null,
        };
    }
    if atom.scalar.is_some() {
        return node.clone();
    }
    match (atom.list, node) {
        (Some(list), Node::Array(own)) if !matches!(list.relation, Relation::Atomic) => {
            elements(list, own, items, literal)
        }
        _ => Node::Null,
    }
}

fn members<'a>(map: MapView<'_>, object: &Object<'a>, items: &Set, literal: bool) -> Node<'a> {
    let mut out = Object::default();
    let sides = Members { left_literal: literal, right_literal: true };
    let visited = sides.zip(map, Some(object), None, |member, (own, _): (_, Option<&Node<'_>>)| {
        let Some(node) = own else { return Ok(()) };
        let element = member.element();
        if items.is_member(&element) {
            return Ok(());
        }
        let kept = match items.child(&element).filter(|below| !below.is_empty()) {
            Some(below) => remove(member.kind_or_any(), node, below, literal),
            None => node.clone(),
        };
        out.push(member.name().to_owned(), kept);
        Ok(())
    });
    // Nothing in the walk fails.
    debug_assert!(visited.is_ok());
    if out.is_empty() { Node::Null } else { Node::Object(out) }
}

fn elements<'a>(list: ListView<'_>, own: &[Node<'a>], items: &Set, literal: bool) -> Node<'a> {
    let mut out = Vec::with_capacity(own.len());
    for item in own {
        let Ok(element) = view::item_element(list, item, literal) else {
            out.push(item.clone());
            continue;
        };
        if items.is_member(&element) {
            continue;
        }
        out.push(below(list, item, items, &element, literal));
    }
    if out.is_empty() { Node::Null } else { Node::Array(out) }
}

fn below<'a>(list: ListView<'_>, item: &Node<'a>, items: &Set, element: &PathElement, literal: bool) -> Node<'a> {
    match items.child(element).filter(|below| !below.is_empty()) {
        Some(below) => remove(list.element, item, below, literal),
        None => item.clone(),
    }
}
