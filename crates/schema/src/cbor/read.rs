//! CBOR to JSON trees, with limits on size, depth and number of values.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;

use crate::json::{Limits, Node, Object};

/// Why bytes are not CBOR that is accepted here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    #[error("unexpected EOF")]
    End,
    #[error("cbor: {extra} bytes of extraneous data starting at index {at}")]
    Trailing { at: usize, extra: usize },
    #[error("cbor: exceeded max nested level {limit}")]
    Depth { limit: usize },
    #[error("request entity too large: limit is {limit}")]
    Size { limit: usize },
    #[error("object has too many values: limit is {limit}")]
    Nodes { limit: usize },
    #[error("cbor: invalid additional information {info} for type {major}")]
    Information { info: u8, major: u8 },
    #[error("cbor: wrong element type {major} for indefinite-length string")]
    Chunk { major: u8 },
    #[error("cbor: unexpected \"break\" code")]
    Break,
    #[error("cbor: {value} overflows Go's int64")]
    Overflow { value: String },
    #[error("cbor: invalid UTF-8 string")]
    Utf8,
    #[error("cbor: map keys are strings")]
    Key,
    #[error("cbor: found duplicate map key {key:?}")]
    Duplicate { key: String },
    #[error("cbor: simple value {value} is not recognized")]
    Simple { value: u8 },
    #[error("cbor: floating-point NaN and infinity have no JSON form")]
    Float,
    #[error("cbor: bignum is not accepted")]
    Bignum,
    #[error("cbor: cannot use the content of tag {tag}")]
    Tag { tag: u64 },
}

/// Exactly one data item.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Node<'static>, CborError> {
    let (node, length) = decode_first(body, limits)?;
    match body.len() - length {
        0 => Ok(node),
        extra => Err(CborError::Trailing { at: length, extra }),
    }
}

/// The first data item of a sequence, and how long it is.
pub fn decode_first(body: &[u8], limits: &Limits) -> Result<(Node<'static>, usize), CborError> {
    if body.len() > limits.bytes {
        return Err(CborError::Size { limit: limits.bytes });
    }
    let mut reader = Reader { body, at: 0, depth: limits.depth, nodes: limits.nodes, limits };
    let node = reader.item()?;
    Ok((node, reader.at))
}

struct Reader<'a, 'l> {
    body: &'a [u8],
    at: usize,
    depth: usize,
    nodes: usize,
    limits: &'l Limits,
}

/// A head: major type, additional information, and the argument, if it has one.
struct Head {
    major: u8,
    info: u8,
    argument: u64,
}

const BREAK: u8 = 0xff;

