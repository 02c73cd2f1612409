//! Quantities, and the comparisons that versions share with them.

use std::cmp::Ordering;

use apimachinery::{Quantity, quantity::Format};

use super::{Args, Out};
use crate::{
    error::EvalError,
    value::{Opaque, Value},
};

pub(super) fn quantity<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let text = args.string(0)?;
    let parsed = text.parse::<Quantity>().map_err(|error| EvalError::text(error.to_string()))?;
    Ok(Value::opaque(Opaque::Quantity(parsed)))
}

pub(super) fn is_quantity<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(args.string(0)?.parse::<Quantity>().is_ok()))
}

fn get(args: &Args<'_, '_>, index: usize) -> Result<Quantity, EvalError> {
    match args.opaque(index)? {
        Opaque::Quantity(quantity) => Ok(*quantity),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn sign<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Int(get(args, 0)?.sign().into()))
}

fn as_int(quantity: &Quantity) -> Option<i64> {
    let nanos = quantity.nanos();
    if nanos % 1_000_000_000 != 0 { None } else { i64::try_from(nanos / 1_000_000_000).ok() }
}

pub(super) fn is_integer<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(as_int(&get(args, 0)?).is_some()))
}

pub(super) fn as_integer<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    as_int(&get(args, 0)?).map(Value::Int).ok_or(EvalError::new("cannot convert value to integer"))
}

pub(super) fn as_approximate_float<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Double(get(args, 0)?.as_f64()))
}

fn operand(args: &Args<'_, '_>) -> Result<Quantity, EvalError> {
    match args.get(1) {
        Value::Int(units) => Ok(Quantity::from_units(*units, Format::DecimalExponent)),
        _ => get(args, 1),
    }
}

pub(super) fn add<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::opaque(Opaque::Quantity(get(args, 0)?.plus(&operand(args)?))))
}

pub(super) fn sub<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::opaque(Opaque::Quantity(get(args, 0)?.minus(&operand(args)?))))
}

fn order(args: &Args<'_, '_>) -> Result<Ordering, EvalError> {
    match (args.opaque(0)?, args.opaque(1)?) {
        (Opaque::Quantity(a), Opaque::Quantity(b)) => Ok(a.cmp(b)),
        (Opaque::Semver(a), Opaque::Semver(b)) => Ok(a.cmp(b)),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn compare_to<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Int(order(args)? as i64))
}

pub(super) fn is_greater_than<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

pub(super) fn is_less_than<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(order(args)?.is_lt()))
}
