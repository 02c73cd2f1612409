//! Sets that were written when a list or map was not yet one piece. Upstream: `typed/reconcile_schema.go`.

use super::{ListView, MapView, Relation, TypeRef};
use crate::{element::PathElement, set::Set};

#[derive(Default)]
struct Changes {
    remove: Set,
    add: Set,
}

/// The corrected set, when there was something to correct.
pub(super) fn reconcile(set: &Set, kind: TypeRef<'_>) -> Option<Set> {
    let mut changes = Changes::default();
    value(kind, Some(set), false, &mut Vec::new(), &mut changes);
    if changes.add.is_empty() && changes.remove.is_empty() {
        return None;
    }
    Some(set.recursive_difference(&changes.remove).union(&changes.add))
}

fn value(kind: TypeRef<'_>, set: Option<&Set>, atomic: bool, path: &mut Vec<PathElement>, changes: &mut Changes) {
    let atom = kind.resolve();
    if let Some(map) = atom.map {
        return of_map(map, set, atomic, path, changes);
    }
    if atom.scalar.is_none()
        && let Some(list) = atom.list
    {
        of_list(list, set, atomic, path, changes);
    }
}

fn one_piece(path: &[PathElement], changes: &mut Changes) {
    changes.remove.insert(path);
    changes.add.insert(path);
}

fn of_map(map: MapView<'_>, set: Option<&Set>, atomic: bool, path: &mut Vec<PathElement>, changes: &mut Changes) {
    // Of what is not described, nothing can have changed.
    if matches!(map.element, Some(TypeRef::Deduced)) && map.fields.is_none_or(|kind| kind.fields().is_empty()) {
        return;
    }
    if !atomic && map.atomic {
        if set.is_some_and(|set| !set.is_empty()) {
            one_piece(path, changes);
        }
        return;
    }
    let Some(set) = set else { return };
    descend(set, path, changes, |element| match element {
        PathElement::Field(name) => map.field(name).or(map.element),
        _ => map.element,
    });
}

fn of_list(list: ListView<'_>, set: Option<&Set>, atomic: bool, path: &mut Vec<PathElement>, changes: &mut Changes) {
    if !atomic && matches!(list.relation, Relation::Atomic) {
        return one_piece(path, changes);
    }
    let Some(set) = set else { return };
    descend(set, path, changes, |_| Some(list.element));
}

fn descend<'s>(
    set: &Set,
    path: &mut Vec<PathElement>,
    changes: &mut Changes,
    kind_of: impl Fn(&PathElement) -> Option<TypeRef<'s>>,
) {
    let mut handle = |element: &PathElement, member: bool| {
        let Some(kind) = kind_of(element) else { return };
        let below = set.child(element);
        path.push(element.clone());
        value(kind, below, member && below.is_none(), path, changes);
        path.pop();
    };
    for (element, _) in &set.children {
        if !set.is_member(element) {
            handle(element, false);
        }
    }
    for element in &set.members {
        handle(element, true);
    }
}
