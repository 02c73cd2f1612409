//! A set of field paths as a tree, sorted at every level.
//!
//! Being a member and having members below are two things: `{"f:a":{".":{},"f:b":{}}}` has `a` and `a.b`.
//! Upstream: `fieldpath/set.go`, whose operations these are, one by one.

mod filter;
mod json;

use std::cmp::Ordering;

use crate::{
    element::{PathElement, path_text},
    typed::TypeRef,
};

pub use filter::{Filter, Pattern};
pub use json::SetError;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// In order, without repetition.
    pub(crate) members: Vec<PathElement>,
    /// Those that have members below; in order, without repetition.
    pub(crate) children: Vec<(PathElement, Set)>,
}

impl Set {
    pub const EMPTY: &'static Set = &Set { members: Vec::new(), children: Vec::new() };

    pub fn new() -> Self {
        Self::default()
    }

    /// From paths of field names: `[["metadata", "name"]]`.
    pub fn of_fields<'a>(paths: impl IntoIterator<Item = &'a [&'static str]>) -> Self {
        let mut set = Self::new();
        for path in paths {
            let path: Vec<PathElement> = path.iter().map(|name| PathElement::field(*name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Adds a path; its parents are not added. The empty path is nobody's.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => self.insert_member(last.clone()),
            [first, rest @ ..] => self.descend(first).insert(rest),
        }
    }

    pub(crate) fn insert_member(&mut self, element: PathElement) {
        // Most come in order.
        if self.members.last().is_none_or(|last| *last < element) {
            self.members.push(element);
        } else if let Err(at) = self.members.binary_search(&element) {
            self.members.insert(at, element);
        }
    }

    /// Puts a subtree below an element that has none yet. Empty ones are left out.
    pub(crate) fn insert_child(&mut self, element: PathElement, set: Set) {
        if set.is_empty() {
            return;
        }
        if self.children.last().is_none_or(|(last, _)| *last < element) {
            self.children.push((element, set));
            return;
        }
        match self.child_position(&element) {
            Ok(at) => {
                if let Some((_, child)) = self.children.get_mut(at) {
                    *child = child.union(&set);
                }
            }
            Err(at) => self.children.insert(at, (element, set)),
        }
    }

    fn child_position(&self, element: &PathElement) -> Result<usize, usize> {
        self.children.binary_search_by(|(own, _)| own.cmp(element))
    }

    fn descend(&mut self, element: &PathElement) -> &mut Set {
        let at = match self.child_position(element) {
            Ok(at) => at,
            Err(at) => {
                self.children.insert(at, (element.clone(), Set::new()));
                at
            }
        };
        &mut self.children[at].1
    }

    /// What is below an element.
    pub fn child(&self, element: &PathElement) -> Option<&Set> {
        self.child_position(element).ok().and_then(|at| self.children.get(at)).map(|(_, set)| set)
    }

    pub fn is_member(&self, element: &PathElement) -> bool {
        self.members.binary_search(element).is_ok()
    }

    /// Whether the path itself is in the set.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.is_member(last),
            [first, rest @ ..] => self.child(first).is_some_and(|child| child.has(rest)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.iter().all(|(_, set)| set.is_empty())
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.members.len() + self.children.iter().map(|(_, set)| set.len()).sum::<usize>()
    }

    #[must_use]
    pub fn union(&self, other: &Set) -> Set {
        let mut members = Vec::with_capacity(self.members.len().max(other.members.len()));
        zip(
            &self.members,
            &other.members,
            |element| element,
            |left, right| {
                members.extend(left.or(right).cloned());
            },
        );
        let mut children = Vec::with_capacity(self.children.len().max(other.children.len()));
        zip(
            &self.children,
            &other.children,
            |(element, _)| element,
            |left, right| match (left, right) {
                (Some((element, left)), Some((_, right))) => children.push((element.clone(), left.union(right))),
                (one, other) => children.extend(one.or(other).cloned()),
            },
        );
        Set { members, children }
    }

    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let mut set = Set::new();
        zip(
            &self.members,
            &other.members,
            |element| element,
            |left, right| {
                if let (Some(element), Some(_)) = (left, right) {
                    set.members.push(element.clone());
                }
            },
        );
        zip(
            &self.children,
            &other.children,
            |(element, _)| element,
            |left, right| {
                if let (Some((element, left)), Some((_, right))) = (left, right) {
                    let both = left.intersection(right);
                    if !both.is_empty() {
                        set.children.push((element.clone(), both));
                    }
                }
            },
        );
        set
    }

    /// What is in this set and not in the other. A parent in the other does not take its children away.
    #[must_use]
    pub fn difference(&self, other: &Set) -> Set {
        let mut children = Vec::with_capacity(self.children.len());
        zip(
            &self.children,
            &other.children,
            |(element, _)| element,
            |left, right| match (left, right) {
                (Some((element, left)), Some((_, right))) => {
                    let rest = left.difference(right);
                    if !rest.is_empty() {
                        children.push((element.clone(), rest));
                    }
                }
                (Some(only), None) => children.push(only.clone()),
                _ => {}
            },
        );
        Set { members: difference(&self.members, &other.members), children }
    }

    /// What is in this set and neither in the other nor below a member of the other.
    #[must_use]
    pub fn recursive_difference(&self, other: &Set) -> Set {
        let mut children = Vec::with_capacity(self.children.len());
        zip(
            &self.children,
            &other.children,
            |(element, _)| element,
            |left, right| {
                let Some((element, left)) = left else { return };
                if other.is_member(element) {
                    return;
                }
                match right {
                    Some((_, right)) => {
                        let rest = left.recursive_difference(right);
                        if !rest.is_empty() {
                            children.push((element.clone(), rest));
                        }
                    }
                    None => children.push((element.clone(), left.clone())),
                }
            },
        );
        Set { members: difference(&self.members, &other.members), children }
    }

    /// With the struct fields on the way to members made members too; map keys and list elements are not.
    #[must_use]
    pub fn with_named_fields(&self, kind: Option<TypeRef<'_>>) -> Set {
        let atom = kind.map(TypeRef::resolve);
        let (map, list) = (atom.and_then(|atom| atom.map), atom.and_then(|atom| atom.list));
        let mut set = Set { members: self.members.clone(), children: Vec::with_capacity(self.children.len()) };
        for (element, child) in &self.children {
            let below = match element {
                PathElement::Field(name) => {
                    let field = map.and_then(|map| map.field(name));
                    if field.is_some() {
                        set.insert_member(element.clone());
                    }
                    field.or_else(|| map.and_then(|map| map.element))
                }
                PathElement::Key(_) => list.map(|list| list.element),
                _ => None,
            };
            set.children.push((element.clone(), child.with_named_fields(below)));
        }
        set
    }

    /// Calls for each path: the members of a level first, then what is below.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[PathElement])) {
        self.visit(&mut Vec::new(), visit);
    }

