//! What was removed, changed and added between two values. Upstream: `typed/compare.go`.

use schema::Node;

use super::{Comparison, Invalid, ListView, MapView, Members, Relation, TypeRef, equal, list_items};
use crate::{element::PathElement, set::Set};

type Side<'n, 'a> = (&'n Node<'a>, bool);

pub(super) fn compare(kind: TypeRef<'_>, left: Side<'_, '_>, right: Side<'_, '_>) -> Result<Comparison, Invalid> {
    let walker = Walker { members: Members { left_literal: left.1, right_literal: right.1 } };
    Ok(walker.value(kind, Some(left.0), Some(right.0))?.below)
}

/// The differences at one value: its own, and those below it.
#[derive(Default)]
struct Diff {
    own: Own,
    below: Comparison,
}

#[derive(Clone, Copy, Default)]
struct Own {
    removed: bool,
    modified: bool,
    added: bool,
}

#[derive(Clone, Copy)]
struct Walker {
    members: Members,
}

impl Walker {
    fn value(self, kind: TypeRef<'_>, left: Option<&Node<'_>>, right: Option<&Node<'_>>) -> Result<Diff, Invalid> {
        let atom = kind.resolve();
        let (left_atom, right_atom) = (atom.deduced(left), atom.deduced(right));
        let mut diff = Diff::default();
        let leaf = if right.is_none() {
            self.handle(left_atom, kind, left, right, &mut diff)?
        } else if left.is_none() || left_atom.is_like(right_atom) {
            self.handle(right_atom, kind, left, right, &mut diff)?
        } else {
            self.handle(left_atom, kind, left, right, &mut diff)?;
            self.handle(right_atom, kind, left, right, &mut diff)?
        };
        if !leaf {
            diff.own.added |= left.is_none();
            diff.own.removed |= right.is_none() && left.is_some();
        }
        Ok(diff)
    }

    /// Whether the value was taken as one piece.
    fn handle(
        self,
        atom: super::Atom<'_>,
        kind: TypeRef<'_>,
        left: Option<&Node<'_>>,
        right: Option<&Node<'_>>,
        diff: &mut Diff,
    ) -> Result<bool, Invalid> {
        if let Some(map) = atom.map {
            return self.map(map, kind, left, right, diff);
        }
        if atom.scalar.is_some() {
            self.leaf(kind, left, right, diff);
            return Ok(true);
        }
        match atom.list {
            Some(list) => self.list(list, kind, left, right, diff),
            None => Ok(false),
        }
    }

    fn leaf(self, kind: TypeRef<'_>, left: Option<&Node<'_>>, right: Option<&Node<'_>>, diff: &mut Diff) {
        match (left, right) {
            (None, _) => diff.own.added = true,
            (_, None) => diff.own.removed = true,
            (Some(left), Some(right)) => diff.own.modified |= !equal::equal(kind, left, right, self.members),
        }
    }

    fn map(
        self,
        map: MapView<'_>,
        kind: TypeRef<'_>,
        left: Option<&Node<'_>>,
        right: Option<&Node<'_>>,
        diff: &mut Diff,
    ) -> Result<bool, Invalid> {
        let (left_object, right_object) = (left.and_then(Node::as_object), right.and_then(Node::as_object));
        let empty = Members::is_empty(map, left_object, self.members.left_literal)
            && Members::is_empty(map, right_object, self.members.right_literal);
        // Of two empty ones it matters whether they are null.
        if map.atomic || empty {
            self.leaf(kind, left, right, diff);
            return Ok(true);
        }
        self.members.zip(map, left_object, right_object, |member, (left, right)| {
            let child =
                self.value(member.kind_or_any(), left, right).map_err(|error| error.below(&member.element()))?;
            if child.is_different() {
                diff.below.put(member.element(), child);
            }
            Ok(())
        })?;
        Ok(false)
    }

    fn list(
        self,
        list: ListView<'_>,
        kind: TypeRef<'_>,
        left: Option<&Node<'_>>,
        right: Option<&Node<'_>>,
        diff: &mut Diff,
    ) -> Result<bool, Invalid> {
        let (left_items, right_items) = (items(left), items(right));
        let empty = left_items.is_empty() && right_items.is_empty();
        if matches!(list.relation, Relation::Atomic) || empty {
            self.leaf(kind, left, right, diff);
            return Ok(true);
        }
        let mut all: Vec<(PathElement, bool, &Node<'_>)> = Vec::with_capacity(left_items.len() + right_items.len());
        let left_items = list_items(list, left_items, self.members.left_literal)?;
        all.extend(left_items.into_iter().map(|(element, item)| (element, false, item)));
        let right_items = list_items(list, right_items, self.members.right_literal)?;
        all.extend(right_items.into_iter().map(|(element, item)| (element, true, item)));
        all.sort_by(|(left, ..), (right, ..)| left.cmp(right));
        for group in all.chunk_by(|(left, ..), (right, ..)| left == right) {
            let Some((element, ..)) = group.first() else { continue };
            let of = |side: bool| group.iter().filter(move |(_, own, _)| *own == side).map(|(.., item)| *item);
            self.element(list, element, &of(false).collect::<Vec<_>>(), &of(true).collect::<Vec<_>>(), diff)?;
        }
        Ok(false)
    }

    /// The elements of one key on both sides. Several of one key are compared as one piece.
    fn element(
        self,
        list: ListView<'_>,
        element: &PathElement,
        left: &[&Node<'_>],
        right: &[&Node<'_>],
        diff: &mut Diff,
    ) -> Result<(), Invalid> {
        let mut descend = |left: Option<&Node<'_>>, right: Option<&Node<'_>>| -> Result<(), Invalid> {
            let child = self.value(list.element, left, right).map_err(|error| error.below(element))?;
            if child.is_different() {
                diff.below.put(element.clone(), child);
            }
            Ok(())
        };
        match (left, right) {
            ([] | [_], [] | [_]) => descend(left.first().copied(), right.first().copied())?,
            ([_, _, ..], [_, _, ..]) => {
                let same = left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| equal::equal(list.element, left, right, self.members));
                if !same {
                    diff.below.modified.insert_member(element.clone());
                }
            }
            ([_, _, ..], _) => {
                if let Some(right) = right.first() {
                    descend(None, Some(right))?;
                }
                diff.below.removed.insert_member(element.clone());
            }
            (_, _) => {
                if let Some(left) = left.first() {
                    descend(Some(left), None)?;
                }
                diff.below.added.insert_member(element.clone());
            }
        }
        Ok(())
    }
}

fn items<'n, 'a>(node: Option<&'n Node<'a>>) -> &'n [Node<'a>] {
    match node {
        Some(Node::Array(items)) => items,
        _ => &[],
    }
}

impl Diff {
    fn is_different(&self) -> bool {
        self.own.removed || self.own.modified || self.own.added || !self.below.is_same()
    }
}

impl Comparison {
    fn put(&mut self, element: PathElement, child: Diff) {
        let put = |set: &mut Set, own: bool, below: Set| {
            if own {
                set.insert_member(element.clone());
            }
            if !below.is_empty() {
                set.insert_child(element.clone(), below);
            }
        };
        put(&mut self.removed, child.own.removed, child.below.removed);
        put(&mut self.modified, child.own.modified, child.below.modified);
        put(&mut self.added, child.own.added, child.below.added);
    }
}
