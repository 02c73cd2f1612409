//! Formats of strings. Upstream: `kube-openapi/pkg/validation/strfmt` and `apiserver/validation/formats.go`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use super::pattern::Pattern;

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
        match self {
            Self::Password => true,
            Self::BsonObjectId => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Self::Uri => is_uri(text),
            Self::Email => is_email(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.contains('.') && parse_address(text).is_some(),
            Self::Ipv6 => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid(version) => is_uuid(text, version),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::CreditCard => is_credit_card(text),
            Self::Ssn => {
                let bytes = text.as_bytes();
                bytes.len() == 11
                    && bytes.iter().enumerate().all(|(at, byte)| match at {
                        3 | 6 => matches!(byte, b'-' | b' '),
                        _ => byte.is_ascii_digit(),
                    })
            }
            Self::HexColor => {
                let text = text.strip_prefix('#').unwrap_or(text);
                matches!(text.len(), 3 | 6) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            Self::RgbColor => is_rgb(text),
            Self::Byte => is_base64(text),
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

/// Go's `url.ParseRequestURI`: a scheme with anything, or an absolute path.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    if text == "*" {
        return true;
    }
    let mut after_scheme = text;
    let mut has_scheme = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => continue,
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => continue,
            b':' if at == 0 => return false,
            b':' => (has_scheme, after_scheme) = (true, &text[at + 1..]),
            _ => {}
        }
        break;
    }
    let rest = after_scheme.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        return has_scheme;
    }
    let (authority, path) = match rest.strip_prefix("//").filter(|_| has_scheme) {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    is_authority(authority) && escapes_are_good(path)
}

fn escapes_are_good(text: &str) -> bool {
    let hex = |at: usize| text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    text.match_indices('%').all(|(at, _)| hex(at))
}

/// `user:password@host:port`, each part of which may be missing.
fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let in_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(in_user) || !escapes_are_good(user) {
        return false;
    }
    let (name, port) = if host.starts_with('[') {
        match host.rfind(']') {
            Some(end) => host.split_at(end + 1),
            None => return false,
        }
    } else {
        host.split_at(host.rfind(':').unwrap_or(host.len()))
    };
    let port_is_good =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let in_host = |byte: u8| byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
    // Bytes of ASCII are not escaped in hosts, but for the sign itself.
    let escapes = name
        .match_indices('%')
        .all(|(at, _)| name.get(at + 1..at + 3).is_some_and(|hex| hex == "25" || hex.as_bytes()[0] >= b'8'));
    port_is_good && name.bytes().all(in_host) && escapes_are_good(name) && escapes
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

/// A label, or labels and a top-level domain of letters; symbols count as letters. Upstream: `HostnamePattern`.
fn is_hostname(text: &str) -> bool {
    static CHARACTERS: LazyLock<Option<Pattern>> = LazyLock::new(|| Pattern::new(r"^[a-zA-Z0-9\p{S}\p{L}.-]+$").ok());
    static LETTERS: LazyLock<Option<Pattern>> = LazyLock::new(|| Pattern::new(r"^[a-zA-Z\p{L}]+$").ok());
    let all = |pattern: &Option<Pattern>, text: &str| pattern.as_ref().is_some_and(|pattern| pattern.is_match(text));
    let parts: Vec<&str> = text.split('.').collect();
    if text.len() > 255 || parts.iter().any(|part| part.is_empty() || part.len() > 63) || !all(&CHARACTERS, text) {
        return false;
    }
    match parts.as_slice() {
        // By itself a label has one dash at most, and that in the second place.
        [label] => !label.chars().enumerate().any(|(at, c)| c == '-' && at != 1),
        [labels @ .., top] => {
            labels.iter().all(|label| !label.starts_with('-') && !label.ends_with('-'))
                && top.chars().count() >= 2
                && all(&LETTERS, top)
        }
        [] => false,
    }
}

