//! `"…".format([…])`. Upstream: `cel-go/ext/formatting.go` with the locale `en_US`, which groups the digits of `%f`.

use super::{Args, Out, convert, time};
use crate::{
    error::EvalError,
    value::{List, Map, Value},
};

const DEFAULT_PRECISION: usize = 6;
const MAX_PRECISION: usize = 100;
const MAX_DEPTH: u32 = 64;

type Text = Result<String, String>;

pub(super) fn format<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (template, list) = (args.string(0)?, args.list(1)?);
    run(&template, &list).map(Value::string).map_err(EvalError::text)
}

fn run(template: &str, list: &List<'_>) -> Text {
    let mut out = String::with_capacity(template.len());
    let mut next = 0;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let value = list.get(next).ok_or_else(|| format!("index {next} out of range"))?;
        if rest.is_empty() {
            return Err("unexpected end of string".to_owned());
        }
        next += 1;
        let (precision, after) =
            precision(rest).map_err(|error| format!("could not parse formatting clause: {error}"))?;
        let clause = after.chars().next().ok_or("could not find end of precision specifier")?;
        rest = &after[clause.len_utf8()..];
        let precision = precision.unwrap_or(DEFAULT_PRECISION);
        let text = match clause {
            's' => string(&value, 0),
            'd' => decimal(&value),
            'f' => number(&value, "fixed-point").map(|number| fixed(number, precision)),
            'e' => number(&value, "scientific").map(|number| scientific(number, precision)),
            'b' => binary(&value),
            'x' => hex(&value),
            'X' => hex(&value).map(|text| text.to_uppercase()),
            'o' => octal(&value),
            other => {
                return Err(format!("could not parse formatting clause: unrecognized formatting clause \"{other}\""));
            }
        };
        out.push_str(&text.map_err(|error| format!("error during formatting: {error}"))?);
    }
    out.push_str(rest);
    Ok(out)
}

fn precision(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(after) = text.strip_prefix('.') else { return Ok((None, text)) };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits == after.len() {
        return Err("error while parsing precision: could not find end of precision specifier".to_owned());
    }
    let (number, rest) = after.split_at(digits);
    let value: usize = number.parse().map_err(|_| {
        format!(
            "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \"{number}\": invalid syntax"
        )
    })?;
    if value > MAX_PRECISION {
        return Err(format!(
            "error while parsing precision: precision {value} exceeds maximum allowed precision {MAX_PRECISION}"
        ));
    }
    Ok((Some(value), rest))
}

fn given(value: &Value<'_>) -> String {
    convert::shown_type(value)
}

fn string(value: &Value<'_>, depth: u32) -> Text {
    match value {
        Value::List(items) => list(items, depth),
        Value::Map(entries) => map(entries, depth),
        Value::Null => Ok("null".to_owned()),
        Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Bool(_)
        | Value::String(_)
        | Value::Timestamp(_)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Type(_) => match convert::to_string(value) {
            Some(Ok(text)) => Ok(text.to_string()),
            _ => Err(format!("could not convert argument \"{value}\" to string")),
        },
        other => Err(format!(
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
            given(other)
        )),
    }
}

/// A value inside a list or map: as the language writes it.
fn inner(value: &Value<'_>, depth: u32) -> Text {
    if depth > MAX_DEPTH {
        return Err("nesting too deep".to_owned());
    }
    Ok(match value {
        Value::String(text) => format!("{:?}", &**text),
        Value::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
        Value::Timestamp(at) => format!("timestamp(\"{}\")", at),
        Value::Duration(nanos) => format!("duration(\"{}\")", time::show_duration(*nanos)),
        Value::Double(number) if number.is_finite() => format!("{number:.DEFAULT_PRECISION$}"),
        Value::Double(number) => format!("\"{}\"", convert::double_to_string(*number)),
        other => string(other, depth)?,
    })
}

