//! Whether two values are the same. Upstream: `value.Equals`.

use schema::Node;

use super::{Members, TypeRef};

/// Equality of what is one piece: order of members does not count, numbers by value, and in structs only what Go prints.
/// A literal copy of a struct's value equals it.
pub(super) fn equal(kind: TypeRef<'_>, left: &Node<'_>, right: &Node<'_>, members: Members) -> bool {
    let literal = members.left_literal && members.right_literal;
    same(kind, left, right, Members { left_literal: literal, right_literal: literal })
}

fn same(kind: TypeRef<'_>, left: &Node<'_>, right: &Node<'_>, members: Members) -> bool {
    match (left, right) {
        (Node::Null, Node::Null) => true,
        (Node::Bool(left), Node::Bool(right)) => left == right,
        (Node::String(left), Node::String(right)) => left == right,
        (Node::Number(left), Node::Number(right)) => same_number(left, right),
        (Node::Array(left), Node::Array(right)) => {
            let element = kind.resolve().list.map_or(TypeRef::Deduced, |list| list.element);
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(element, left, right, members))
        }
        (Node::Object(left), Node::Object(right)) => {
            let Some(map) = kind.resolve().map.or(TypeRef::Deduced.resolve().map) else { return false };
            let mut all = true;
            let visited = members.zip(map, Some(left), Some(right), |member, pair| {
                all &= match pair {
                    (Some(left), Some(right)) => all && same(member.kind_or_any(), left, right, members),
                    _ => false,
                };
                Ok(())
            });
            visited.is_ok() && all
        }
        _ => false,
    }
}

fn same_number(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    match (left.parse::<i64>(), right.parse::<i64>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => left == right,
            _ => false,
        },
    }
}
