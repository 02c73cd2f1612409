//! What the table says about a member that is merged.

use super::PatchError;
use crate::table::{Form, PatchStrategy, Schema, Shape, Type};

/// The type of the map that is being merged.
#[derive(Clone, Copy)]
pub(super) enum Meta<'s> {
    Type(Type<'s>),
    /// A map or a scalar: what is inside has no fields.
    Plain(&'static str),
}

impl<'s> Meta<'s> {
    /// An object of this type.
    pub(super) fn of(kind: Type<'s>) -> Self {
        match kind.def().form {
            Form::Strings => Meta::Plain("slice"),
            _ => Meta::Type(kind),
        }
    }

    fn of_shape(schema: &'s Schema, shape: &'s Shape) -> Self {
        match shape {
            Shape::Ref(id) => schema.by_id(*id).map_or(Meta::Plain("interface"), Meta::of),
            Shape::Map(_) => Meta::Plain("map"),
            Shape::List(_) => Meta::Plain("slice"),
            Shape::String => Meta::Plain("string"),
            Shape::Bool => Meta::Plain("bool"),
            Shape::Int32 => Meta::Plain("int32"),
            Shape::Int64 => Meta::Plain("int64"),
            Shape::Double => Meta::Plain("float64"),
            Shape::Bytes => Meta::Plain("slice"),
            Shape::Any => Meta::Plain("interface"),
        }
    }

    fn field(self, key: &str) -> Result<(&'s Schema, &'s Shape, &'s PatchStrategy), PatchError> {
        match self {
            Meta::Plain(kind) => Err(PatchError::Other(format!(
                "merging an object in json but data type is not struct, instead is: {kind}"
            ))),
            Meta::Type(kind) => match kind.field(key) {
                // Values with a form of their own have no fields in JSON.
                Some(field) if kind.def().form == Form::Struct => Ok((kind.schema(), &field.shape, &field.patch)),
                _ => Err(PatchError::Other(format!(
                    "unable to find api field in struct {} for the json field \"{key}\"",
                    kind.short_name()
                ))),
            },
        }
    }

    /// For a member that is a map on both sides.
    pub(super) fn of_struct(self, key: &str) -> Result<(Meta<'s>, &'s PatchStrategy), PatchError> {
        let (schema, shape, strategy) = self.field(key)?;
        Ok((Meta::of_shape(schema, shape), strategy))
    }

    /// For a member that is a list on both sides: what is known of its elements.
    pub(super) fn of_list(self, key: &str) -> Result<(Meta<'s>, &'s PatchStrategy), PatchError> {
        let (schema, shape, strategy) = self.field(key)?;
        match shape {
            Shape::List(inner) if matches!(**inner, Shape::List(_)) => {
                Err(PatchError::Other("unexpected slice of slice".to_owned()))
            }
            Shape::List(inner) => Ok((Meta::of_shape(schema, inner), strategy)),
            Shape::Ref(id) if schema.by_id(*id).is_some_and(|kind| kind.def().form == Form::Strings) => {
                Ok((Meta::Plain("string"), strategy))
            }
            _ => Err(PatchError::Other("expected slice or array type, but got: struct".to_owned())),
        }
    }

    /// What upstream calls the type in its errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Meta::Type(_) => "struct",
            Meta::Plain(kind) => kind,
        }
    }
}
