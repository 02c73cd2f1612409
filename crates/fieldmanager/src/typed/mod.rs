//! An object seen through its schema: what belongs together, what is a list's key, what is one piece.
//!
//! A [`TypedValue`] of a built-in kind is read as upstream's structs are: a field that Go prints although nobody set it
//! is there with its zero value, one that Go leaves out when it is zero is not. Custom resources and what users apply
//! are read literally. Upstream: `structured-merge-diff/typed`.

mod compare;
mod equal;
mod field_set;
mod merge;
mod reconcile;
mod remove;
mod validate;
mod view;

use schema::{
    Node, Schema, Type,
    table::{Field, Shape},
};

use crate::{element::PathElement, set::Set};

pub use view::{Atom, ListView, MapView, Relation, Scalar};
pub(crate) use view::{Members, list_items};

/// What is wrong with an object, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Vec<(String, String)>);

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(vec![(String::new(), message.into())])
    }

    /// Adds a step in front of all paths.
    pub(crate) fn below(mut self, element: &PathElement) -> Self {
        let step = element.to_string();
        for (path, _) in &mut self.0 {
            path.insert_str(0, &step);
        }
        self
    }
}

impl std::error::Error for Invalid {}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let write = |f: &mut std::fmt::Formatter<'_>, (path, message): &(String, String)| match path.as_str() {
            "" => f.write_str(message),
            path => write!(f, "{path}: {message}"),
        };
        if let [only] = self.0.as_slice() {
            return write(f, only);
        }
        f.write_str("errors:")?;
        for error in &self.0 {
            f.write_str("\n  ")?;
            write(f, error)?;
        }
        Ok(())
    }
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum TypeRef<'s> {
    /// Nothing is known: objects are merged member by member, lists are one piece.
    Deduced,
    /// A named type, mostly a kind.
    Named(Type<'s>),
    /// A field's value, or an element below it; `field` says how lists and maps are treated and is only set for the
    /// value itself.
    Shape { schema: &'s Schema, shape: &'s Shape, field: Option<&'s Field> },
    /// `apiVersion` and `kind`.
    Text,
}

/// An object and what it is to be.
#[derive(Clone, Debug)]
pub struct TypedValue<'a> {
    pub kind: TypeRef<'a>,
    pub node: Node<'a>,
    /// Nothing is read into it: no zero values, and nulls count.
    pub literal: bool,
}

/// How two objects differ. No path is in two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub removed: Set,
    /// In both, with other values.
    pub modified: Set,
    pub added: Set,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// With only those paths that count.
    #[must_use]
    pub fn filtered(self, filter: &crate::set::Filter) -> Self {
        Self {
            removed: filter.apply(self.removed),
            modified: filter.apply(self.modified),
            added: filter.apply(self.added),
        }
    }
}

impl<'a> TypedValue<'a> {
    /// As upstream's struct of a built-in kind reads it.
    pub fn of_struct(kind: TypeRef<'a>, node: Node<'a>) -> Self {
        Self { kind, node, literal: false }
    }

    /// As it is written.
    pub fn literal(kind: TypeRef<'a>, node: Node<'a>) -> Self {
        Self { kind, node, literal: true }
    }

    /// How `other` differs from this.
    pub fn compare(&self, other: &TypedValue<'_>) -> Result<Comparison, Invalid> {
        compare::compare(self.kind, (&self.node, self.literal), (&other.node, other.literal))
    }

    /// Whether both are the same value.
    pub fn equals(&self, other: &TypedValue<'_>) -> bool {
        let members = Members { left_literal: self.literal, right_literal: other.literal };
        equal::equal(self.kind, &self.node, &other.node, members)
    }

    /// This with what `other` says laid over it; nothing is removed.
    pub fn merge(&self, other: &TypedValue<'_>) -> Result<TypedValue<'a>, Invalid> {
        let node = merge::merge(self.kind, (&self.node, self.literal), (&other.node, other.literal))?;
        Ok(TypedValue::literal(self.kind, node.unwrap_or(Node::Null)))
    }

    /// Every leaf, and every element and member that is there.
    pub fn field_set(&self) -> Result<Set, Invalid> {
        field_set::field_set(self.kind, &self.node, self.literal)
    }

    /// This without the given list elements and members.
    #[must_use]
    pub fn without(&self, items: &Set) -> TypedValue<'a> {
        TypedValue { node: remove::remove(self.kind, &self.node, items, self.literal), ..self.clone() }
    }

    /// Whether the value is what its type says. Duplicates of keys in lists are an error unless `allow_duplicates`.
    pub fn validate(&self, allow_duplicates: bool) -> Result<(), Invalid> {
        validate::validate(self.kind, &self.node, self.literal, allow_duplicates)
    }
}

impl Set {
    /// The set as the type wants it today, if that is another: what became one piece is owned as one piece.
    pub fn reconciled(&self, kind: TypeRef<'_>) -> Option<Set> {
        reconcile::reconcile(self, kind)
    }
}

#[cfg(test)]
mod tests;
