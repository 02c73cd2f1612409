//! Tar entries with their extension headers applied, and bounds on everything the headers claim.
//!
//! The `tar` crate is used in raw mode, because its own handling of long names and PAX records reads as much memory as
//! an archive asks for.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{Entries, Entry, EntryType};

use super::Refusal;
use crate::{Error, Result};

pub(crate) const NAME_LIMIT: usize = 4096;
pub(crate) const DEPTH_LIMIT: usize = 128;
const PAX_LIMIT: u64 = 1 << 20;
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// One file system object of an archive.
pub(crate) struct Member<'a, R: Read> {
    /// Relative, without `.` and `..`. Empty for the root itself.
    pub(crate) path: PathBuf,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Entry<'a, R>,
}

/// Iterates over members.
pub(crate) struct Members<'a, R: Read> {
    entries: Entries<'a, R>,
    seen: u64,
    limit: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    mtime: Option<i64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

// === impl Members ===

impl<'a, R: Read> Members<'a, R> {
    pub(crate) fn new(entries: Entries<'a, R>, limit: u64) -> Self {
        Self { entries: entries.raw(true), seen: 0, limit }
    }

    /// The next member, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Member<'a, R>>> {
        let mut extensions = Extensions::default();
        loop {
            let Some(entry) = self.entries.next() else { return Ok(None) };
            let mut entry = entry.map_err(header_error)?;
            self.seen += 1;
            if self.seen > self.limit {
                return Err(Refusal::TooManyEntries { limit: self.limit }.into());
            }
            match entry.header().entry_type() {
                EntryType::GNULongName => extensions.path = Some(read_name(&mut entry)?),
                EntryType::GNULongLink => extensions.link = Some(read_name(&mut entry)?),
                EntryType::XHeader => {
                    let records = read_bounded(&mut entry, PAX_LIMIT)?;
                    extensions.apply_pax(&records)?;
                }
                EntryType::XGlobalHeader => {}
                kind => return member(entry, kind, extensions).map(Some),
            }
        }
    }
}

impl Extensions {
    fn apply_pax(&mut self, mut records: &[u8]) -> Result<()> {
        let bad = || Error::from(Refusal::Header { reason: "malformed PAX record".to_owned() });
        while !records.is_empty() {
            let space = records.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length = decimal(&records[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
            if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &records[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = Some(decimal(value).ok_or_else(bad)?),
                b"gid" => self.gid = Some(decimal(value).ok_or_else(bad)?),
                b"size" => self.size = Some(decimal(value).ok_or_else(bad)?),
                b"mtime" => self.mtime = seconds(value),
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(Refusal::Header { reason: "sparse files are not supported".to_owned() }.into());
                }
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
            records = &records[length..];
        }
        Ok(())
    }
}

fn member<R: Read>(entry: Entry<'_, R>, kind: EntryType, extensions: Extensions) -> Result<Member<'_, R>> {
    let header = entry.header();
    let raw_path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = clean_path(&raw_path)?;
    let size = header.entry_size().map_err(header_error)?;
    if extensions.size.is_some_and(|claimed| claimed != size) {
        // The reader underneath skips by the header's size: two sizes are a way to smuggle entries.
        return Err(Refusal::Header { reason: format!("two sizes for {}", show(&path)) }.into());
    }
    let id = |extended: Option<u64>, field: &[u8], header: io::Result<u64>| -> Result<u32> {
        let id = extended.map_or_else(|| if is_blank(field) { Ok(0) } else { header }, Ok).map_err(header_error)?;
        u32::try_from(id).map_err(|_| Refusal::Header { reason: "owner out of range".to_owned() }.into())
    };
    let link = extensions.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
    Ok(Member {
        uid: id(extensions.uid, &header.as_old().uid, header.uid())?,
        gid: id(extensions.gid, &header.as_old().gid, header.gid())?,
        mode: header.mode().map_err(header_error)? & 0o7777,
        mtime: extensions.mtime.or_else(|| header.mtime().ok().and_then(|t| i64::try_from(t).ok())).unwrap_or(0),
        xattrs: extensions.xattrs,
        path,
        link,
        kind,
        size,
        body: entry,
    })
}

/// Makes a name from an archive safe: relative, no `..`, bounded. A leading slash is dropped as by every tar.
pub(crate) fn clean_path(raw: &[u8]) -> Result<PathBuf> {
    let raw = raw.split(|b| *b == 0).next().unwrap_or_default();
    if raw.len() > NAME_LIMIT {
        return Err(too_long());
    }
    let mut path = PathBuf::new();
    let mut depth = 0;
    for component in Path::new(std::ffi::OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(name) if name.len() > 255 => return Err(too_long()),
            Component::Normal(name) => {
                path.push(name);
                depth += 1;
            }
            Component::ParentDir => {
                return Err(Refusal::Traversal { path: String::from_utf8_lossy(raw).into_owned() }.into());
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if depth > DEPTH_LIMIT { Err(too_long()) } else { Ok(path) }
}

pub(crate) fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(crate) fn read_bounded(reader: &mut impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(header_error)?;
    if bytes.len() as u64 > limit {
        return Err(Refusal::Header { reason: format!("a document is larger than {limit} bytes") }.into());
    }
    Ok(bytes)
}

/// Turns an error of reading into a refusal; a [`Refusal`] that travelled inside an I/O error comes out again.
pub(crate) fn header_error(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Refusal::Truncated.into();
    }
    match error.get_ref().and_then(find_refusal) {
        Some(refusal) => refusal.into(),
        None => Refusal::Header { reason: error.to_string() }.into(),
    }
}

fn find_refusal(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Refusal> {
    let mut current: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = current {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(refusal.clone());
        }
        // `io::Error::source` skips the error it wraps, so look inside it first.
        current = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn read_name(entry: &mut impl Read) -> Result<Vec<u8>> {
    let mut name = Vec::new();
    entry.take(NAME_LIMIT as u64 + 2).read_to_end(&mut name).map_err(header_error)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    if name.len() > NAME_LIMIT { Err(too_long()) } else { Ok(name) }
}

fn too_long() -> Error {
    Refusal::NameTooLong { limit: NAME_LIMIT, depth: DEPTH_LIMIT }.into()
}

/// Some writers leave numbers out that do not matter to them.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|b| matches!(b, 0 | b' '))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    text.split('.').next()?.parse().ok()
}
