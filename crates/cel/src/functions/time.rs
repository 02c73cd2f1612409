//! Times and durations: parsing and printing as Go does, and their parts.

use jiff::{civil, tz::TimeZone};

use super::{Args, Out};
use crate::{
    error::EvalError,
    value::{Timestamp, Value},
};

/// Not a time, or out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotATime;

const NANOS: i64 = 1_000_000_000;

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, NotATime> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Result<i16, NotATime> {
        let part = text.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit())).ok_or(NotATime)?;
        part.parse().map_err(|_| NotATime)
    };
    let small = |from: usize| digits(from, from + 2).and_then(|value| i8::try_from(value).map_err(|_| NotATime));
    let sign = |at: usize, expected: &[u8]| bytes.get(at).filter(|b| expected.contains(b)).map(|_| ()).ok_or(NotATime);
    for (at, expected) in [(4, b"-".as_slice()), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")] {
        sign(at, expected)?;
    }
    let mut at = 19;
    let mut nanos = 0_i32;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let fraction = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        if fraction == 0 {
            return Err(NotATime);
        }
        let kept = &text[at + 1..at + 1 + fraction.min(9)];
        let value: i32 = kept.parse().map_err(|_| NotATime)?;
        nanos = value * 10_i32.pow(u32::try_from(9 - kept.len()).unwrap_or(0));
        at += 1 + fraction;
    }
    let offset = match bytes.get(at) {
        Some(b'Z') if bytes.len() == at + 1 => 0_i64,
        Some(sign @ (b'+' | b'-')) if bytes.len() == at + 6 && bytes[at + 3] == b':' => {
            let (hours, minutes) = (i64::from(small(at + 1)?), i64::from(small(at + 4)?));
            if hours > 24 || minutes > 60 {
                return Err(NotATime);
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return Err(NotATime),
    };
    let date = civil::Date::new(digits(0, 4)?, small(5)?, small(8)?).map_err(|_| NotATime)?;
    let clock = civil::Time::new(small(11)?, small(14)?, small(17)?, nanos).map_err(|_| NotATime)?;
    let local = Timestamp::from_civil(date, clock).ok_or(NotATime)?;
    Timestamp::from_nanos(local.as_nanos() - i128::from(offset) * 1_000_000_000).ok_or(NotATime)
}

/// `2006-01-02`.
pub(crate) fn parse_date(text: &str) -> Result<Timestamp, NotATime> {
    if text.len() != 10 {
        return Err(NotATime);
    }
    parse_timestamp(&format!("{text}T00:00:00Z"))
}

/// Go's durations: `1h30m`, `1.5s`, `300ms`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, NotATime> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(NotATime);
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (integer, after) = rest.split_at(whole);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if integer.is_empty() && fraction.is_empty() || integer.len() > 19 {
            return Err(NotATime);
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => i128::from(NANOS),
            "m" => 60 * i128::from(NANOS),
            "h" => 3600 * i128::from(NANOS),
            _ => return Err(NotATime),
        };
        let integer: i128 = if integer.is_empty() { 0 } else { integer.parse().map_err(|_| NotATime)? };
        total += integer * scale;
        let kept = &fraction[..fraction.len().min(18)];
        if !kept.is_empty() {
            let value: i128 = kept.parse().map_err(|_| NotATime)?;
            total += value * scale / 10_i128.pow(u32::try_from(kept.len()).unwrap_or(0));
        }
        if total > i128::from(i64::MAX) + 1 {
            return Err(NotATime);
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| NotATime)
}

/// Seconds, as `string()` shows them: `1.5s`.
#[expect(clippy::cast_precision_loss, reason = "upstream prints seconds as a double")]
pub(crate) fn show_duration(nanos: i64) -> String {
    let seconds = (nanos / NANOS) as f64 + (nanos % NANOS) as f64 / 1e9;
    format!("{seconds}s")
}

/// `getHours()` and its like, of times and durations.
pub(super) fn get<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let function = args.function;
    match args.get(0) {
        Value::Duration(nanos) if args.len() == 1 => Ok(Value::Int(match function {
            "getHours" => nanos / (3600 * NANOS),
            "getMinutes" => nanos / (60 * NANOS),
            "getSeconds" => nanos / NANOS,
            "getMilliseconds" => nanos / 1_000_000,
            _ => return Err(args.mismatch()),
        })),
        Value::Timestamp(at) => {
            let zone = if args.len() == 2 { zone(&args.string(1)?)? } else { TimeZone::UTC };
            let local = at.in_zone(&zone).ok_or(EvalError::new("timestamp overflow"))?;
            Ok(Value::Int(match function {
                "getFullYear" => local.year().into(),
                "getMonth" => i64::from(local.month()) - 1,
                "getDayOfYear" => i64::from(local.date().day_of_year()) - 1,
                "getDayOfMonth" => i64::from(local.day()) - 1,
                "getDate" => local.day().into(),
                "getDayOfWeek" => local.date().weekday().to_sunday_zero_offset().into(),
                "getHours" => local.hour().into(),
                "getMinutes" => local.minute().into(),
                "getSeconds" => local.second().into(),
                _ => local.millisecond().into(),
            }))
        }
        _ => Err(args.mismatch()),
    }
}

fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let Some((hours, minutes)) = name.split_once(':') else {
        if matches!(name, "" | "UTC") {
            return Ok(TimeZone::UTC);
        }
        return TimeZone::get(name).map_err(|_| EvalError::text(format!("unknown time zone {name}")));
    };
    let number = |text: &str| {
        text.parse::<i32>().map_err(|_| EvalError::text(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))
    };
    let (hour, minute) = (number(hours)?, number(minutes)?);
    if !(0..=59).contains(&minute) {
        return Err(EvalError::text(format!("timezone offset minutes out of range [0, 59]: {name}")));
    }
    let total = if name.starts_with('-') { hour * 60 - minute } else { hour.saturating_mul(60) + minute };
    jiff::tz::Offset::from_seconds(total.saturating_mul(60))
        .map(TimeZone::fixed)
        .map_err(|_| EvalError::text(format!("timezone offset out of range: {name}")))
}
