//! Values with a text form of their own: quantities, times, durations, base64.
//!
//! Each function takes what a client wrote and gives the form that upstream's encoder prints, or upstream's error.
//! Upstream: `resource.Quantity`, `metav1.Time`, `metav1.MicroTime`, `metav1.Duration`, Go's `encoding/base64`.

use std::borrow::Cow;

use apimachinery::quantity::Quantity;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

/// The zero time of Go, which is printed as null.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

/// Upstream's error for what is no quantity.
pub(crate) const QUANTITY_FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The form in which upstream prints a quantity: `1` for `1000m`, `1Gi` for `1024Mi`.
pub(crate) fn canonical_quantity(text: &str) -> Result<String, String> {
    text.parse::<Quantity>().map(|quantity| quantity.to_string()).map_err(|error| error.to_string())
}

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
}

impl Instant {
    pub(crate) fn is_zero(self) -> bool {
        self.seconds == GO_ZERO_SECONDS && self.nanos == 0
    }
}

/// RFC 3339 to an instant; the error is that of Go's `time.Parse`.
pub(crate) fn parse_time(text: &str) -> Result<Instant, String> {
    let refused = || {
        let (rest, layout) = time_rest(text);
        if layout == "Z07:00" && (rest == "Z" || rest.starts_with(['+', '-', '.'])) {
            return format!("parsing time \"{text}\": {} out of range", out_of_range(text));
        }
        format!("parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{rest}\" as \"{layout}\"")
    };
    // jiff also reads other forms of ISO 8601.
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && matches!(
            (bytes.get(4), bytes.get(7), bytes.get(10), bytes.get(13), bytes.get(16)),
            (Some(b'-'), Some(b'-'), Some(b'T'), Some(b':'), Some(b':'))
        );
    if !shaped {
        return Err(refused());
    }
    let timestamp: Timestamp = text.parse().map_err(|_| refused())?;
    Ok(Instant {
        seconds: timestamp.as_second() - i64::from(timestamp.subsec_nanosecond() < 0),
        nanos: timestamp.subsec_nanosecond().rem_euclid(1_000_000_000),
    })
}

/// What Go could not read of a time, and the part of the layout that it expected there.
fn time_rest(text: &str) -> (&str, &'static str) {
    let parts: [(usize, &'static str); 11] = [
        (4, "2006"),
        (1, "-"),
        (2, "01"),
        (1, "-"),
        (2, "02"),
        (1, "T"),
        (2, "15"),
        (1, ":"),
        (2, "04"),
        (1, ":"),
        (2, "05"),
    ];
    let mut at = 0;
    for (width, layout) in parts {
        let Some(part) = text.get(at..at + width) else { return (text.get(at..).unwrap_or_default(), layout) };
        let fits = if width == 1 { part == layout } else { part.bytes().all(|byte| byte.is_ascii_digit()) };
        if !fits {
            return (text.get(at..).unwrap_or_default(), layout);
        }
        at += width;
    }
    (text.get(at..).unwrap_or_default(), "Z07:00")
}

/// The part of a well-formed time that no calendar or clock has.
fn out_of_range(text: &str) -> &'static str {
    let number = |at: usize| text.get(at..at + 2).and_then(|digits| digits.parse::<u8>().ok()).unwrap_or(u8::MAX);
    match (number(5), number(11), number(14), number(17)) {
        (0 | 13.., ..) => "month",
        (_, 24.., ..) => "hour",
        (_, _, 60.., _) => "minute",
        (_, _, _, 60..) => "second",
        _ => "day",
    }
}

