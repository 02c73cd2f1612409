//! Header blocks: names and values in one zlib stream that spans the connection, with a dictionary given beforehand.

use std::collections::BTreeMap;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::SpdyError;
use super::dictionary::{DICTIONARY_ID, dictionary};

/// Names in lower case, as they are on the wire.
pub(in crate::server) type Headers = BTreeMap<String, String>;

/// History of the compression; a power of two, so that it is used as a ring.
const WINDOW: usize = 32 * 1024;
const MAX_HEADERS: u32 = 100;
/// Headers of one stream, unpacked. What unpacks to more is no header block of any client.
const MAX_BLOCK: usize = 64 * 1024;
/// A zlib header with a dictionary: two bytes and the dictionary's checksum.
const ZLIB_HEADER: usize = 6;

/// Unpacks the client's header blocks.
pub(super) struct Decompressor {
    state: Box<DecompressorOxide>,
    window: Vec<u8>,
    position: usize,
    begun: bool,
}

/// Packs ours, which are all empty.
#[derive(Default)]
pub(super) struct Compressor {
    begun: bool,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Decompressor { state: Box::default(), window: vec![0; WINDOW], position: 0, begun: false }
    }

    pub(super) fn headers(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        parse(&self.unpack(block)?)
    }

    fn unpack(&mut self, mut block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        if !self.begun {
            block = self.begin(block)?;
        }
        let mut out = Vec::new();
        loop {
            let (status, read, written) =
                decompress(&mut self.state, block, &mut self.window, self.position, TINFL_FLAG_HAS_MORE_INPUT);
            out.extend_from_slice(&self.window[self.position..self.position + written]);
            self.position = (self.position + written) % WINDOW;
            block = &block[read..];
            if out.len() > MAX_BLOCK {
                return Err(SpdyError::Protocol("headers too large"));
            }
            match status {
                TINFLStatus::NeedsMoreInput | TINFLStatus::Done => return Ok(out),
                TINFLStatus::HasMoreOutput => {}
                _ => return Err(SpdyError::Protocol("headers do not unpack")),
            }
        }
    }

    /// Reads the zlib header and lays the dictionary into the window.
    fn begin<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], SpdyError> {
        let bad = SpdyError::Protocol("headers are not packed with the dictionary");
        let Some((header, rest)) = block.split_at_checked(2) else { return Err(bad) };
        self.begun = true;
        if header[1] & 0x20 == 0 {
            return Ok(rest);
        }
        let id = block.get(2..ZLIB_HEADER).ok_or(bad)?;
        if id != DICTIONARY_ID.to_be_bytes() {
            return Err(SpdyError::Protocol("headers are packed with another dictionary"));
        }
        let dictionary = dictionary();
        self.window[..dictionary.len()].copy_from_slice(&dictionary);
        self.position = dictionary.len();
        Ok(&block[ZLIB_HEADER..])
    }
}

impl Compressor {
    /// No headers at all: a stored block of one number, and an empty one that makes the reader hand it out.
    pub(super) fn empty_block(&mut self) -> Vec<u8> {
        let mut block = if std::mem::replace(&mut self.begun, true) { Vec::new() } else { vec![0x78, 0x01] };
        block.extend_from_slice(&[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0]);
        block.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        block
    }
}

fn parse(block: &[u8]) -> Result<Headers, SpdyError> {
    let mut rest = block;
    let count = number(&mut rest)?;
    if count > MAX_HEADERS {
        return Err(SpdyError::Protocol("too many headers"));
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut rest)?;
        headers.insert(name.to_ascii_lowercase(), text(&mut rest)?);
    }
    Ok(headers)
}

fn number(rest: &mut &[u8]) -> Result<u32, SpdyError> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(SpdyError::Protocol("headers break off"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn text(rest: &mut &[u8]) -> Result<String, SpdyError> {
    let length = usize::try_from(number(rest)?).map_err(|_| SpdyError::Protocol("header too long"))?;
    let (head, tail) = rest.split_at_checked(length).ok_or(SpdyError::Protocol("headers break off"))?;
    *rest = tail;
    Ok(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks as Go's zlib writes them with the dictionary, the second one referring into the first.
    #[test]
    fn blocks_that_refer_back() {
        let mut unpack = Decompressor::new();
        let first = hex(FIRST);
        let headers = unpack.headers(&first).unwrap();
        assert_eq!(headers["streamtype"], "error");
        assert_eq!(headers["port"], "8080");
        assert_eq!(headers["requestid"], "0");
        let headers = unpack.headers(&hex(SECOND)).unwrap();
        assert_eq!(headers["streamtype"], "data");
        assert_eq!(headers["requestid"], "0");
    }

    #[test]
    fn bombs_and_rubbish_are_refused() {
        assert!(Decompressor::new().headers(&[]).is_err());
        assert!(Decompressor::new().headers(&[0x78, 0xf9, 1, 2, 3, 4, 5]).is_err());
        assert!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[0, 0, 1, 0]).is_err());
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    const FIRST: &str =
        "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";
}
