//! The form of what is written: frames with a checksum each, and what is in them. No files here.
//!
//! A frame is a header of 40 bytes, a body, and zeros up to a multiple of eight. The checksum of the header covers the
//! file's number and the frame's place in it, so that a block that strayed is not taken for one that belongs.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use crc32fast::Hasher;

use crate::{Mutation, Record, Revision, Template, Transaction};

pub(super) const FORMAT: u32 = 1;
pub(super) const HEADER: usize = 40;
pub(super) const ALIGN: usize = 8;
const MAGIC: [u8; 4] = *b"tyfr";
/// Ends every body, so that its last sector is never all zeros.
const TRAILER: u8 = 0xA5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body_len: u32,
    /// Counts frames, over all files.
    pub(super) sequence: u64,
    /// The last sequence that was known to be synced when this one was written.
    pub(super) synced: u64,
    /// Of the last transaction, this one included.
    pub(super) revision: Revision,
    body_crc: u32,
}

/// What a body says.
pub(super) enum Body {
    /// First in every file. It was made under this boot id.
    Head {
        format: u32,
        boot: String,
    },
    Transaction(Vec<Change>),
    /// The log was opened again under this boot id.
    Opened {
        boot: String,
    },
    /// Nothing follows until it is opened again, and everything before is synced.
    Closed,
    /// Nothing follows in this file.
    Sealed,
    /// Revisions up to that of the frame are not to be used.
    Gap,
    /// Of a checkpoint.
    Records(Vec<Record>),
    /// Last in a checkpoint.
    End {
        records: u64,
    },
}

pub(super) enum Change {
    Put(Record),
    Delete { resource: Arc<str>, path: Arc<str> },
}

/// Appends frames to a buffer that will be written at a known place of a known file.
pub(super) struct Writer<'a> {
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) file: u64,
    /// Of the buffer's first byte in the file.
    pub(super) offset: u64,
    pub(super) synced: u64,
}

/// A name, or a value, too long for its length field.
#[derive(Debug)]
pub(super) struct TooLong;

const HEAD: u8 = 1;
const TRANSACTION: u8 = 2;
const OPENED: u8 = 3;
const CLOSED: u8 = 4;
const SEALED: u8 = 5;
const GAP: u8 = 6;
const RECORDS: u8 = 7;
const END: u8 = 8;
const PUT: u8 = 1;
const DELETE: u8 = 2;

// === impl Header ===

impl Header {
    /// `None` when it is not the header of a frame at this place.
    pub(super) fn parse(bytes: &[u8; HEADER], file: u64, offset: u64) -> Option<Header> {
        let (fields, crc) = bytes.split_at(HEADER - 4);
        if fields[..4] != MAGIC || crc != header_crc(fields, file, offset).to_le_bytes() {
            return None;
        }
        let mut fields = &fields[4..];
        Some(Header {
            body_len: fields.get_u32_le(),
            sequence: fields.get_u64_le(),
            synced: fields.get_u64_le(),
            revision: Revision(fields.get_u64_le()),
            body_crc: fields.get_u32_le(),
        })
    }

    /// Whether there is any use in computing a checksum.
    pub(super) fn may_start(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    pub(super) fn covers(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.body_crc
    }

    /// From the start of this frame to that of the next.
    pub(super) fn stride(&self) -> u64 {
        (HEADER as u64 + u64::from(self.body_len)).next_multiple_of(ALIGN as u64)
    }
}

// === impl Writer ===

impl Writer<'_> {
    pub(super) fn transaction(
        &mut self,
        sequence: u64,
        revision: Revision,
        transaction: &Transaction,
    ) -> Result<(), TooLong> {
        self.frame(sequence, revision, |out| {
            out.push(TRANSACTION);
            put_u32(out, transaction.mutations.len())?;
            transaction.mutations.iter().try_for_each(|mutation| match mutation {
                Mutation::Put { resource, path, value, created, .. } => {
                    out.push(PUT);
                    put_record(out, resource, path, created.unwrap_or(revision), revision, value)
                }
                Mutation::Delete { resource, path, .. } => {
                    out.push(DELETE);
                    put_name(out, resource)?;
                    put_name(out, path)
                }
            })
        })
    }

