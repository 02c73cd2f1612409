//! The types of the language, as expressions declare and have them.
//!
//! Upstream counterparts: `cel-go/common/types/types.go`, `checker/format.go`.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// A type. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Type {
    /// Of an expression that has an error already; agrees with everything.
    Error,
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// An object with named fields, or an opaque type that upstream models as one (`kubernetes.Quantity`).
    Struct(Arc<StructType>),
    /// `optional_type(T)`, `net.IP`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// A type parameter of an overload, or a variable of the checker.
    Param(u32),
}

/// A named type with its fields.
#[derive(Debug, Default)]
pub struct StructType {
    pub name: String,
    /// By the name that expressions use (see [`crate::schema::escape`]).
    pub fields: BTreeMap<String, Type>,
    /// Any field may be read and is dynamic.
    pub open: bool,
}

/// Finds types that expressions construct or mention by name.
pub trait TypeProvider: Send + Sync {
    /// The struct type of that name.
    fn find(&self, name: &str) -> Option<Type>;
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub fn optional(inner: Self) -> Self {
        Self::Opaque(OPTIONAL.into(), [inner].into())
    }

    pub fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), [].into())
    }

    /// A named type without fields.
    pub fn named(name: &str) -> Self {
        Self::Struct(Arc::new(StructType { name: name.to_owned(), ..StructType::default() }))
    }

    /// A named type with fields.
    pub fn object(name: impl Into<String>, fields: impl IntoIterator<Item = (impl Into<String>, Self)>) -> Self {
        Self::Struct(Arc::new(StructType {
            name: name.into(),
            fields: fields.into_iter().map(|(name, ty)| (name.into(), ty)).collect(),
            open: false,
        }))
    }

    pub fn type_of(inner: Self) -> Self {
        Self::Type(Some(Arc::new(inner)))
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    pub(crate) fn as_optional(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if &**name == OPTIONAL => params.first(),
            _ => None,
        }
    }

    /// Known to be of constant size.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            _ => self.as_optional().is_some_and(Self::is_scalar),
        }
    }

    /// The name that `type(x)` prints.
    pub(crate) fn run_time_name(&self) -> &str {
        match self {
            Self::Error => "*error*",
            Self::Dyn => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Struct(object) => &object.name,
            Self::Opaque(name, _) => name,
            Self::Type(_) => "type",
            Self::Param(_) => "dyn",
        }
    }
}

/// Structs are the same by name.
impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Struct(a), Self::Struct(b)) => a.name == b.name,
            (Self::Opaque(a, p), Self::Opaque(b, q)) => a == b && p == q,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}
impl Eq for Type {}

impl fmt::Display for Type {
    /// As compile errors name types.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(entry) => write!(f, "map({}, {})", entry.0, entry.1),
            Self::Opaque(name, params) if !params.is_empty() => {
                write!(f, "{name}(")?;
                for (index, param) in params.iter().enumerate() {
                    write!(f, "{}{param}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Type(Some(inner)) => write!(f, "type({inner})"),
            Self::Param(id) => write!(f, "_var{id}"),
            other => f.write_str(other.run_time_name()),
        }
    }
}
