//! What a plan consists of.

use std::{collections::HashSet, sync::Arc};

use regex::Regex;

use crate::{
    cost::CallCost,
    functions::Fun,
    types::Type,
    value::{Value, equal},
};

#[derive(Debug)]
pub(super) enum Node {
    Const(Value<'static>),
    Attr(Box<Attr>),
    /// `has(a.b)`: the operand, then the field.
    Has(Box<Attr>, Arc<str>),
    Conditional(Box<Conditional>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Equal {
        sides: Box<[Node; 2]>,
        negated: bool,
    },
    Call(Box<Call>),
    /// Membership in a constant list.
    InSet(Box<Node>, Box<ConstSet>),
    /// `a.or(b)`, `a.orValue(b)`.
    OptionalOr {
        sides: Box<[Node; 2]>,
        unwrap: bool,
    },
    List(Box<[(Node, bool)]>),
    Map(Box<[MapNode]>),
    Object(Box<ObjectNode>),
    Fold(Box<Fold>),
    /// `accumulator + [element]`, in place.
    Append {
        slot: usize,
        element: Box<Node>,
    },
    /// `cel.@mapInsert(accumulator, …)`, in place.
    Insert {
        slot: usize,
        args: Box<[Node]>,
    },
}

/// A variable, or the value of an expression, followed by fields and indexes.
#[derive(Debug)]
pub(super) struct Attr {
    pub(super) base: Base,
    pub(super) qualifiers: Vec<Qualifier>,
}

#[derive(Debug)]
pub(super) enum Base {
    Variable(Arc<str>),
    Local(usize),
    Value(Node),
}

#[derive(Clone, Debug)]
pub(super) struct Qualifier {
    pub(super) key: QualifierKey,
    pub(super) optional: bool,
}

#[derive(Clone, Debug)]
pub(super) enum QualifierKey {
    Const(Value<'static>),
    /// Shared by both branches of a conditional.
    Computed(Arc<Node>),
}

/// `condition ? then : otherwise`; a branch that is an attribute is not charged as one.
#[derive(Debug)]
pub(super) struct Conditional {
    pub(super) condition: Node,
    pub(super) then: Branch,
    pub(super) otherwise: Branch,
}

#[derive(Debug)]
pub(super) enum Branch {
    Attr(Attr),
    Conditional(Box<Conditional>),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static str,
    pub(super) overload: &'static str,
    pub(super) run: Fun,
    pub(super) cost: CallCost,
    pub(super) args: Vec<Node>,
    /// A constant regular expression.
    pub(super) pattern: Option<Regex>,
}

#[derive(Debug)]
pub(super) struct MapNode {
    pub(super) key: Node,
    pub(super) value: Node,
    pub(super) optional: bool,
}

#[derive(Debug)]
pub(super) struct ObjectNode {
    pub(super) ty: Type,
    pub(super) fields: Vec<(Arc<str>, Node, bool)>,
}

#[derive(Debug)]
pub(super) struct Fold {
    pub(super) range: Node,
    pub(super) init: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
    /// The accumulator; the iteration variables have the next two.
    pub(super) slot: usize,
    pub(super) two: bool,
}

/// Constants that values are looked up among.
#[derive(Debug, Default)]
pub(super) struct ConstSet {
    strings: HashSet<Box<str>>,
    others: Vec<Value<'static>>,
}

impl ConstSet {
    /// None when there is something else than scalars.
    pub(super) fn of(values: &[Value<'static>]) -> Option<Self> {
        let mut set = Self::default();
        for value in values {
            match value {
                Value::String(text) => {
                    set.strings.insert((**text).into());
                }
                Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) => set.others.push(value.clone()),
                _ => return None,
            }
        }
        Some(set)
    }

    pub(super) fn contains(&self, value: &Value<'_>) -> bool {
        match value {
            Value::String(text) => self.strings.contains(&**text),
            other => self.others.iter().any(|known| equal(known, other)),
        }
    }
}
