//! Short ways to write JSON trees.

use std::borrow::Cow;

use crate::json::{Node, Object};

pub(super) fn object<'a, const N: usize>(members: [(&'a str, Node<'a>); N]) -> Node<'a> {
    Node::Object(Object(members.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect()))
}

pub(super) fn strings<'a>(items: impl IntoIterator<Item = impl Into<Cow<'a, str>>>) -> Node<'a> {
    Node::Array(items.into_iter().map(|item| Node::string(item)).collect())
}

pub(super) fn reference(prefix: &str, name: &str) -> Node<'static> {
    object([("$ref", Node::string(format!("{prefix}{name}")))])
}

pub(super) fn group_version_kind<'a>(group: &str, version: &str, kind: &str) -> Node<'a> {
    object([
        ("group", Node::string(group.to_owned())),
        ("kind", Node::string(kind.to_owned())),
        ("version", Node::string(version.to_owned())),
    ])
}
