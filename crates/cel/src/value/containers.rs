//! Lists and maps: of JSON, with or without a declared type, and made by expressions.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value as Json;

use super::{Str, Value};
use crate::{
    error::EvalError,
    schema::{DeclKind, DeclType, ListKind, ObjectDecl},
};

#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Items as their declared type says, or as JSON does.
    Json {
        items: &'a [Json],
        list: Option<&'a DeclType>,
    },
    Shared(Arc<Vec<Value<'a>>>),
    /// Two lists, one after the other: adding lists does not copy them.
    Joined(Arc<Joined<'a>>),
}

#[derive(Debug)]
pub struct Joined<'a> {
    left: List<'a>,
    right: List<'a>,
}

#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// A map with values of the declared type, or of JSON.
    Json {
        entries: &'a serde_json::Map<String, Json>,
        value: Option<&'a DeclType>,
    },
    /// An object with declared fields: what is not declared is not there.
    Object {
        entries: &'a serde_json::Map<String, Json>,
        decl: &'a ObjectDecl,
    },
    Shared(Arc<Entries<'a>>),
}

/// Entries in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    entries: Vec<(Value<'a>, Value<'a>)>,
    index: HashMap<Key, usize>,
}

/// What map keys are the same by: whole numbers of any type agree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Box<str>),
}

impl Key {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "whole numbers in range only")]
    fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => i64::try_from(*value).map_or(Self::Uint(*value), Self::Int),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < i64::MAX as f64 => Self::Int(*value as i64),
            Value::String(text) => Self::String((**text).into()),
            _ => return None,
        })
    }
}

/// Makes a map.
#[derive(Debug, Default)]
pub struct MapBuilder<'a>(Entries<'a>);

impl<'a> MapBuilder<'a> {
    /// A key that is there already gets the new value.
    pub fn set(&mut self, key: Value<'a>, value: Value<'a>) -> Result<(), EvalError> {
        self.0.set(key, value)
    }

    pub(crate) fn remove(&mut self, key: &Value<'_>) {
        if let Some(at) = Key::of(key).and_then(|key| self.0.index.remove(&key)) {
            self.0.entries.remove(at);
            for index in self.0.index.values_mut() {
                *index -= usize::from(*index > at);
            }
        }
    }

    pub fn finish(self) -> Value<'a> {
        Value::Map(Map::Shared(Arc::new(self.0)))
    }
}

impl<'a> Entries<'a> {
    fn set(&mut self, key: Value<'a>, value: Value<'a>) -> Result<(), EvalError> {
        let Some(hash) = Key::of(&key) else {
            return Err(EvalError::text(format!("unsupported key type: {}", key.type_name())));
        };
        match self.index.get(&hash) {
            Some(at) => self.entries[*at].1 = value,
            None => {
                self.index.insert(hash, self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Shared(items) => items.len(),
            Self::Joined(joined) => joined.left.len() + joined.right.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Small lists are copied, large ones only joined.
    pub(crate) fn join(left: Self, right: Self) -> Self {
        if left.is_empty() {
            return right;
        }
        if right.is_empty() {
            return left;
        }
        if left.len() + right.len() <= 64 {
            return Self::Shared(Arc::new(left.iter().chain(right.iter()).collect()));
        }
        Self::Joined(Arc::new(Joined { left, right }))
    }

    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json { items, list } => {
                items.get(index).map(|item| Value::typed(item, list.and_then(DeclType::element)))
            }
            Self::Shared(items) => items.get(index).cloned(),
            Self::Joined(joined) => match index.checked_sub(joined.left.len()) {
                Some(index) => joined.right.get(index),
                None => joined.left.get(index),
            },
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(crate) fn to_vec(&self) -> Vec<Value<'a>> {
        match self {
            Self::Shared(items) => items.to_vec(),
            _ => self.iter().collect(),
        }
    }

    /// How a declared list compares and adds: as a set, as a map by keys, or in order.
    pub(crate) fn kind(&self) -> Option<&'a ListKind> {
        match self {
            Self::Json { list: Some(list), .. } => match &list.kind {
                DeclKind::List { kind, .. } => Some(kind),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json { entries, .. } => entries.len(),
            Self::Object { .. } => self.entries().count(),
            Self::Shared(map) => map.entries.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Shared(map), key) => {
                let at = map.index.get(&Key::of(key)?)?;
                Some(map.entries[*at].1.clone())
            }
            (_, Value::String(name)) => self.field(name),
            _ => None,
        }
    }

    /// A field by the name that expressions use for it.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json { entries, value } => entries.get(name).map(|json| Value::typed(json, *value)),
            Self::Object { entries, decl } => {
                let field = decl.field(name)?;
                entries.get(&field.name).map(|json| Value::typed(json, Some(&field.ty)))
            }
            Self::Shared(map) => {
                let at = map.index.get(&Key::String(name.into()))?;
                Some(map.entries[*at].1.clone())
            }
        }
    }

    pub(crate) fn has(&self, key: &Value<'_>) -> bool {
        self.get(key).is_some()
    }

    pub fn entries(&self) -> Box<dyn Iterator<Item = (Value<'a>, Value<'a>)> + '_> {
        match self {
            Self::Json { entries, value } => {
                let value = *value;
                Box::new(entries.iter().map(move |(key, json)| (Value::str(key), Value::typed(json, value))))
            }
            Self::Object { entries, decl } => {
                let (entries, decl) = (*entries, *decl);
                Box::new(decl.fields.iter().filter_map(move |field| {
                    let json = entries.get(&field.name)?;
                    Some((Value::str(&field.escaped), Value::typed(json, Some(&field.ty))))
                }))
            }
            Self::Shared(map) => Box::new(map.entries.iter().cloned()),
        }
    }

    /// One entry more; the map itself when nobody else has it.
    pub(crate) fn insert(self, key: Value<'a>, value: Value<'a>) -> Result<Self, EvalError> {
        if self.has(&key) {
            return Err(EvalError::text(format!("insert failed: key {key} already exists")));
        }
        let mut map = match self {
            Self::Shared(map) => map,
            other => {
                let mut made = Entries::default();
                for (key, value) in other.entries() {
                    made.set(key, value)?;
                }
                Arc::new(made)
            }
        };
        Arc::make_mut(&mut map).set(key, value)?;
        Ok(Self::Shared(map))
    }
}

impl<'a> FromIterator<(Str<'a>, Value<'a>)> for Map<'a> {
    fn from_iter<I: IntoIterator<Item = (Str<'a>, Value<'a>)>>(entries: I) -> Self {
        let mut made = Entries::default();
        for (key, value) in entries {
            // Text is always a key.
            let _unused = made.set(Value::String(key), value).is_ok();
        }
        Self::Shared(Arc::new(made))
    }
}
