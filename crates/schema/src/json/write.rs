//! Compact JSON text from a `Node`, escaping what Go's encoder escapes.
//!
//! Upstream: `encoding/json/encode.go` with HTML escaping, as `runtime/serializer/json` uses it.

use super::Node;

pub(super) fn node(node: &Node<'_>, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(true) => out.extend_from_slice(b"true"),
        Node::Bool(false) => out.extend_from_slice(b"false"),
        Node::Number(text) => out.extend_from_slice(text.as_bytes()),
        Node::String(text) => string(text, out),
        Node::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::node(item, out);
            }
            out.push(b']');
        }
        Node::Object(object) => {
            out.push(b'{');
            for (index, (key, value)) in object.0.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                self::node(value, out);
            }
            out.push(b'}');
        }
    }
}

/// A quoted string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let plain = match byte {
            b'"' | b'\\' | b'<' | b'>' | b'&' | 0..=0x1f => false,
            // U+2028 and U+2029 end a line in JavaScript.
            0xe2 => !matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])),
            _ => true,
        };
        if plain {
            at += 1;
            continue;
        }
        out.extend_from_slice(bytes.get(done..at).unwrap_or_default());
        let width = match byte {
            b'"' | b'\\' => {
                out.extend_from_slice(&[b'\\', byte]);
                1
            }
            b'\n' => escape(out, b'n'),
            b'\r' => escape(out, b'r'),
            b'\t' => escape(out, b't'),
            0x08 => escape(out, b'b'),
            0x0c => escape(out, b'f'),
            0xe2 => {
                out.extend_from_slice(b"\\u202");
                out.push(if bytes.get(at + 2) == Some(&0xa8) { b'8' } else { b'9' });
                3
            }
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX.get(usize::from(byte >> 4)).copied().unwrap_or(b'0'));
                out.push(HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0'));
                1
            }
        };
        at += width;
        done = at;
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or_default());
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, letter: u8) -> usize {
    out.extend_from_slice(&[b'\\', letter]);
    1
}
