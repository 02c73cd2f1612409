//! Between JSON and values.

use base64::Engine as _;
use serde_json::Value as Json;

use super::{List, Map, Value};
use crate::{
    functions::time,
    schema::{DeclKind, DeclType},
};

impl<'a> Value<'a> {
    /// JSON without a declared type: whole numbers are `int`, others `double`, objects maps.
    pub fn json(json: &'a Json) -> Self {
        Self::typed(json, None)
    }

    /// JSON as its declared type says. What does not fit it is taken as it is.
    pub fn typed(json: &'a Json, ty: Option<&'a DeclType>) -> Self {
        let kind = ty.map(|ty| &ty.kind);
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => {
                if matches!(kind, Some(DeclKind::Double)) {
                    return Self::Double(number.as_f64().unwrap_or_default());
                }
                match number.as_i64() {
                    Some(value) => Self::Int(value),
                    None => Self::Double(number.as_f64().unwrap_or_default()),
                }
            }
            Json::String(text) => match kind {
                Some(DeclKind::Timestamp) => time::parse_timestamp(text).map_or(Self::str(text), Self::Timestamp),
                Some(DeclKind::Date) => time::parse_date(text).map_or(Self::str(text), Self::Timestamp),
                Some(DeclKind::Duration) => time::parse_duration(text).map_or(Self::str(text), Self::Duration),
                Some(DeclKind::Bytes) => base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map_or(Self::str(text), |bytes| Self::Bytes(bytes.into())),
                _ => Self::str(text),
            },
            Json::Array(items) => Self::List(List::Json { items, list: ty }),
            Json::Object(entries) => match kind {
                Some(DeclKind::Object(decl)) => Self::Map(Map::Object { entries, decl }),
                Some(DeclKind::Map(value)) => Self::Map(Map::Json { entries, value: Some(&**value) }),
                _ => Self::Map(Map::Json { entries, value: None }),
            },
        }
    }

    /// The value as JSON, where it has such a form: bytes in base64, times and durations as text.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            // A whole number is written without a point, so that it fits where whole numbers are wanted.
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => (*value as i64).into(),
            Self::Double(value) => serde_json::Number::from_f64(*value).map(Json::Number)?,
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::Timestamp(at) => Json::String(at.to_string()),
            Self::Duration(nanos) => Json::String(time::show_duration(*nanos)),
            Self::List(List::Json { items, .. }) => Json::Array(items.to_vec()),
            Self::List(list) => Json::Array(list.iter().map(|item| item.to_json()).collect::<Option<_>>()?),
            Self::Map(Map::Json { entries, .. }) => Json::Object((*entries).clone()),
            Self::Map(map) => {
                let mut object = serde_json::Map::new();
                for (key, value) in map.entries() {
                    let key = match key {
                        Value::String(key) => key.to_string(),
                        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => key.to_string(),
                        _ => return None,
                    };
                    object.insert(key, value.to_json()?);
                }
                Json::Object(object)
            }
            Self::Object(made) => {
                let mut object = serde_json::Map::new();
                for (name, value) in &made.fields {
                    object.insert(name.to_string(), value.to_json()?);
                }
                Json::Object(object)
            }
            Self::Optional(Some(inner)) => inner.to_json()?,
            Self::Optional(None) => Json::Null,
            Self::Opaque(opaque) => Json::String(opaque.to_string()),
            Self::Type(_) | Self::Virtual(_) => return None,
        })
    }
}