    pub(super) fn records(&mut self, sequence: u64, revision: Revision, records: &[Record]) -> Result<(), TooLong> {
        self.frame(sequence, revision, |out| {
            out.push(RECORDS);
            put_u32(out, records.len())?;
            records.iter().try_for_each(|record| {
                put_record(out, &record.resource, &record.path, record.created, record.modified, &record.value)
            })
        })
    }

    pub(super) fn mark(&mut self, sequence: u64, revision: Revision, body: &Body) -> Result<(), TooLong> {
        self.frame(sequence, revision, |out| {
            match body {
                Body::Head { format, boot } => {
                    out.push(HEAD);
                    out.extend_from_slice(&format.to_le_bytes());
                    put_name(out, boot)?;
                }
                Body::Opened { boot } => {
                    out.push(OPENED);
                    put_name(out, boot)?;
                }
                Body::Closed => out.push(CLOSED),
                Body::Sealed => out.push(SEALED),
                Body::Gap => out.push(GAP),
                Body::End { records } => {
                    out.push(END);
                    out.extend_from_slice(&records.to_le_bytes());
                }
                // These have a way of their own, without building a body first.
                Body::Transaction(_) | Body::Records(_) => return Err(TooLong),
            }
            Ok(())
        })
    }

    /// Leaves the buffer as it was when the body does not fit.
    fn frame(
        &mut self,
        sequence: u64,
        revision: Revision,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADER, 0);
        let written = body(self.buffer).and_then(|()| {
            self.buffer.push(TRAILER);
            u32::try_from(self.buffer.len() - start - HEADER).map_err(|_| TooLong)
        });
        let body_len = match written {
            Ok(len) => len,
            Err(error) => {
                self.buffer.truncate(start);
                return Err(error);
            }
        };
        let body_crc = crc32fast::hash(&self.buffer[start + HEADER..]);
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&body_len.to_le_bytes());
        header.extend_from_slice(&sequence.to_le_bytes());
        header.extend_from_slice(&self.synced.to_le_bytes());
        header.extend_from_slice(&revision.0.to_le_bytes());
        header.extend_from_slice(&body_crc.to_le_bytes());
        let crc = header_crc(&header, self.file, self.offset + start as u64);
        header.extend_from_slice(&crc.to_le_bytes());
        self.buffer[start..start + HEADER].copy_from_slice(&header);
        let len = (self.buffer.len() - start).next_multiple_of(ALIGN);
        self.buffer.resize(start + len, 0);
        Ok(())
    }
}

// === impl Body ===

