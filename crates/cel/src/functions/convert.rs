//! Conversions between types.

use std::sync::Arc;

use super::{Args, Out, time};
use crate::{
    error::EvalError,
    types::Type,
    value::{Opaque, Str, Timestamp, Value},
};

fn error(from: &Value<'_>, to: &str) -> EvalError {
    EvalError::text(format!("type conversion error from '{}' to '{to}'", from.type_name()))
}

pub(super) fn dynamic<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(args.take(0))
}

pub(super) fn type_of<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Type(Arc::new(args.get(0).type_of())))
}

pub(super) fn bool<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.get(0) {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        value @ Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(error(value, "bool")),
        },
        _ => Err(args.mismatch()),
    }
}

pub(super) fn bytes<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.take(0) {
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        bytes @ Value::Bytes(_) => Ok(bytes),
        other => {
            args.values[0] = other;
            Err(args.mismatch())
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "that is what the conversion does")]
pub(super) fn double<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Double(match args.get(0) {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        value @ Value::String(text) => parse_double(text).ok_or_else(|| error(value, "double"))?,
        _ => return Err(args.mismatch()),
    }))
}

/// As Go reads doubles: `inf`, `Infinity` and `nan` in any case, and numbers in range.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let parsed: f64 = text.parse().ok()?;
    let named = text.chars().any(|char| matches!(char, 'n' | 'N'));
    (parsed.is_finite() || named).then_some(parsed)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "checked before")]
pub(super) fn int<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    const OVERFLOW: EvalError = EvalError::new("integer overflow");
    Ok(Value::Int(match args.get(0) {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_| OVERFLOW)?,
        Value::Double(value) if *value > i64::MIN as f64 && *value < i64::MAX as f64 => *value as i64,
        Value::Double(_) => return Err(OVERFLOW),
        Value::Duration(nanos) => *nanos,
        Value::Timestamp(at) => at.seconds(),
        value @ Value::String(text) => text.parse().map_err(|_| error(value, "int"))?,
        _ => return Err(args.mismatch()),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "checked before"
)]
pub(super) fn uint<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    const OVERFLOW: EvalError = EvalError::new("unsigned integer overflow");
    Ok(Value::Uint(match args.get(0) {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_| OVERFLOW)?,
        Value::Double(value) if *value >= 0.0 && *value < u64::MAX as f64 => *value as u64,
        Value::Double(_) => return Err(OVERFLOW),
        value @ Value::String(text) if !text.starts_with('+') => text.parse().map_err(|_| error(value, "uint"))?,
        value @ Value::String(_) => return Err(error(value, "uint")),
        _ => return Err(args.mismatch()),
    }))
}

pub(super) fn string<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let value = args.take(0);
    match to_string(&value) {
        Some(text) => text.map(Value::String),
        None => {
            args.values[0] = value;
            Err(args.mismatch())
        }
    }
}

/// The text that `string(x)` gives; none for types that have no such conversion.
pub(crate) fn to_string<'a>(value: &Value<'a>) -> Option<Result<Str<'a>, EvalError>> {
    let text = match value {
        Value::String(text) => return Some(Ok(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_to_string(*value),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Some(Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))),
        },
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(nanos) => time::show_duration(*nanos),
        Value::Type(ty) => ty.run_time_name().to_owned(),
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Ip(_) | Opaque::Cidr(_) => opaque.to_string(),
            _ => return None,
        },
        _ => return None,
    };
    Some(Ok(Str::Shared(text.into())))
}

pub(super) fn timestamp<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    const OVERFLOW: EvalError = EvalError::new("timestamp overflow");
    match args.get(0) {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(seconds) => Timestamp::new(*seconds, 0).map(Value::Timestamp).ok_or(OVERFLOW),
        value @ Value::String(text) => {
            time::parse_timestamp(text).map(Value::Timestamp).map_err(|_| error(value, "google.protobuf.Timestamp"))
        }
        _ => Err(args.mismatch()),
    }
}

pub(super) fn duration<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    match args.get(0) {
        Value::Duration(nanos) => Ok(Value::Duration(*nanos)),
        value @ Value::String(text) => {
            time::parse_duration(text).map(Value::Duration).map_err(|_| error(value, "google.protobuf.Duration"))
        }
        _ => Err(args.mismatch()),
    }
}

/// As Go prints doubles with `%g`: the shortest digits, with an exponent below -4 and from 21 on.
pub(crate) fn double_to_string(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// The type of a value as messages name it.
pub(crate) fn shown_type(value: &Value<'_>) -> String {
    match value.type_of() {
        Type::Map(_) => "map".to_owned(),
        Type::List(_) => "list".to_owned(),
        other => other.run_time_name().to_owned(),
    }
}
