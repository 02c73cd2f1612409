//! Amounts of resources: `100m`, `1.5`, `2Gi`, `3e6`. Upstream: `k8s.io/apimachinery/pkg/api/resource`.

use std::{cmp::Ordering, fmt, str::FromStr};

/// An exact amount, in billionths. Parsing rounds away from zero what is finer, and caps what is larger than
/// 2^63-1, as upstream does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The form in which a quantity was written, kept when it is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `1k`, `1M`, `100m`
    #[default]
    DecimalSi,
    /// `1Ki`, `1Mi`
    BinarySi,
    /// `1e3`
    DecimalExponent,
}

/// Not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Malformed.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
const CAP: i128 = (i64::MAX as i128) * NANO;

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// Whole units.
    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANO, format }
    }

    /// Thousandths.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * 1_000_000, format: Format::DecimalSi }
    }

    /// Whole units, rounded away from zero. Upstream: `Value`.
    pub fn value(&self) -> i64 {
        scale(self.nanos, NANO)
    }

    /// Thousandths, rounded away from zero. Upstream: `MilliValue`.
    pub fn milli_value(&self) -> i64 {
        scale(self.nanos, 1_000_000)
    }

    /// The amount as a floating-point number.
    #[expect(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// Less than, equal to or greater than zero.
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Form in which it is printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sum, printed in this one's form, or the other's where this is zero.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-CAP, CAP), format }
    }

    /// The difference, printed in this one's form, or the other's where this is zero.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&Self { nanos: -other.nanos, format: other.format })
    }

    /// The canonical text of a quantity, or the text itself where it is none.
    pub fn canonicalize(text: &str) -> String {
        text.parse::<Self>().map_or_else(|_| text.to_owned(), |quantity| quantity.to_string())
    }
}

/// Division that rounds away from zero, within an i64.
fn scale(nanos: i128, by: i128) -> i64 {
    let quotient = nanos / by;
    let rounded = if nanos % by == 0 { quotient } else { quotient + nanos.signum() };
    i64::try_from(rounded).unwrap_or(if rounded > 0 { i64::MAX } else { i64::MIN })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            None => return Err(ParseError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = unsigned.split_at(digits);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(ParseError::Format);
        }
        let (multiplier, format) = parse_suffix(suffix)?;
        let nanos = assemble(whole, fraction, multiplier);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// What a unit is worth.
#[derive(Clone, Copy)]
enum Multiplier {
    /// 2 to this power.
    Binary(u32),
    /// 10 to this power.
    Decimal(i32),
}

fn parse_suffix(suffix: &str) -> Result<(Multiplier, Format), ParseError> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|s| *s == suffix);
    if let Some(index) = binary {
        let power = 10 * (u32::try_from(index).unwrap_or(0) + 1);
        return Ok((Multiplier::Binary(power), Format::BinarySi));
    }
    let power = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(|| suffix_error(suffix))?;
            let power: i32 = exponent.parse().map_err(|_| suffix_error(suffix))?;
            return Ok((Multiplier::Decimal(power), Format::DecimalExponent));
        }
    };
    Ok((Multiplier::Decimal(power), Format::DecimalSi))
}

/// Upstream tells letters that could have been a suffix from anything else.
fn suffix_error(suffix: &str) -> ParseError {
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if rest.bytes().all(|b| b.is_ascii_digit()) { ParseError::Suffix } else { ParseError::Format }
}

/// Billionths of `whole.fraction` times the multiplier, rounded up and capped.
fn assemble(whole: &str, fraction: &str, multiplier: Multiplier) -> i128 {
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|b| *b == b'0').collect();
    if digits.is_empty() {
        return 0;
    }
    // 10^power is what one unit of the last digit is worth, in billionths.
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let (power, shift) = match multiplier {
        Multiplier::Binary(shift) => (9 - fraction_digits, shift),
        Multiplier::Decimal(power) => (9 - fraction_digits + i64::from(power), 0),
    };
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    if count.saturating_add(power) > 30 {
        return CAP;
    }
    // Digits finer than a billionth of a binary unit still matter once shifted, so a few more are kept; what
    // is cut off behind them only decides the rounding.
    let guard = i64::from(shift) / 3;
    let keep = usize::try_from((count + power + guard).clamp(0, count)).unwrap_or(0).min(36);
    let mut lost = digits[keep..].iter().any(|b| *b != b'0');
    let mut power = power + (count - i64::try_from(keep).unwrap_or(0));
    let mut value = digits[..keep]
        .iter()
        .fold(0_i128, |value, digit| value.saturating_mul(10).saturating_add(i128::from(digit - b'0')));
    value = value.checked_shl(shift).filter(|v| v >> shift == value).unwrap_or(i128::MAX / 2);
    while power > 0 {
        value = value.saturating_mul(10);
        power -= 1;
    }
    while power < 0 {
        lost |= value % 10 != 0;
        value /= 10;
        power += 1;
        if value == 0 {
            break;
        }
    }
    (value + i128::from(lost)).min(CAP)
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that keeps it exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        // Small and fractional amounts cannot be printed with binary suffixes; upstream falls back to decimal.
        if self.format == Format::BinarySi && whole && (self.nanos / NANO).abs() >= 1024 {
            let mut value = self.nanos / NANO;
            let mut suffix = 0;
            while value % 1024 == 0 && suffix < 6 {
                value /= 1024;
                suffix += 1;
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][suffix]);
        }
        let mut value = self.nanos;
        let mut power = -9;
        while value % 1000 == 0 && power < 18 {
            value /= 1000;
            power += 3;
        }
        if self.format == Format::DecimalExponent {
            return if power == 0 { write!(f, "{value}") } else { write!(f, "{value}e{power}") };
        }
        let suffix = match power {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            0 => "",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            _ => "E",
        };
        write!(f, "{value}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, canonical) in [
            ("0", "0"),
            ("1", "1"),
            ("1000", "1k"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12E", "9223372036854775807"),
            ("1E", "1E"),
            ("-1k", "-1k"),
            ("+1", "1"),
            ("1.", "1"),
            (".5", "500m"),
            ("1n", "1n"),
            ("0.0000000001", "1n"),
            ("1000Ki", "1000Ki"),
            ("9223372036854775807", "9223372036854775807"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
            ("1e-3", "1e-3"),
            ("0.1Mi", "104857600m"),
        ] {
            assert_eq!(text.parse::<Quantity>().map(|q| q.to_string()), Ok(canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in ["", "a", "1x", "--1", "1.1.1", "1Kii", "e3", ".", " 1", "1 "] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
        let huge = format!("{}e999999999", "9".repeat(5000));
        assert_eq!(huge.parse::<Quantity>().map(|q| q.value()), Ok(i64::MAX));
        assert_eq!("1e-999999999".parse::<Quantity>().map(|q| q.to_string()), Ok("1e-9".to_owned()));
    }

    #[test]
    fn values_round_away_from_zero() {
        let value = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(value("1m").value(), 1);
        assert_eq!(value("-1m").value(), -1);
        assert_eq!(value("1500u").milli_value(), 2);
        assert_eq!(value("2Gi").value(), 2 << 30);
        assert!(value("1Gi") > value("1G"));
        assert_eq!(value("1Gi").plus(&value("512Mi")).to_string(), "1536Mi");
        assert_eq!(value("1").minus(&value("300m")).to_string(), "700m");
    }
}