    fn visit(&self, path: &mut Vec<PathElement>, visit: &mut dyn FnMut(&[PathElement])) {
        for member in &self.members {
            path.push(member.clone());
            visit(path);
            path.pop();
        }
        for (element, child) in &self.children {
            path.push(element.clone());
            child.visit(path, visit);
            path.pop();
        }
    }

    /// The paths as messages show them.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.for_each(&mut |path| paths.push(path_text(path)));
        paths
    }
}

fn difference(left: &[PathElement], right: &[PathElement]) -> Vec<PathElement> {
    let mut rest = Vec::with_capacity(left.len());
    zip(
        left,
        right,
        |element| element,
        |left, right| {
            if right.is_none() {
                rest.extend(left.cloned());
            }
        },
    );
    rest
}

/// Walks two sorted lists together.
fn zip<'a, T>(
    left: &'a [T],
    right: &'a [T],
    key: impl Fn(&'a T) -> &'a PathElement,
    mut visit: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(left), Some(right)) => key(left).cmp(key(right)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let taken = match order {
            Ordering::Less => (left.next(), None),
            Ordering::Equal => (left.next(), right.next()),
            Ordering::Greater => (None, right.next()),
        };
        visit(taken.0, taken.1);
    }
}

#[cfg(test)]
mod tests;
