//! Optional values. `or` and `orValue` are the planner's.

use super::{Args, Out};
use crate::{error::EvalError, value::Value};

pub(super) fn of<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::some(args.take(0)))
}

pub(super) fn of_non_zero_value<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let value = args.take(0);
    Ok(if value.is_zero() { Value::NONE } else { Value::some(value) })
}

pub(super) fn none<'a>(_args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::NONE)
}

pub(super) fn value<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.get(0) {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        Value::Optional(None) => Err(EvalError::new("optional.none() dereference")),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn has_value<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.get(0) {
        Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn unwrap<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let mut items = Vec::new();
    for item in args.list(0)?.iter() {
        match item {
            Value::Optional(Some(inner)) => items.push((*inner).clone()),
            Value::Optional(None) => {}
            other => return Err(EvalError::text(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::list(items))
}
