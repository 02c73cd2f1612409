//! Times as they are written in objects. Upstream: `metav1.Time` and `metav1.MicroTime`.

use jiff::{Timestamp, fmt::strtime};

/// A time to the second, `2024-01-02T03:04:05Z`.
pub fn format_seconds(time: Timestamp) -> String {
    format(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// A time to the microsecond, always with six digits.
pub fn format_micros(time: Timestamp) -> String {
    format(time, "%Y-%m-%dT%H:%M:%S.%6fZ")
}

fn format(time: Timestamp, format: &str) -> String {
    strtime::format(format, time).unwrap_or_else(|_| time.to_string())
}

/// Reads an RFC 3339 time.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A duration as Go writes it: `300ms`, `1h2m3.5s`, `0`. Upstream: `time.ParseDuration`, for times that are not negative.
pub fn parse_go_duration(text: &str) -> Result<std::time::Duration, String> {
    const UNITS: &[(&str, u64)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let invalid = || format!("time: invalid duration {}", crate::field::go_quote(text));
    if text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0_u64);
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration {}", crate::field::go_quote(text)))?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let mut part = whole.checked_mul(*scale).ok_or_else(invalid)?;
        let mut place = *scale;
        for digit in fraction.bytes().take(18) {
            place /= 10;
            part = part.checked_add(u64::from(digit - b'0') * place).ok_or_else(invalid)?;
        }
        total = total.checked_add(part).filter(|total| *total <= i64::MAX.unsigned_abs()).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(std::time::Duration::from_nanos(total))
}

/// How old something is, in the two largest units that say enough: `45s`, `5m12s`, `3h`, `12d`.
/// Upstream: `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
pub fn human_duration(seconds: i64) -> String {
    let with_rest = |value: i64, unit: &str, rest: i64, rest_unit: &str| {
        if rest == 0 { format!("{value}{unit}") } else { format!("{value}{unit}{rest}{rest_unit}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => with_rest(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with_rest(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with_rest(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => with_rest(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        let good = |text: &str| parse_go_duration(text).unwrap().as_millis();
        for (text, milliseconds) in
            [("0", 0), ("5m", 300_000), ("1h2m3.5s", 3_723_500), ("300ms", 300), (".5s", 500), ("1.s", 1000)]
        {
            assert_eq!(good(text), milliseconds, "{text}");
        }
        for text in ["", "5", "5x", "-5s", "s", ".s", "1..5s", "9999999999h", "5m "] {
            assert!(parse_go_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_072_000 + 86_400, "2y1d"),
            (300_000_000, "9y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn times() {
        let time = parse("2024-01-02T03:04:05.123456789Z").unwrap();
        assert_eq!(format_seconds(time), "2024-01-02T03:04:05Z");
        assert_eq!(format_micros(time), "2024-01-02T03:04:05.123456Z");
    }
}