/// An address as Go read them up to 1.17: zeros may lead an octet. Upstream: `netutils.ParseIPSloppy`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let (before, quad) = match text.rfind(':') {
        Some(at) if text.contains('.') => text.split_at(at + 1),
        Some(_) => return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => ("", text),
    };
    let mut octets = [0_u8; 4];
    let mut parts = quad.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = match part.trim_start_matches('0') {
            "" => 0,
            digits => digits.parse().ok()?,
        };
    }
    if parts.next().is_some() {
        return None;
    }
    let address = Ipv4Addr::from(octets);
    match before {
        "" => Some(IpAddr::V4(address)),
        before => format!("{before}{address}").parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let most = match parse_address(address) {
        Some(IpAddr::V4(_)) => 32,
        Some(IpAddr::V6(_)) => 128,
        None => return false,
    };
    let digits = prefix.trim_start_matches('0');
    !prefix.is_empty()
        && prefix.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u8>().is_ok_and(|length| length <= most))
}

/// Padded, with the standard alphabet, and not empty.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
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
    text.bytes().filter(|byte| !matches!(byte, b'-' | b' ' | b'\t' | b'\n' | 0x0c | b'\r')).collect()
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
        14 => starts(&[&[3, 6], &[3, 8]]) || (starts(&[&[3, 0]]) && digits[2] <= 5),
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
    parts.iter().all(|part| !part.is_empty() && (*part == "0" || !part.starts_with('0')) && part.parse::<u8>().is_ok())
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.is_ascii() && text.parse::<jiff::civil::Date>().is_ok()
}

/// A date, `T`, a time to the second that may have a fraction, and a zone. Upstream: `strfmt.IsDateTime`.
fn is_date_time(text: &str) -> bool {
    let mut parts = text.split(['t', 'T']);
    let (Some(date), Some(rest)) = (parts.next(), parts.next()) else { return false };
    let number = |at: usize, most: u8| {
        let digits = rest.get(at..at + 2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|number| number <= most)
    };
    let colon = |at: usize| rest.as_bytes().get(at) == Some(&b':');
    if !(is_date(date) && number(0, 23) && colon(2) && number(3, 59) && colon(5) && number(6, 59)) {
        return false;
    }
    let rest = &rest[8..];
    let zone = |text: &str| match text.as_bytes() {
        [b'z' | b'Z'] => true,
        [b'+' | b'-', hours @ .., b':', a, b] if hours.len() == 2 => hours.iter().chain([a, b]).all(u8::is_ascii_digit),
        _ => false,
    };
    // Upstream's pattern takes any character for the dot.
    let fraction = rest.char_indices().nth(1).and_then(|(at, _)| {
        let digits = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        (digits > 0).then(|| &rest[at + digits..])
    });
    zone(rest) || fraction.is_some_and(zone)
}

/// Go's durations; otherwise it is enough that a number with a unit stands somewhere in it, so that Scala's `1 hour 3
/// minutes` and ISO's `PT5M` count. Upstream: `strfmt.ParseDuration`.
fn is_duration(text: &str) -> bool {
    // The last of each may go on: `second`, `secs`.
    const UNITS: [(&[&str], &str); 8] = [
        (&["ns"], "nano"),
        (&["us", "µs"], "micro"),
        (&["ms"], "milli"),
        (&["s"], "sec"),
        (&["m"], "min"),
        (&["h", "hr"], "hour"),
        (&["d"], "day"),
        (&["w", "wk"], "week"),
    ];
    if crate::values::parse_duration(text).is_ok() {
        return true;
    }
    let mut rest = text;
    let mut found = false;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        let letters = after.find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ')).unwrap_or(after.len());
        let unit = after[..letters].to_lowercase();
        rest = &after[letters..];
        if letters == 0 {
            continue;
        }
        if number.parse::<i64>().is_err() {
            return false;
        }
        found |= UNITS.iter().any(|(exact, prefix)| exact.contains(&unit.as_str()) || unit.starts_with(prefix));
    }
    found
}