/// An instant as `metav1.Time` prints it: whole seconds, UTC.
pub(crate) fn format_time(instant: Instant) -> Option<String> {
    if instant.is_zero() {
        return None;
    }
    let timestamp = Timestamp::new(instant.seconds, 0).ok()?;
    Some(format!("{}", timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")))
}

/// An instant as `metav1.MicroTime` prints it: microseconds, UTC.
pub(crate) fn format_micro_time(instant: Instant) -> Option<String> {
    if instant.is_zero() {
        return None;
    }
    let timestamp = Timestamp::new(instant.seconds, instant.nanos.clamp(0, 999_999_999)).ok()?;
    let micros = timestamp.subsec_nanosecond().rem_euclid(1_000_000_000) / 1_000;
    let whole = Timestamp::new(instant.seconds, 0).ok()?;
    Some(format!("{}.{micros:06}Z", whole.strftime("%Y-%m-%dT%H:%M:%S")))
}

/// True when the text is already what `format_time` prints.
pub(crate) fn is_canonical_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z')
}

/// Go's duration text to nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration \"{text}\"");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .ok_or_else(|| format!("time: missing unit in duration \"{text}\""))?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit_end =
            tail.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            other => return Err(format!("time: unknown unit \"{other}\" in duration \"{text}\"")),
        };
        total += number * scale;
        rest = next;
    }
    if total >= 9.2e18 || total.is_nan() {
        return Err(invalid());
    }
    // In range, checked above.
    let nanos = total as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// Nanoseconds as Go prints a duration.
pub(crate) fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let fraction = |whole: u64, part: u64, width: usize, unit: &str| {
        let digits = format!("{part:0width$}");
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { format!("{whole}{unit}") } else { format!("{whole}.{digits}{unit}") }
    };
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => fraction(total / 1_000, total % 1_000, 3, "µs"),
        1_000_000..1_000_000_000 => fraction(total / 1_000_000, total % 1_000_000, 6, "ms"),
        _ => {
            let (seconds, rest) = (total / 1_000_000_000, total % 1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let tail = fraction(seconds % 60, rest, 9, "s");
            match (hours, minutes) {
                (0, 0) => tail,
                (0, _) => format!("{minutes}m{tail}"),
                _ => format!("{hours}h{minutes}m{tail}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Base64 to bytes; line breaks inside are skipped as Go skips them.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let clean: Cow<'_, str> = if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
        Cow::Owned(text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect())
    } else {
        Cow::Borrowed(text)
    };
    STANDARD.decode(clean.as_bytes()).map_err(|error| {
        let offset = match error {
            base64::DecodeError::InvalidByte(offset, _) | base64::DecodeError::InvalidLastSymbol(offset, _) => offset,
            base64::DecodeError::InvalidLength(length) => length,
            base64::DecodeError::InvalidPadding => clean.len(),
        };
        format!("illegal base64 data at input byte {offset}")
    })
}

pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn times() {
        let show = |text: &str| match parse_time(text) {
            Ok(instant) => format!("{:?} {:?}", format_time(instant), format_micro_time(instant)),
            Err(error) => error,
        };
        let cases = [
            "2008-01-01T01:01:01Z",
            "2008-01-01T03:01:01.1234567+02:00",
            "1960-01-01T00:00:00.25Z",
            "0001-01-01T00:00:00Z",
            "2008",
            "yesterday",
            "2008-01-01 01:01:01Z",
            "2008-13-01T01:01:01Z",
            "2008-02-30T01:01:01Z",
        ];
        expect![[r#"
            Some("2008-01-01T01:01:01Z") Some("2008-01-01T01:01:01.000000Z")
            Some("2008-01-01T01:01:01Z") Some("2008-01-01T01:01:01.123456Z")
            Some("1960-01-01T00:00:00Z") Some("1960-01-01T00:00:00.250000Z")
            None None
            parsing time "2008" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "-"
            parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"
            parsing time "2008-01-01 01:01:01Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 01:01:01Z" as "T"
            parsing time "2008-13-01T01:01:01Z": month out of range
            parsing time "2008-02-30T01:01:01Z": day out of range"#]]
        .assert_eq(&cases.map(show).join("\n"));
    }

    #[test]
    fn durations() {
        for text in ["0s", "1ns", "1.5µs", "2ms", "1.25s", "1m0s", "2h0m0.5s", "-3s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(parse_duration("").unwrap_err(), "time: invalid duration \"\"");
    }
}
