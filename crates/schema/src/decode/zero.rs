//! The zero value of a shape, as upstream's encoder prints it.

use std::borrow::Cow;

use crate::json::{Node, Object};
use crate::table::{Form, Name, Presence, Schema, Shape};

/// What a Go value that nobody set is printed as. Structs by value cannot contain themselves, so this ends.
pub(crate) fn zero(schema: &Schema, shape: &Shape) -> Node<'static> {
    match shape {
        Shape::Bool => Node::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Double => Node::Number(Cow::Borrowed("0")),
        Shape::String => Node::String(Cow::Borrowed("")),
        Shape::Bytes | Shape::Any | Shape::List(_) | Shape::Map(_) => Node::Null,
        Shape::Ref(id) => {
            let Some(kind) = schema.by_id(*id) else { return Node::Null };
            match kind.def().form {
                Form::Quantity => Node::String(Cow::Borrowed("0")),
                Form::IntOrString => Node::Number(Cow::Borrowed("0")),
                Form::Duration => Node::String(Cow::Borrowed("0s")),
                Form::SchemaOrBool => Node::Bool(false),
                Form::Time
                | Form::MicroTime
                | Form::Raw
                | Form::Strings
                | Form::SchemaOrArray
                | Form::SchemaOrStrings => Node::Null,
                Form::Struct => {
                    let mut object = Object::default();
                    for field in kind.fields() {
                        match field.presence {
                            Presence::Always => {
                                let value = zero(schema, &field.shape);
                                object.push(owned(&field.name), value);
                            }
                            Presence::Nullable => object.push(owned(&field.name), Node::Null),
                            Presence::NonZero | Presence::Set => {}
                        }
                    }
                    Node::Object(object)
                }
            }
        }
    }
}

/// Names of built-in fields are static, so that this copies only for run-time kinds.
pub(crate) fn owned(name: &Name) -> Name {
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name),
        Cow::Owned(name) => Cow::Owned(name.clone()),
    }
}
