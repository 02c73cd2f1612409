//! Equality and order of values.

use std::cmp::Ordering;

use super::{List, Map, Value};
use crate::{error::EvalError, schema::ListKind};

/// Whether two values are equal: numbers of any type by what they are worth, else of the same type only.
pub fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
            numbers(a, b) == Some(Ordering::Equal)
        }
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::List(a), Value::List(b)) => lists(a, b),
        (Value::Map(a), Value::Map(b)) => maps(a, b),
        (Value::Object(a), Value::Object(b)) => {
            a.ty == b.ty
                && a.fields.len() == b.fields.len()
                && a.fields
                    .iter()
                    .all(|(name, value)| b.fields.iter().any(|(other, theirs)| other == name && equal(value, theirs)))
        }
        (Value::Type(a), Value::Type(b)) => a.run_time_name() == b.run_time_name(),
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b),
        (Value::Opaque(a), Value::Opaque(b)) => a.equals(b),
        (Value::Virtual(a), Value::Virtual(b)) => a == b,
        _ => false,
    }
}

fn lists(a: &List<'_>, b: &List<'_>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.kind().or_else(|| b.kind()) {
        Some(ListKind::Set) => a.iter().all(|item| b.iter().any(|other| equal(&item, &other))),
        Some(ListKind::Map(keys)) => {
            a.iter().all(|item| b.iter().any(|other| same_keys(&item, &other, keys) && equal(&item, &other)))
        }
        _ => a.iter().zip(b.iter()).all(|(a, b)| equal(&a, &b)),
    }
}

/// Whether two items of a list that is a map have the same keys.
pub(crate) fn same_keys(a: &Value<'_>, b: &Value<'_>, keys: &[String]) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (raw(a, key), raw(b, key)) {
        (Some(a), Some(b)) => equal(&a, &b),
        (None, None) => true,
        _ => false,
    })
}

/// A member by its name in JSON.
fn raw<'a>(map: &Map<'a>, name: &str) -> Option<Value<'a>> {
    match map {
        Map::Json { entries, .. } | Map::Object { entries, .. } => entries.get(name).map(Value::json),
        Map::Shared(_) => map.field(name),
    }
}

fn maps(a: &Map<'_>, b: &Map<'_>) -> bool {
    a.len() == b.len() && a.entries().all(|(key, value)| b.get(&key).is_some_and(|other| equal(&value, &other)))
}

/// The order of two values of types that have one.
pub fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
            return numbers(a, b).ok_or(EvalError::new("NaN values cannot be ordered"));
        }
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        _ => return Err(EvalError::NO_OVERLOAD),
    })
}

#[expect(clippy::cast_precision_loss, reason = "what upstream compares is the number as a double")]
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
        (Value::Int(a), Value::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Value::Uint(a), Value::Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Value::Double(a), Value::Double(b)) => return a.partial_cmp(b),
        (Value::Double(a), Value::Int(b)) => return double(*a, *b as f64, i64::MIN as f64, i64::MAX as f64),
        (Value::Int(a), Value::Double(b)) => {
            return double(*b, *a as f64, i64::MIN as f64, i64::MAX as f64).map(Ordering::reverse);
        }
        (Value::Double(a), Value::Uint(b)) => return double(*a, *b as f64, 0.0, u64::MAX as f64),
        (Value::Uint(a), Value::Double(b)) => {
            return double(*b, *a as f64, 0.0, u64::MAX as f64).map(Ordering::reverse);
        }
        _ => return None,
    })
}

/// A double beyond the other type's range is less or greater than all of it.
fn double(a: f64, b: f64, low: f64, high: f64) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    if a < low {
        return Some(Ordering::Less);
    }
    if a > high {
        return Some(Ordering::Greater);
    }
    a.partial_cmp(&b)
}
