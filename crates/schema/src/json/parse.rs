//! The JSON parser: one pass, bounded depth and size, errors worded as Go's scanner words them.
//!
//! It must not allocate for strings without escapes. Upstream: `encoding/json/scanner.go` of Go and the copy in
//! `sigs.k8s.io/json/internal/golang/encoding/json`.

use std::borrow::Cow;

use super::{Limits, Node, Object};

/// Why a text is not JSON that is accepted here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("unexpected end of JSON input")]
    End { offset: usize },
    #[error("invalid character {character} {context}")]
    Character { offset: usize, character: String, context: &'static str },
    #[error("exceeded max depth")]
    Depth,
    #[error("request entity too large: limit is {limit}")]
    Size { limit: usize },
    #[error("object has too many values: limit is {limit}")]
    Nodes { limit: usize },
}

/// Parses exactly one value.
pub fn parse<'a>(text: &'a [u8], limits: &Limits) -> Result<Node<'a>, JsonError> {
    if text.len() > limits.bytes {
        return Err(JsonError::Size { limit: limits.bytes });
    }
    let mut parser = Parser { text, at: 0, depth: limits.depth, nodes: limits.nodes, limits };
    parser.space();
    let node = parser.value()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.character("after top-level value"));
    }
    Ok(node)
}

struct Parser<'a, 'l> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    nodes: usize,
    limits: &'l Limits,
}

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The error for the byte at the cursor.
    #[cold]
    fn character(&self, context: &'static str) -> JsonError {
        match self.peek() {
            None => JsonError::End { offset: self.at },
            Some(byte) => JsonError::Character { offset: self.at, character: quote(byte), context },
        }
    }

    fn value(&mut self) -> Result<Node<'a>, JsonError> {
        if self.nodes == 0 {
            return Err(JsonError::Nodes { limit: self.limits.nodes });
        }
        self.nodes -= 1;
        match self.peek() {
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b't') => self.literal(
                b"true",
                [
                    "in literal true (expecting 'r')",
                    "in literal true (expecting 'u')",
                    "in literal true (expecting 'e')",
                ],
                Node::Bool(true),
            ),
            Some(b'f') => self.literal(
                b"false",
                [
                    "in literal false (expecting 'a')",
                    "in literal false (expecting 'l')",
                    "in literal false (expecting 's')",
                    "in literal false (expecting 'e')",
                ],
                Node::Bool(false),
            ),
            Some(b'n') => self.literal(
                b"null",
                [
                    "in literal null (expecting 'u')",
                    "in literal null (expecting 'l')",
                    "in literal null (expecting 'l')",
                ],
                Node::Null,
            ),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.character("looking for beginning of value")),
        }
    }

    fn literal<const N: usize>(
        &mut self,
        word: &'static [u8],
        contexts: [&'static str; N],
        node: Node<'a>,
    ) -> Result<Node<'a>, JsonError> {
        self.at += 1;
        for (expected, context) in word.iter().skip(1).zip(contexts) {
            if self.peek() != Some(*expected) {
                return Err(self.character(context));
            }
            self.at += 1;
        }
        Ok(node)
    }

    fn number(&mut self) -> Result<Node<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.character("in numeric literal"));
            }
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.digits() {
                return Err(self.character("after decimal point in numeric literal"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !self.digits() {
                return Err(self.character("in exponent of numeric literal"));
            }
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        Ok(Node::Number(String::from_utf8_lossy(digits)))
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at > start
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(stop) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) else {
            self.at = self.text.len();
            return Err(JsonError::End { offset: self.at });
        };
        self.at = start + stop;
        let head = rest.get(..stop).unwrap_or_default();
        if self.peek() == Some(b'"') {
            self.at += 1;
            // Go replaces invalid UTF-8 by the replacement character instead of refusing it.
            return Ok(String::from_utf8_lossy(head));
        }
        let mut bytes = head.to_vec();
        loop {
            match self.peek() {
                None => return Err(JsonError::End { offset: self.at }),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(match String::from_utf8(bytes) {
                        Ok(text) => text,
                        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    }));
                }
                Some(b'\\') => self.escape(&mut bytes)?,
                Some(0..=0x1f) => return Err(self.character("in string literal")),
                Some(byte) => {
                    bytes.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        self.at += 1;
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let mut unit = self.hex()?;
                if (0xd800..0xdc00).contains(&unit) && self.text.get(self.at..self.at + 2) == Some(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    } else {
                        self.at = back;
                    }
                }
                let character = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.character("in string escape code")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Err(self.character("in \\u hexadecimal character escape")) };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn deeper(&mut self) -> Result<(), JsonError> {
        self.depth = self.depth.checked_sub(1).ok_or(JsonError::Depth)?;
        self.at += 1;
        self.space();
        Ok(())
    }

    fn array(&mut self) -> Result<Node<'a>, JsonError> {
        self.deeper()?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth += 1;
            return Ok(Node::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                }
                Some(b']') => {
                    self.at += 1;
                    self.depth += 1;
                    return Ok(Node::Array(items));
                }
                _ => return Err(self.character("after array element")),
            }
        }
    }

    fn object(&mut self) -> Result<Node<'a>, JsonError> {
        self.deeper()?;
        let mut members = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth += 1;
            return Ok(Node::Object(Object(members)));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.character("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.character("after object key"));
            }
            self.at += 1;
            self.space();
            members.push((key, self.value()?));
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                }
                Some(b'}') => {
                    self.at += 1;
                    self.depth += 1;
                    return Ok(Node::Object(Object(members)));
                }
                _ => return Err(self.character("after object key:value pair")),
            }
        }
    }
}

/// A byte as Go's scanner quotes it.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