fn list(items: &List<'_>, depth: u32) -> Text {
    let parts: Result<Vec<String>, String> = items.iter().map(|item| inner(&item, depth + 1)).collect();
    Ok(format!("[{}]", parts?.join(", ")))
}

fn map(entries: &Map<'_>, depth: u32) -> Text {
    let mut parts = Vec::new();
    for (key, value) in entries.entries() {
        let key = match &key {
            Value::String(text) => format!("{:?}", &**text),
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) => key.to_string(),
            other => return Err(format!("no formatting function for map key of type {}", given(other))),
        };
        parts.push((key, inner(&value, depth + 1)?));
    }
    parts.sort();
    let parts: Vec<String> = parts.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", parts.join(", ")))
}

fn decimal(value: &Value<'_>) -> Text {
    match value {
        Value::Int(_) | Value::Uint(_) => Ok(value.to_string()),
        other => Err(format!("decimal clause can only be used on integers, was given {}", given(other))),
    }
}

fn number(value: &Value<'_>, clause: &str) -> Result<f64, String> {
    match value {
        Value::Double(number) => Ok(*number),
        Value::String(text) => match &**text {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(format!("{clause} clause can only be used on doubles, was given string")),
        },
        other => Err(format!("{clause} clause can only be used on doubles, was given {}", given(other))),
    }
}

fn special(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("NaN")
    } else if number.is_infinite() {
        Some(if number > 0.0 { "\u{221e}" } else { "-\u{221e}" })
    } else {
        None
    }
}

fn fixed(number: f64, precision: usize) -> String {
    if let Some(name) = special(number) {
        return name.to_owned();
    }
    let text = format!("{:.precision$}", number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::with_capacity(text.len() + 4);
    if number.is_sign_negative() && number != 0.0 {
        out.push('-');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if precision > 0 {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn scientific(number: f64, precision: usize) -> String {
    if let Some(name) = special(number) {
        return name.to_owned();
    }
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ("\u{207b}", digits),
        None => ("", exponent),
    };
    let raised: String = format!("{digits:0>2}").chars().map(raise).collect();
    format!("{mantissa}\u{202f}\u{d7}\u{202f}10{sign}{raised}")
}

fn raise(digit: char) -> char {
    match digit {
        '1' => '\u{b9}',
        '2' => '\u{b2}',
        '3' => '\u{b3}',
        other => other.to_digit(10).and_then(|value| char::from_u32(0x2070 + value)).unwrap_or(other),
    }
}

/// Negative numbers have a sign, not a complement.
fn signed(value: i64, text: impl Fn(u64) -> String) -> String {
    let digits = text(value.unsigned_abs());
    if value < 0 { format!("-{digits}") } else { digits }
}

fn binary(value: &Value<'_>) -> Text {
    match value {
        Value::Int(value) => Ok(signed(*value, |value| format!("{value:b}"))),
        Value::Uint(value) => Ok(format!("{value:b}")),
        Value::Bool(value) => Ok(u8::from(*value).to_string()),
        other => Err(format!("only integers and bools can be formatted as binary, was given {}", given(other))),
    }
}

fn hex(value: &Value<'_>) -> Text {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::Int(value) => Ok(signed(*value, |value| format!("{value:x}"))),
        Value::Uint(value) => Ok(format!("{value:x}")),
        Value::String(text) => Ok(bytes(text.as_bytes())),
        Value::Bytes(content) => Ok(bytes(content)),
        other => {
            let given = given(other);
            Err(format!("only integers, byte buffers, and strings can be formatted as hex, was given {given}"))
        }
    }
}

fn octal(value: &Value<'_>) -> Text {
    match value {
        Value::Int(value) => Ok(signed(*value, |value| format!("{value:o}"))),
        Value::Uint(value) => Ok(format!("{value:o}")),
        other => Err(format!("octal clause can only be used on integers, was given {}", given(other))),
    }
}