impl<'a> Reader<'a, '_> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CborError> {
        let end = self.at.checked_add(count).ok_or(CborError::End)?;
        let bytes = self.body.get(self.at..end).ok_or(CborError::End)?;
        self.at = end;
        Ok(bytes)
    }

    fn head(&mut self) -> Result<Head, CborError> {
        let first = *self.take(1)?.first().ok_or(CborError::End)?;
        let (major, info) = (first >> 5, first & 31);
        let width = match info {
            0..=23 => return Ok(Head { major, info, argument: u64::from(info) }),
            24..=27 => 1 << (info - 24),
            31 if matches!(major, 2..=5 | 7) => return Ok(Head { major, info, argument: 0 }),
            _ => return Err(CborError::Information { info, major }),
        };
        let argument = self.take(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        Ok(Head { major, info, argument })
    }

    fn is_break(&mut self) -> Result<bool, CborError> {
        match self.body.get(self.at) {
            None => Err(CborError::End),
            Some(&BREAK) => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    fn spend(&mut self) -> Result<(), CborError> {
        self.nodes = self.nodes.checked_sub(1).ok_or(CborError::Nodes { limit: self.limits.nodes })?;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), CborError> {
        self.depth = self.depth.checked_sub(1).ok_or(CborError::Depth { limit: self.limits.depth })?;
        Ok(())
    }

    fn item(&mut self) -> Result<Node<'static>, CborError> {
        self.spend()?;
        let head = self.head()?;
        match head.major {
            0 => match i64::try_from(head.argument) {
                Ok(value) => Ok(Node::Number(Cow::Owned(value.to_string()))),
                Err(_) => Err(CborError::Overflow { value: head.argument.to_string() }),
            },
            1 => match i64::try_from(head.argument) {
                Ok(value) => Ok(Node::Number(Cow::Owned((-1 - value).to_string()))),
                Err(_) => Err(CborError::Overflow { value: format!("-1-{}", head.argument) }),
            },
            2 | 3 => self.text(&head).map(Node::string),
            4 => self.array(&head),
            5 => self.map(&head),
            6 => self.tagged(head.argument),
            _ => self.simple(&head),
        }
    }

    /// A byte or text string, in one piece or in several.
    fn raw(&mut self, head: &Head) -> Result<Cow<'a, [u8]>, CborError> {
        if head.info != 31 {
            return self.take(usize::try_from(head.argument).map_err(|_| CborError::End)?).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        while !self.is_break()? {
            let chunk = self.head()?;
            if chunk.major != head.major || chunk.info == 31 {
                return Err(CborError::Chunk { major: chunk.major });
            }
            let bytes = self.take(usize::try_from(chunk.argument).map_err(|_| CborError::End)?)?;
            if head.major == 3 && std::str::from_utf8(bytes).is_err() {
                return Err(CborError::Utf8);
            }
            whole.extend_from_slice(bytes);
        }
        Ok(Cow::Owned(whole))
    }

    fn text(&mut self, head: &Head) -> Result<String, CborError> {
        let raw = self.raw(head)?;
        match String::from_utf8(raw.into_owned()) {
            Ok(text) => Ok(text),
            // A Go string may hold any bytes; JSON shows them replaced.
            Err(error) if head.major == 2 => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
            Err(_) => Err(CborError::Utf8),
        }
    }

    fn array(&mut self, head: &Head) -> Result<Node<'static>, CborError> {
        self.enter()?;
        let mut items = Vec::new();
        if head.info == 31 {
            while !self.is_break()? {
                items.push(self.item()?);
            }
        } else {
            for _ in 0..head.argument {
                items.push(self.item()?);
            }
        }
        self.depth += 1;
        Ok(Node::Array(items))
    }

    fn map(&mut self, head: &Head) -> Result<Node<'static>, CborError> {
        self.enter()?;
        let mut members: Vec<(Cow<'static, str>, Node<'static>)> = Vec::new();
        let mut left = head.argument;
        loop {
            if head.info == 31 {
                if self.is_break()? {
                    break;
                }
            } else if left == 0 {
                break;
            } else {
                left -= 1;
            }
            let key = self.head()?;
            if !matches!(key.major, 2 | 3) {
                return Err(CborError::Key);
            }
            let key = self.text(&key)?;
            let value = self.item()?;
            members.push((Cow::Owned(key), value));
        }
        let mut seen = HashSet::with_capacity(members.len());
        if let Some((key, _)) = members.iter().find(|(key, _)| !seen.insert(&**key)) {
            return Err(CborError::Duplicate { key: key.to_string() });
        }
        self.depth += 1;
        Ok(Node::Object(Object(members)))
    }

    fn tagged(&mut self, tag: u64) -> Result<Node<'static>, CborError> {
        // Tags upon tags are nesting, too.
        self.enter()?;
        let node = match tag {
            2 | 3 => return Err(CborError::Bignum),
            0 => match self.item()? {
                Node::String(text) if crate::values::parse_time(&text).is_ok() => Node::String(text),
                _ => return Err(CborError::Tag { tag }),
            },
            1 => match self.item()? {
                Node::Number(seconds) => Node::string(epoch(&seconds).ok_or(CborError::Tag { tag })?),
                _ => return Err(CborError::Tag { tag }),
            },
            21..=23 => {
                let start = self.at;
                let head = self.head()?;
                if head.major == 2 {
                    self.spend()?;
                    let raw = self.raw(&head)?;
                    Node::string(match tag {
                        21 => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(raw),
                        22 => base64::engine::general_purpose::STANDARD.encode(raw),
                        _ => raw.iter().map(|byte| format!("{byte:02X}")).collect::<String>(),
                    })
                } else {
                    self.at = start;
                    self.item()?
                }
            }
            _ => self.item()?,
        };
        self.depth += 1;
        Ok(node)
    }

    fn simple(&mut self, head: &Head) -> Result<Node<'static>, CborError> {
        match head.info {
            20 => Ok(Node::Bool(false)),
            21 => Ok(Node::Bool(true)),
            22 => Ok(Node::Null),
            25 => float(f64::from(from_half(u16::try_from(head.argument).unwrap_or_default()))),
            26 => float(f64::from(f32::from_bits(u32::try_from(head.argument).unwrap_or_default()))),
            27 => float(f64::from_bits(head.argument)),
            31 => Err(CborError::Break),
            24 => Err(CborError::Simple { value: u8::try_from(head.argument).unwrap_or(u8::MAX) }),
            info => Err(CborError::Simple { value: info }),
        }
    }
}

/// A number that JSON shows to be no integer.
fn float(value: f64) -> Result<Node<'static>, CborError> {
    if value.is_finite() { Ok(Node::Number(Cow::Owned(format!("{value:?}")))) } else { Err(CborError::Float) }
}

fn from_half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

/// RFC 3339 text of seconds since 1970.
fn epoch(seconds: &str) -> Option<String> {
    let time = match seconds.parse::<i64>() {
        Ok(whole) => jiff::Timestamp::from_second(whole).ok()?,
        Err(_) => {
            let seconds: f64 = seconds.parse().ok()?;
            jiff::Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(seconds).ok()?).ok()?
        }
    };
    Some(time.to_string())
}
