//! The fields that a value has. Upstream: `typed/tofieldset.go`.

use schema::{Node, json::Object};

use super::{Invalid, ListView, MapView, Members, Relation, TypeRef, list_items};
use crate::{element::PathElement, set::Set};

pub(super) fn field_set(kind: TypeRef<'_>, node: &Node<'_>, literal: bool) -> Result<Set, Invalid> {
    let mut set = Set::new();
    value(kind, node, literal, &mut set)?;
    Ok(set)
}

/// Whether the value is itself a member; what is below goes into `set`.
fn value(kind: TypeRef<'_>, node: &Node<'_>, literal: bool, set: &mut Set) -> Result<bool, Invalid> {
    let atom = kind.resolve().deduced(Some(node));
    if let Some(map) = atom.map {
        if map.atomic {
            return Ok(true);
        }
        if let Node::Object(object) = node {
            members(map, object, literal, set)?;
        }
        return Ok(false);
    }
    if atom.scalar.is_some() {
        return Ok(true);
    }
    match atom.list {
        Some(ListView { relation: Relation::Atomic, .. }) => Ok(true),
        Some(list) => {
            if let Node::Array(items) = node {
                elements(list, items, literal, set)?;
            }
            Ok(false)
        }
        None => Ok(false),
    }
}

fn members(map: MapView<'_>, object: &Object<'_>, literal: bool, set: &mut Set) -> Result<(), Invalid> {
    let sides = Members { left_literal: literal, right_literal: true };
    sides.zip(map, Some(object), None, |member, (own, _): (_, Option<&Node<'_>>)| {
        let Some(node) = own else { return Ok(()) };
        let mut below = Set::new();
        let kind = member.kind_or_any();
        let mut own = value(kind, node, literal, &mut below).map_err(|error| error.below(&member.element()))?;
        own |= match node {
            Node::Null => true,
            Node::Object(object) => {
                let map = kind.resolve().map;
                map.is_some_and(|map| Members::is_empty(map, Some(object), literal))
            }
            _ => false,
        };
        own |= !member.declared;
        if own {
            set.insert_member(member.element());
        }
        if !below.is_empty() {
            set.insert_child(member.element(), below);
        }
        Ok(())
    })
}

fn elements(list: ListView<'_>, items: &[Node<'_>], literal: bool, set: &mut Set) -> Result<(), Invalid> {
    let mut elements = list_items(list, items, literal)?;
    elements.sort_by(|(left, _): &(PathElement, _), (right, _)| left.cmp(right));
    for group in elements.chunk_by(|(left, _), (right, _)| left == right) {
        let Some((element, item)) = group.first() else { continue };
        set.insert_member(element.clone());
        // Several of one key are one piece.
        if group.len() == 1 {
            let mut below = Set::new();
            value(list.element, item, literal, &mut below).map_err(|error| error.below(element))?;
            set.insert_child(element.clone(), below);
        }
    }
    Ok(())
}
