//! Reads the frames of one file, and tells a write that a crash cut short from damage.
//!
//! Space is taken ahead and filled with zeros, so a write that did not finish left zeros in at least one sector. What
//! is neither whole nor has such a sector was whole once. And every frame says what was synced before it was written:
//! when one behind the bad place says that the bad place was, then what is missing had been acknowledged.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;

use crate::EngineError;
use crate::disk::{DiskFile, failed};
use crate::log::frame::{ALIGN, Body, FORMAT, HEADER, Header};

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;
const WINDOW: usize = 1 << 20;

pub(super) struct Reader<'a> {
    file: &'a dyn DiskFile,
    path: PathBuf,
    number: u64,
    len: u64,
    offset: u64,
    window: Bytes,
    window_at: u64,
}

/// What is at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing but the space taken ahead.
    Clean,
    /// A write that did not finish.
    Torn,
}

pub(super) enum Next {
    Frame(Header, Body),
    End(End),
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, path: PathBuf, number: u64) -> Result<Reader<'a>, EngineError> {
        let len = file.size().map_err(failed("read", path.clone()))?;
        Ok(Reader { file, path, number, len, offset: 0, window: Bytes::new(), window_at: 0 })
    }

    /// Of the next frame.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the first frame, which says what the file is, and under which boot id it was made.
    pub(super) fn head(&mut self) -> Result<(Header, String), EngineError> {
        match self.next(0)? {
            Next::Frame(header, Body::Head { format: FORMAT, boot }) => Ok((header, boot)),
            Next::Frame(_, Body::Head { format: found, .. }) => {
                Err(EngineError::Format { path: self.path.clone(), found, known: FORMAT })
            }
            Next::Frame(..) | Next::End(_) => Err(self.damaged_at(0, "it does not begin as a file of the store")),
        }
    }

    /// The next frame. `sequence` is that of the one before it.
    pub(super) fn next(&mut self, sequence: u64) -> Result<Next, EngineError> {
        let start = self.offset;
        let bytes = self.bytes(start, HEADER)?;
        let header = <[u8; HEADER]>::try_from(&bytes[..]).ok();
        let Some(header) = header.and_then(|bytes| Header::parse(&bytes, self.number, start)) else {
            let upto = start + HEADER as u64;
            return self.end(sequence, start..upto, "the header of a record is wrong").map(Next::End);
        };
        let body_at = start + HEADER as u64;
        let body_end = body_at + u64::from(header.body_len);
        let whole = body_end <= self.len;
        let body = if whole { self.bytes(body_at, header.body_len as usize)? } else { Bytes::new() };
        if !whole || !header.covers(&body) {
            return self.end(sequence, start..body_end, "a record does not have its checksum").map(Next::End);
        }
        let body = Body::parse(body).ok_or_else(|| self.damaged_at(start, "a record has an unknown form"))?;
        self.offset = start + header.stride();
        Ok(Next::Frame(header, body))
    }

    pub(super) fn damaged(&self, detail: &str) -> EngineError {
        self.damaged_at(self.offset, detail)
    }

    fn damaged_at(&self, offset: u64, detail: &str) -> EngineError {
        EngineError::Damaged { path: self.path.clone(), offset, detail: detail.to_owned() }
    }

    /// What it means that there is no frame in this range.
    fn end(&mut self, sequence: u64, range: Range<u64>, detail: &str) -> Result<End, EngineError> {
        let start = range.start;
        // Cut short by the end of the file: the extension of it was not yet durable.
        let short = self.len < range.end;
        let range = start..range.end.min(self.len).max(start);
        if self.was_synced_behind(start, sequence)? {
            return Err(self.damaged_at(start, "records that had been synced are missing"));
        }
        let bytes = self.bytes(start, usize::try_from(range.end - start).unwrap_or(usize::MAX))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(End::Clean);
        }
        let mut at = start;
        let mut torn = short;
        while at < range.end {
            let next = range.end.min((at / SECTOR + 1) * SECTOR);
            let part = (at - start) as usize..(next - start) as usize;
            torn |= bytes[part].iter().all(|byte| *byte == 0);
            at = next;
        }
        if torn { Ok(End::Torn) } else { Err(self.damaged_at(start, detail)) }
    }

    /// Whether a frame further on says that the one after `sequence` was synced.
    fn was_synced_behind(&mut self, start: u64, sequence: u64) -> Result<bool, EngineError> {
        let mut at = start + ALIGN as u64;
        while at + HEADER as u64 <= self.len {
            let len = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(WINDOW);
            let bytes = self.bytes(at, len)?;
            let last = bytes.len() - HEADER;
            for from in (0..=last).step_by(ALIGN) {
                let candidate = &bytes[from..from + HEADER];
                if Header::may_start(candidate)
                    && let Ok(candidate) = <[u8; HEADER]>::try_from(candidate)
                    && Header::parse(&candidate, self.number, at + from as u64)
                        .is_some_and(|header| header.synced > sequence)
                {
                    return Ok(true);
                }
            }
            at += (last / ALIGN * ALIGN + ALIGN) as u64;
        }
        Ok(false)
    }

    /// So many bytes from a place, fewer at the end of the file.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Bytes, EngineError> {
        let in_window = at.checked_sub(self.window_at).map(|skip| usize::try_from(skip).unwrap_or(usize::MAX));
        if let Some(skip) = in_window
            && self.window.len() >= skip.saturating_add(len)
        {
            return Ok(self.window.slice(skip..skip + len));
        }
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; len.max(WINDOW).min(left)];
        let read = self.file.read_at(&mut buffer, at).map_err(failed("read", self.path.clone()))?;
        buffer.truncate(read);
        self.window = buffer.into();
        self.window_at = at;
        Ok(self.window.slice(..len.min(self.window.len())))
    }
}
