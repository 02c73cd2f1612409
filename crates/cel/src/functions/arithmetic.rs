//! Operators. What overflows is an error.

use std::cmp::Ordering;

use super::{Args, Out};
use crate::{
    error::EvalError,
    schema::ListKind,
    value::{List, Timestamp, Value, compare, equal, same_keys},
};

const INT: EvalError = EvalError::new("integer overflow");
const UINT: EvalError = EvalError::new("unsigned integer overflow");
const DURATION: EvalError = EvalError::new("duration overflow");
const TIMESTAMP: EvalError = EvalError::new("timestamp overflow");

pub(super) fn not<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.get(0) {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

pub(super) fn not_strictly_false<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(args.get(0).as_bool().unwrap_or(true)))
}

pub(super) fn negate<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.get(0) {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(INT),
        Value::Double(value) => Ok(Value::Double(-value)),
        Value::Duration(value) => value.checked_neg().map(Value::Duration).ok_or(DURATION),
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

pub(super) fn add<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match (args.take(0), args.take(1)) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(b).map(Value::Int).ok_or(INT),
        (Value::Uint(a), Value::Uint(b)) => a.checked_add(b).map(Value::Uint).ok_or(UINT),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => {
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(&a);
            text.push_str(&b);
            Ok(Value::string(text))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes(a.iter().chain(b.iter()).copied().collect())),
        (Value::List(a), Value::List(b)) => Ok(add_lists(a, b)),
        (Value::Duration(a), Value::Duration(b)) => a.checked_add(b).map(Value::Duration).ok_or(DURATION),
        (Value::Timestamp(at), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Timestamp(at)) => {
            shift(at, nanos)
        }
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

/// A list that is declared as a set takes what it does not have, one that is a map replaces what has the same keys.
fn add_lists<'a>(a: List<'a>, b: List<'a>) -> Value<'a> {
    match a.kind() {
        Some(ListKind::Set) => {
            let mut items = a.to_vec();
            for item in b.iter() {
                if !items.iter().any(|known| equal(known, &item)) {
                    items.push(item);
                }
            }
            Value::list(items)
        }
        Some(ListKind::Map(keys)) => {
            let mut items = a.to_vec();
            for item in b.iter() {
                match items.iter_mut().find(|known| same_keys(known, &item, keys)) {
                    Some(known) => *known = item,
                    None => items.push(item),
                }
            }
            Value::list(items)
        }
        _ => Value::List(List::join(a, b)),
    }
}

fn shift<'a>(at: Timestamp, nanos: i64) -> Out<'a> {
    Timestamp::from_nanos(at.as_nanos() + i128::from(nanos)).map(Value::Timestamp).ok_or(TIMESTAMP)
}

pub(super) fn subtract<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match (args.get(0), args.get(1)) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int).ok_or(INT),
        (Value::Uint(a), Value::Uint(b)) => a.checked_sub(*b).map(Value::Uint).ok_or(UINT),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => a.checked_sub(*b).map(Value::Duration).ok_or(DURATION),
        (Value::Timestamp(at), Value::Duration(nanos)) => shift(*at, nanos.checked_neg().ok_or(DURATION)?),
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            i64::try_from(a.as_nanos() - b.as_nanos()).map(Value::Duration).map_err(|_| DURATION)
        }
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

pub(super) fn multiply<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match (args.get(0), args.get(1)) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).ok_or(INT),
        (Value::Uint(a), Value::Uint(b)) => a.checked_mul(*b).map(Value::Uint).ok_or(UINT),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

pub(super) fn divide<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match (args.get(0), args.get(1)) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(EvalError::new("division by zero")),
        (Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int).ok_or(INT),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

pub(super) fn modulo<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match (args.get(0), args.get(1)) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(EvalError::new("modulus by zero")),
        (Value::Int(a), Value::Int(b)) => a.checked_rem(*b).map(Value::Int).ok_or(INT),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

fn ordered<'a>(args: &Args<'a, '_>, test: fn(Ordering) -> bool) -> Out<'a> {
    compare(args.get(0), args.get(1)).map(|order| Value::Bool(test(order)))
}

pub(super) fn less<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    ordered(args, Ordering::is_lt)
}

pub(super) fn less_equals<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    ordered(args, Ordering::is_le)
}

pub(super) fn greater<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    ordered(args, Ordering::is_gt)
}

pub(super) fn greater_equals<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    ordered(args, Ordering::is_ge)
}
