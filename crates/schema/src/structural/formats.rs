//! Formats of strings. Upstream: `kube-openapi/pkg/validation/strfmt` and `apiserver/validation/formats.go`.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;

/// A format that strings are checked against. Others are ignored, as upstream ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    BsonObjectId,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    /// The version, 0 for any.
    Uuid(u8),
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    HexColor,
    RgbColor,
    Byte,
    Password,
    Date,
    Duration,
    DateTime,
    ShortName,
    LongName,
}

impl Format {
    /// By its name; dashes do not count.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.replace('-', "").as_str() {
            "bsonobjectid" => Self::BsonObjectId,
            "uri" => Self::Uri,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "mac" => Self::Mac,
            "uuid" => Self::Uuid(0),
            "uuid3" => Self::Uuid(3),
            "uuid4" => Self::Uuid(4),
            "uuid5" => Self::Uuid(5),
            "isbn" => Self::Isbn,
            "isbn10" => Self::Isbn10,
            "isbn13" => Self::Isbn13,
            "creditcard" => Self::CreditCard,
            "ssn" => Self::Ssn,
            "hexcolor" => Self::HexColor,
            "rgbcolor" => Self::RgbColor,
            "byte" => Self::Byte,
            "password" => Self::Password,
            "date" => Self::Date,
            "duration" => Self::Duration,
            "datetime" => Self::DateTime,
            "k8sshortname" => Self::ShortName,
            "k8slongname" => Self::LongName,
            _ => return None,
        })
    }

    /// Whether a schema of this type may carry the format at all.
    pub fn is_known(name: &str, json_type: &str) -> bool {
        match json_type {
            "" | "string" => Self::parse(name).is_some(),
            "integer" => matches!(name, "int32" | "int64"),
            "number" => matches!(name, "float" | "double"),
            _ => false,
        }
    }

    pub fn is_match(self, text: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Password => true,
            Self::BsonObjectId => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Uri => is_uri(text),
            Self::Email => is_email(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid(version) => is_uuid(text, version),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::CreditCard => is_credit_card(text),
            Self::Ssn => {
                let parts: Vec<&str> = text.split(['-', ' ']).collect();
                match parts.as_slice() {
                    [whole] => digits(whole) && whole.len() == 9,
                    [first, rest] => {
                        digits(first) && digits(rest) && matches!((first.len(), rest.len()), (3, 6) | (5, 4))
                    }
                    [a, b, c] => digits(a) && digits(b) && digits(c) && (a.len(), b.len(), c.len()) == (3, 2, 4),
                    _ => false,
                }
            }
            Self::HexColor => {
                let text = text.strip_prefix('#').unwrap_or(text);
                matches!(text.len(), 3 | 6) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            Self::RgbColor => is_rgb(text),
            Self::Byte => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
            Self::Date => is_date(text),
            Self::Duration => is_duration(text),
            Self::DateTime => is_date_time(text),
            Self::ShortName => is_label(text),
            Self::LongName => text.len() <= 253 && !text.is_empty() && text.split('.').all(is_long_part),
        }
    }
}

fn is_long_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_long_part(text)
}

/// Go's `url.ParseRequestURI`: absolute, or a path.
fn is_uri(text: &str) -> bool {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f || byte == b' ') {
        return false;
    }
    let percent_is_good = |text: &str| {
        text.match_indices('%')
            .all(|(at, _)| text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
    };
    if text.starts_with('/') {
        return percent_is_good(text);
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut bytes = scheme.bytes();
    let named = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    named && !rest.is_empty() && percent_is_good(rest)
}

/// The common part of what Go's `mail.ParseAddress` takes: `name <local@domain>` or `local@domain`.
fn is_email(text: &str) -> bool {
    let address = match text.trim().strip_suffix('>') {
        Some(inner) => match inner.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte) || byte >= 0x80;
    let dotted =
        |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.bytes().all(atom));
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (dotted(local) || quoted) && (dotted(domain) || literal)
}