impl Body {
    /// `None` when it is not what any version of this writes. The checksum was found right before.
    pub(super) fn parse(mut bytes: Bytes) -> Option<Body> {
        if bytes.last() != Some(&TRAILER) {
            return None;
        }
        bytes.truncate(bytes.len() - 1);
        let body = match bytes.try_get_u8().ok()? {
            HEAD => {
                let format = bytes.try_get_u32_le().ok()?;
                if format != FORMAT {
                    // What else is in it only that format knows.
                    return Some(Body::Head { format, boot: String::new() });
                }
                Body::Head { format, boot: get_name(&mut bytes)?.to_string() }
            }
            OPENED => Body::Opened { boot: get_name(&mut bytes)?.to_string() },
            CLOSED => Body::Closed,
            SEALED => Body::Sealed,
            GAP => Body::Gap,
            END => Body::End { records: bytes.try_get_u64_le().ok()? },
            RECORDS => {
                let count = bytes.try_get_u32_le().ok()?;
                Body::Records((0..count).map(|_| get_record(&mut bytes)).collect::<Option<_>>()?)
            }
            TRANSACTION => {
                let count = bytes.try_get_u32_le().ok()?;
                Body::Transaction((0..count).map(|_| get_change(&mut bytes)).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        bytes.is_empty().then_some(body)
    }
}

fn header_crc(fields: &[u8], file: u64, offset: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(fields);
    hasher.update(&file.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

fn put_u32(out: &mut Vec<u8>, len: usize) -> Result<(), TooLong> {
    out.extend_from_slice(&u32::try_from(len).map_err(|_| TooLong)?.to_le_bytes());
    Ok(())
}

fn put_name(out: &mut Vec<u8>, name: &str) -> Result<(), TooLong> {
    out.extend_from_slice(&u16::try_from(name.len()).map_err(|_| TooLong)?.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

fn put_record(
    out: &mut Vec<u8>,
    resource: &str,
    path: &str,
    created: Revision,
    modified: Revision,
    value: &Template,
) -> Result<(), TooLong> {
    put_name(out, resource)?;
    put_name(out, path)?;
    out.extend_from_slice(&created.0.to_le_bytes());
    out.extend_from_slice(&modified.0.to_le_bytes());
    put_u32(out, value.head.len())?;
    put_u32(out, value.tail.len())?;
    out.extend_from_slice(&value.head);
    out.extend_from_slice(&value.tail);
    Ok(())
}

fn get_name(bytes: &mut Bytes) -> Option<Arc<str>> {
    let len = usize::from(bytes.try_get_u16_le().ok()?);
    let name = get_bytes(bytes, len)?;
    std::str::from_utf8(&name).ok().map(Arc::from)
}

fn get_bytes(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

fn get_record(bytes: &mut Bytes) -> Option<Record> {
    let (resource, path) = (get_name(bytes)?, get_name(bytes)?);
    let created = Revision(bytes.try_get_u64_le().ok()?);
    let modified = Revision(bytes.try_get_u64_le().ok()?);
    let head = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    let tail = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    let value = Template { head: get_bytes(bytes, head)?, tail: get_bytes(bytes, tail)? };
    Some(Record { resource, path, value, created, modified })
}

fn get_change(bytes: &mut Bytes) -> Option<Change> {
    match bytes.try_get_u8().ok()? {
        PUT => get_record(bytes).map(Change::Put),
        DELETE => Some(Change::Delete { resource: get_name(bytes)?, path: get_name(bytes)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Expected;

    proptest! {
        /// The checksum says that bytes are as they were written, not by whom.
        #[test]
        fn any_body_is_parsed_or_refused(kind in 0..10_u8, mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            bytes.insert(0, kind);
            bytes.push(TRAILER);
            Body::parse(bytes.into());
        }

        #[test]
        fn transactions_come_back(
            names in prop::collection::vec("[a-z/.-]{0,300}", 1..8),
            head in prop::collection::vec(any::<u8>(), 0..2000),
            created in prop::option::of(any::<u64>()),
        ) {
            let mutations: Vec<Mutation> = names
                .iter()
                .enumerate()
                .map(|(number, name)| {
                    let (resource, path) = (Arc::from("pods"), Arc::from(name.as_str()));
                    if number % 3 == 2 {
                        return Mutation::Delete { resource, path, expected: Expected::Any };
                    }
                    let value = Template::split(Bytes::from(head.clone()), head.len() / 2);
                    Mutation::Put { resource, path, value, created: created.map(Revision), expected: Expected::Any }
                })
                .collect();
            let transaction = Transaction { mutations: mutations.clone(), durability: Default::default(), lifetime: None };
            let mut buffer = Vec::new();
            let mut writer = Writer { buffer: &mut buffer, file: 3, offset: 80, synced: 6 };
            writer.transaction(7, Revision(9), &transaction).unwrap();
            prop_assert_eq!(buffer.len() % ALIGN, 0);
            let bytes = Bytes::from(buffer);
            let start = <[u8; HEADER]>::try_from(&bytes[..HEADER]).unwrap();
            prop_assert!(Header::parse(&start, 3, 88).is_none() && Header::parse(&start, 4, 80).is_none());
            let header = Header::parse(&start, 3, 80).unwrap();
            prop_assert_eq!((header.sequence, header.synced, header.revision), (7, 6, Revision(9)));
            let body = bytes.slice(HEADER..HEADER + header.body_len as usize);
            prop_assert!(header.covers(&body));
            let Some(Body::Transaction(changes)) = Body::parse(body) else { panic!("not a transaction") };
            prop_assert_eq!(changes.len(), mutations.len());
            for (change, mutation) in changes.iter().zip(&mutations) {
                match (change, mutation) {
                    (Change::Put(record), Mutation::Put { path, value, created, .. }) => {
                        prop_assert_eq!((&record.path, &record.value), (path, value));
                        prop_assert_eq!(record.created, created.unwrap_or(Revision(9)));
                        prop_assert_eq!(record.modified, Revision(9));
                    }
                    (Change::Delete { path: found, .. }, Mutation::Delete { path, .. }) => {
                        prop_assert_eq!(found, path);
                    }
                    _ => panic!("another change"),
                }
            }
        }
    }
}
