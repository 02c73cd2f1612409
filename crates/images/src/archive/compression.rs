//! Decompression by magic number, with a bound on how much may come out of how little.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::{Limits, Refusal};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// 32 MiB of window: everything but `zstd --ultra` writes smaller ones, and memory stays bounded.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// A decompressing reader that stops with a [`Refusal`] when a limit is passed.
pub struct Decompressed<R: Read> {
    inner: Decoder<R>,
    consumed: Rc<Cell<u64>>,
    produced: u64,
    limits: Limits,
}

enum Decoder<R: Read> {
    Plain(BufReader<Counting<R>>),
    Gzip(MultiGzDecoder<BufReader<Counting<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Counting<R>>>),
}

struct Counting<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

// === impl Decompressed ===

impl<R: Read> Decompressed<R> {
    /// Looks at the first bytes of `inner` and decompresses accordingly.
    pub fn new(inner: R, limits: &Limits) -> io::Result<Self> {
        let consumed = Rc::new(Cell::new(0));
        let mut buffered = BufReader::with_capacity(64 << 10, Counting { inner, count: Rc::clone(&consumed) });
        let inner = match sniff(buffered.fill_buf()?) {
            Compression::None => Decoder::Plain(buffered),
            Compression::Gzip => Decoder::Gzip(MultiGzDecoder::new(buffered)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Decoder::Zstd(decoder)
            }
        };
        Ok(Self { inner, consumed, produced: 0, limits: limits.clone() })
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Decoder::Plain(reader) => reader.read(buf)?,
            Decoder::Gzip(reader) => reader.read(buf)?,
            Decoder::Zstd(reader) => reader.read(buf)?,
        };
        self.produced += n as u64;
        if self.produced > self.limits.bytes {
            return Err(io::Error::other(Refusal::TooLarge { limit: self.limits.bytes }));
        }
        // Small archives may compress as well as they like: the ratio only matters where it costs space.
        let allowed = self.consumed.get().saturating_mul(self.limits.ratio).max(self.limits.ratio_free_bytes);
        if self.produced > allowed {
            return Err(io::Error::other(Refusal::Ratio { limit: self.limits.ratio }));
        }
        Ok(n)
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

fn sniff(start: &[u8]) -> Compression {
    if start.starts_with(GZIP_MAGIC) {
        Compression::Gzip
    } else if start.starts_with(ZSTD_MAGIC) {
        Compression::Zstd
    } else {
        Compression::None
    }
}

/// The compression of a file, without moving its position.
pub(crate) fn sniff_file(file: &File, offset: u64) -> io::Result<Compression> {
    let mut start = [0; 4];
    let n = file.read_at(&mut start, offset)?;
    Ok(sniff(&start[..n]))
}