/// RFC 1034, with letters of other scripts allowed as upstream's pattern allows them.
fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 255
        && text.split('.').all(|part| {
            !part.is_empty()
                && part.chars().count() <= 63
                && part.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let most = if address.parse::<Ipv4Addr>().is_ok() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    let plain = prefix.len() == 1 || !prefix.starts_with('0');
    plain && prefix.bytes().all(|byte| byte.is_ascii_digit()) && prefix.parse::<u8>().is_ok_and(|length| length <= most)
}

/// EUI-48, EUI-64 or 20 octets, in the notations of Go's `net.ParseMAC`.
fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn is_uuid(text: &str, version: u8) -> bool {
    let hex: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if hex.len() != 32 || !hex.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    // Each dash may be there or not, but nowhere else.
    let mut position = 0;
    for byte in text.bytes() {
        if byte == b'-' {
            if !matches!(position, 8 | 12 | 16 | 20) {
                return false;
            }
        } else {
            position += 1;
        }
    }
    if text.contains("--") {
        return false;
    }
    let variant = matches!(hex[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b');
    match version {
        3 => hex[12] == b'3',
        4 | 5 => hex[12] == b'0' + version && variant,
        _ => true,
    }
}

fn isbn_digits(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 10 {
        return false;
    }
    let mut sum = 0_u32;
    for (place, byte) in (1_u32..).zip(&digits) {
        sum += place
            * match byte {
                b'0'..=b'9' => u32::from(byte - b'0'),
                b'X' if place == 10 => 10,
                _ => return false,
            };
    }
    sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 =
        digits.iter().enumerate().map(|(at, byte)| u32::from(byte - b'0') * if at % 2 == 0 { 1 } else { 3 }).sum();
    sum.is_multiple_of(10)
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0')).collect();
    let starts = |prefixes: &[&[u32]]| prefixes.iter().any(|prefix| digits.starts_with(prefix));
    let known = match digits.len() {
        13 => starts(&[&[4]]),
        14 => starts(&[&[3, 6], &[3, 8], &[3, 0]]),
        15 => starts(&[&[3, 4], &[3, 7], &[2, 1, 3, 1], &[1, 8, 0, 0]]),
        16 => starts(&[&[4], &[5, 1], &[5, 2], &[5, 3], &[5, 4], &[5, 5], &[6, 0, 1, 1], &[6, 5], &[3, 5]]),
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    known && sum.is_multiple_of(10)
}

fn is_rgb(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    let [_, _, _] = parts.as_slice() else { return false };
    parts.iter().all(|part| {
        let part = part.strip_suffix('%').unwrap_or(part);
        !part.is_empty() && (part == "0" || !part.starts_with('0')) && part.parse::<u8>().is_ok()
    })
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && text.parse::<jiff::civil::Date>().is_ok()
}

/// The patterns of `strfmt.ParseDateTime`: full date, `T` or a space, a time whose seconds may have a fraction, and a
/// zone that may be missing.
fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 16 || !matches!(bytes[10], b't' | b'T' | b' ') {
        return false;
    }
    let Some((date, time)) = text.get(..10).zip(text.get(11..)) else { return false };
    if !is_date(date) {
        return false;
    }
    let zone = time.find(['z', 'Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone);
    let zone_is_good = match zone {
        "" | "z" | "Z" => true,
        zone => {
            let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
            digits.len() == 4
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits[..2].parse::<u8>().is_ok_and(|hours| hours < 24)
                && digits[2..].parse::<u8>().is_ok_and(|minutes| minutes < 60)
        }
    };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let parts: Vec<&str> = whole.split(':').collect();
    let number = |text: &str, most: u8| {
        text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|n| n <= most)
    };
    let clock_is_good = match parts.as_slice() {
        [hours, minutes] => number(hours, 23) && number(minutes, 59),
        [hours, minutes, seconds] => number(hours, 23) && number(minutes, 59) && number(seconds, 59),
        _ => false,
    };
    let fraction_is_good = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    zone_is_good && clock_is_good && fraction_is_good
}

/// Go's durations, and Scala's: `22 ns`, `1 hour 3 minutes`.
fn is_duration(text: &str) -> bool {
    if crate::values::parse_duration(text).is_ok() {
        return true;
    }
    const UNITS: [&str; 35] = [
        "ns",
        "nano",
        "nanos",
        "nanosecond",
        "nanoseconds",
        "us",
        "µs",
        "micro",
        "micros",
        "microsecond",
        "microseconds",
        "ms",
        "milli",
        "millis",
        "millisecond",
        "milliseconds",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "m",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hr",
        "hrs",
        "hour",
        "hours",
        "d",
        "day",
        "days",
        "w",
    ];
    let mut rest = text.trim();
    let mut found = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return false;
        }
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = rest[..letters].to_lowercase();
        let known = UNITS.contains(&unit.as_str()) || matches!(unit.as_str(), "wk" | "week" | "weeks");
        if !known {
            return false;
        }
        found = true;
        rest = rest[letters..].trim_start();
    }
    found
}
