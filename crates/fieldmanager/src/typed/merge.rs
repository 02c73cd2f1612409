//! One value laid over another. Upstream: `typed/merge.go`, whose order of list elements this keeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schema::{Node, json::Object};

use super::{Atom, Invalid, ListView, MapView, Members, Relation, TypeRef, list_items};
use crate::element::PathElement;

type Side<'n, 'a> = (&'n Node<'a>, bool);

/// The merged value; none where neither side has anything.
pub(super) fn merge<'a>(
    kind: TypeRef<'_>,
    left: Side<'_, 'a>,
    right: Side<'_, '_>,
) -> Result<Option<Node<'a>>, Invalid> {
    let walker = Walker { members: Members { left_literal: left.1, right_literal: right.1 } };
    walker.value(kind, Some(left.0), Some(right.0))
}

static NULL: Node<'static> = Node::Null;

#[derive(Clone, Copy)]
struct Walker {
    members: Members,
}

impl Walker {
    fn value<'a>(
        self,
        kind: TypeRef<'_>,
        left: Option<&Node<'a>>,
        right: Option<&Node<'_>>,
    ) -> Result<Option<Node<'a>>, Invalid> {
        let atom = kind.resolve();
        let (left_atom, right_atom) = (atom.deduced(left), atom.deduced(right));
        if right.is_none() {
            return self.handle(left_atom, left, right);
        }
        if left.is_some() && !left_atom.is_like(right_atom) {
            // Both forms are looked at for what is wrong with them; the right one counts.
            self.handle(left_atom, left, right)?;
        }
        self.handle(right_atom, left, right)
    }

    fn handle<'a>(
        self,
        atom: Atom<'_>,
        left: Option<&Node<'a>>,
        right: Option<&Node<'_>>,
    ) -> Result<Option<Node<'a>>, Invalid> {
        if let Some(map) = atom.map {
            return self.map(map, left, right);
        }
        match atom.list {
            Some(list) if atom.scalar.is_none() => self.list(list, left, right),
            _ => Ok(leaf(left, right)),
        }
    }

    fn map<'a>(
        self,
        map: MapView<'_>,
        left: Option<&Node<'a>>,
        right: Option<&Node<'_>>,
    ) -> Result<Option<Node<'a>>, Invalid> {
        let (left_object, right_object) = (left.and_then(Node::as_object), right.and_then(Node::as_object));
        let empty = Members::is_empty(map, left_object, self.members.left_literal)
            && Members::is_empty(map, right_object, self.members.right_literal);
        if map.atomic || empty {
            return Ok(leaf(left, right));
        }
        let mut out = Object::default();
        self.members.zip(map, left_object, right_object, |member, (left, right)| {
            let merged =
                self.value(member.kind_or_any(), left, right).map_err(|error| error.below(&member.element()))?;
            if let Some(merged) = merged {
                out.push(member.name().to_owned(), merged);
            }
            Ok(())
        })?;
        Ok((!out.is_empty()).then_some(Node::Object(out)))
    }

    fn list<'a>(
        self,
        list: ListView<'_>,
        left: Option<&Node<'a>>,
        right: Option<&Node<'_>>,
    ) -> Result<Option<Node<'a>>, Invalid> {
        let (left_items, right_items) = (items(left), items(right));
        let empty = left_items.is_empty() && right_items.is_empty();
        if matches!(list.relation, Relation::Atomic) || empty {
            return Ok(leaf(left, right));
        }
        let right = list_items(list, right_items, self.members.right_literal)?;
        let left = list_items(list, left_items, self.members.left_literal)?;
        let merged = self.elements(list, &left, &right)?;
        Ok((!merged.is_empty()).then_some(Node::Array(merged)))
    }

    /// Elements in the order of the right side where it says something, with those of the left in between.
    fn elements<'a>(
        self,
        list: ListView<'_>,
        left: &[(PathElement, &Node<'a>)],
        right: &[(PathElement, &Node<'_>)],
    ) -> Result<Vec<Node<'a>>, Invalid> {
        let mut on_right = BTreeMap::new();
        for (element, item) in right {
            if on_right.insert(element, *item).is_some() {
                return Err(Invalid::new(format!("duplicate entries for key {element}")));
            }
        }
        let mut on_left: BTreeMap<&PathElement, &Node<'a>> = BTreeMap::new();
        for (element, item) in left {
            // Several of one key are not merged with what is laid over them.
            on_left.entry(element).and_modify(|known| *known = null()).or_insert(*item);
        }
        let mut shared: VecDeque<&PathElement> =
            right.iter().map(|(element, _)| element).filter(|element| on_left.contains_key(element)).collect();
        let mut next_shared = shared.pop_front();
        let mut merged = BTreeSet::new();
        let mut out = Vec::with_capacity(left.len().max(right.len()));
        // Errors inside of elements do not count, as upstream has it.
        let mut push = |left: Option<&Node<'a>>, right: Option<&Node<'_>>| {
            if let Ok(Some(item)) = self.value(list.element, left, right) {
                out.push(item);
            }
        };
        let (mut at_left, mut at_right) = (0, 0);
        while at_left < left.len() || at_right < right.len() {
            if let (Some((left_element, _)), Some((right_element, _))) = (left.get(at_left), right.get(at_right)) {
                if left_element == right_element {
                    merged.insert(left_element);
                    push(on_left.get(left_element).copied(), on_right.get(left_element).copied());
                    at_left += 1;
                    at_right += 1;
                    next_shared = shared.pop_front();
                    continue;
                }
                let later = next_shared.is_some_and(|next| next != left_element);
                if on_right.contains_key(left_element) && later {
                    at_left += 1;
                    continue;
                }
            }
            if let Some((element, item)) = left.get(at_left) {
                if !on_right.contains_key(element) {
                    push(Some(item), None);
                    at_left += 1;
                    continue;
                }
                if merged.contains(element) {
                    at_left += 1;
                }
            }
            if let Some((element, _)) = right.get(at_right) {
                merged.insert(element);
                push(on_left.get(element).copied(), on_right.get(element).copied());
                at_right += 1;
                if next_shared == Some(element) {
                    next_shared = shared.pop_front();
                }
            }
        }
        Ok(out)
    }
}

fn null<'n, 'a>() -> &'n Node<'a> {
    &NULL
}

/// The right side where it has something.
fn leaf<'a>(left: Option<&Node<'a>>, right: Option<&Node<'_>>) -> Option<Node<'a>> {
    right.map(|right| right.clone().into_owned()).or_else(|| left.cloned())
}

fn items<'n, 'a>(node: Option<&'n Node<'a>>) -> &'n [Node<'a>] {
    match node {
        Some(Node::Array(items)) => items,
        _ => &[],
    }
}
