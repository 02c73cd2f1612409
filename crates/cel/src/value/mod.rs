//! Values, borrowed from JSON where that is where they come from: reading an object makes no copy of it.
//!
//! Upstream counterparts: `cel-go/common/types`, `k8s.io/apiserver/pkg/cel/common/values.go`.

mod compare;
mod containers;
mod json;
mod opaque;
mod timestamp;

use std::{fmt, sync::Arc};

use crate::types::Type;
pub(crate) use compare::same_keys;
pub use compare::{compare, equal};
pub use containers::{List, Map, MapBuilder};
pub(crate) use opaque::Cidr;
pub use opaque::{Authorizer, Checked, Opaque, PathCheck, ResourceCheck};
pub use timestamp::Timestamp;

/// A value. Cheap to clone: it borrows or shares what is large.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Str<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    List(List<'a>),
    Map(Map<'a>),
    /// An object that an expression constructed.
    Object(Arc<Object<'a>>),
    Type(Arc<Type>),
    Optional(Option<Arc<Value<'a>>>),
    Opaque(Arc<Opaque<'a>>),
    /// An object whose fields [`crate::Activation::field`] answers.
    Virtual(&'static str),
}

/// Text: borrowed from the input, or shared.
#[derive(Clone)]
pub enum Str<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

/// A constructed object: the fields that were given, in their order.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    pub ty: Type,
    pub fields: Vec<(Arc<str>, Value<'a>)>,
}

impl Str<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl std::ops::Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<'a> Value<'a> {
    pub fn str(text: &'a str) -> Self {
        Self::String(Str::Borrowed(text))
    }

    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(Str::Shared(text.into()))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Shared(Arc::new(items)))
    }

    pub fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub const NONE: Self = Self::Optional(None);

    pub fn opaque(value: Opaque<'a>) -> Self {
        Self::Opaque(Arc::new(value))
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The type that `type(x)` gives: without parameters.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Object(object) => object.ty.clone(),
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Opaque(opaque) => opaque.type_of(),
            Self::Virtual(name) => Type::named(name),
        }
    }

    pub(crate) fn type_name(&self) -> String {
        self.type_of().run_time_name().to_owned()
    }

    /// What `size()` gives, for costs: one for what has no size.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Self::String(text) => chars(text) as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Optional(Some(inner)) => inner.cost_size(),
            Self::Opaque(opaque) => opaque.cost_size(),
            _ => 1,
        }
    }

    /// Zero, empty, null.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Timestamp(time) => time.is_zero(),
            Self::Duration(nanos) => *nanos == 0,
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Object(object) => object.fields.is_empty(),
            Self::Optional(inner) => inner.is_none(),
            Self::Type(_) | Self::Opaque(_) | Self::Virtual(_) => false,
        }
    }
}

/// Code points. ASCII, which is the rule, is counted by bytes.
pub(crate) fn chars(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

impl fmt::Display for Value<'_> {
    /// As upstream's errors show values: Go's `%v` of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("0"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Double(value) => f.write_str(&crate::functions::convert::double_to_string(*value)),
            Self::String(text) => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "{bytes:?}"),
            Self::Timestamp(time) => write!(f, "{time}"),
            Self::Duration(nanos) => f.write_str(&crate::functions::time::show_duration(*nanos)),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, item) in list.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (index, (key, value)) in map.entries().enumerate() {
                    write!(f, "{}{key}: {value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Self::Object(object) => {
                write!(f, "{}{{", object.ty)?;
                for (index, (name, value)) in object.fields.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Self::Type(ty) => f.write_str(ty.run_time_name()),
            Self::Optional(None) => f.write_str("optional.none()"),
            Self::Optional(Some(value)) => write!(f, "optional({value})"),
            Self::Opaque(opaque) => write!(f, "{opaque}"),
            Self::Virtual(name) => f.write_str(name),
        }
    }
}
