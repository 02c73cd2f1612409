//! Netlink messages as bytes: a writer that nests attributes, and a reader that trusts no length.
//!
//! Knows the framing of `struct nlmsghdr` and `struct nlattr` only; what messages mean is for the callers.

use std::borrow::Cow;

/// Size of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Size of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// Set in an attribute's type when it holds attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are its number.
const TYPE_MASK: u16 = 0x3fff;

/// Flags of `nlmsg_flags`.
pub mod flags {
    pub const REQUEST: u16 = 0x1;
    pub const MULTI: u16 = 0x2;
    pub const ACK: u16 = 0x4;
    /// On a message of a dump: something changed while it was made.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    pub const DUMP: u16 = 0x300;
    pub const REPLACE: u16 = 0x100;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
    /// On an acknowledgement: the request is not repeated in it.
    pub const CAPPED: u16 = 0x100;
    /// On an acknowledgement: attributes follow.
    pub const ACK_TLVS: u16 = 0x200;
}

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// A buffer of one or more netlink messages being written.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    buffer: Vec<u8>,
}

/// Where an open message or nest began; closing it patches the length.
#[derive(Debug)]
#[must_use = "a message or nest has to be closed"]
pub struct Mark(usize);

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
    }

    /// Opens a message. Length and sequence number are set later.
    pub fn message(&mut self, kind: u16, flags: u16) -> Mark {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
        Mark(start)
    }

    pub fn end_message(&mut self, mark: Mark) {
        let length = u32::try_from(self.buffer.len() - mark.0).unwrap_or(u32::MAX);
        self.buffer[mark.0..mark.0 + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sets the sequence number of the message that starts at `offset`.
    pub(crate) fn set_sequence(&mut self, offset: usize, sequence: u32) {
        self.buffer[offset + 8..offset + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    pub(crate) fn add_flags(&mut self, offset: usize, extra: u16) {
        let old = u16::from_ne_bytes([self.buffer[offset + 6], self.buffer[offset + 7]]);
        self.buffer[offset + 6..offset + 8].copy_from_slice(&(old | extra).to_ne_bytes());
    }

    /// Fixed part after a message's header, padded to four bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.pad();
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        debug_assert!(value.len() <= usize::from(u16::MAX) - ATTRIBUTE_HEADER);
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&length.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        self.pad();
    }

    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attribute(kind, &[value]);
    }

    pub fn u16(&mut self, kind: u16, value: u16) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// Big-endian, as every number in nfnetlink.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// A string with its terminating NUL; a NUL inside would end it early, so it is cut there.
    pub fn string(&mut self, kind: u16, value: &str) {
        let value = value.split('\0').next().unwrap_or_default();
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    /// An attribute made of attributes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mark = self.open(kind | NESTED);
        fill(self);
        self.close(mark);
    }

    /// As [`Self::nested`], for the older protocols that do not set the nested bit.
    pub fn nested_plain(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mark = self.open(kind);
        fill(self);
        self.close(mark);
    }

    pub(crate) fn open_nested(&mut self, kind: u16) -> Mark {
        self.open(kind | NESTED)
    }

    fn open(&mut self, kind: u16) -> Mark {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        Mark(start)
    }

    pub(crate) fn close(&mut self, mark: Mark) {
        let length = self.buffer.len() - mark.0;
        debug_assert!(length <= usize::from(u16::MAX));
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.buffer[mark.0..mark.0 + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.buffer.resize(aligned(self.buffer.len()), 0);
    }
}

/// A received (or written) message: its header's fields and the bytes after it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of one datagram; stops at the first that does not fit.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        if bytes.len() < HEADER {
            return None;
        }
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let message = Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            payload: &bytes[HEADER..length],
        };
        bytes = &bytes[aligned(length).min(bytes.len())..];
        Some(message)
    })
}

/// One attribute: its number and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    pub kind: u16,
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    pub fn be16(&self) -> Option<u16> {
        self.value.try_into().ok().map(u16::from_be_bytes)
    }

    pub fn be32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn string(&self) -> Cow<'a, str> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end])
    }

    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(self.value)
    }
}

/// The attributes in `bytes`; stops at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        if bytes.len() < ATTRIBUTE_HEADER {
            return None;
        }
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        if length < ATTRIBUTE_HEADER || length > bytes.len() {
            return None;
        }
        let attribute = Attribute {
            kind: u16::from_ne_bytes([bytes[2], bytes[3]]) & TYPE_MASK,
            value: &bytes[ATTRIBUTE_HEADER..length],
        };
        bytes = &bytes[aligned(length).min(bytes.len())..];
        Some(attribute)
    })
}

/// The first attribute of that number.
pub fn find(bytes: &[u8], kind: u16) -> Option<Attribute<'_>> {
    attributes(bytes).find(|attribute| attribute.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new();
        let mark = writer.message(7, flags::REQUEST);
        writer.raw(&[1, 2]);
        writer.string(1, "abc");
        writer.nested(2, |writer| writer.be32(3, 0x0102_0304));
        writer.end_message(mark);
        writer.set_sequence(0, 9);

        let message = messages(writer.bytes()).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (7, 1, 9));
        assert_eq!(&message.payload[..4], &[1, 2, 0, 0]);
        let body = &message.payload[4..];
        assert_eq!(find(body, 1).unwrap().string(), "abc");
        assert_eq!(find(body, 2).unwrap().attributes().next().unwrap().be32(), Some(0x0102_0304));
    }

    /// Whatever comes, reading ends and stays inside. xorshift, so that a failure can be repeated.
    #[test]
    fn noise_is_read_without_panic() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let length = (random() % 96) as usize;
            // Small numbers make lengths that fit now and then.
            let noise: Vec<u8> = (0..length).map(|_| (random() % 40) as u8).collect();
            for message in messages(&noise) {
                walk(message.payload, 8);
            }
            walk(&noise, 8);
            crate::link::read_noise(&noise);
            crate::conntrack::read_noise(&noise);
        }
    }

    fn walk(bytes: &[u8], depth: u32) {
        for attribute in attributes(bytes) {
            assert!(attribute.value.len() <= bytes.len());
            let _ = (attribute.u32(), attribute.be16(), attribute.be32(), attribute.string());
            if depth > 0 {
                walk(attribute.value, depth - 1);
            }
        }
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(messages(&[255; 20]).count(), 0);
        assert_eq!(messages(&[0; 16]).count(), 0);
    }
}
