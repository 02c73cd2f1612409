//! The table of contents of an image archive: name to place in the file. Nothing is unpacked to disk for it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::entries::{Members, clean_path, header_error, read_bounded, show};
use super::{MAX_DOCUMENT, Refusal};
use crate::Result;

const MAX_MEMBERS: u64 = 100_000;
const MAX_LINKS: usize = 8;

/// An uncompressed archive and where its members are.
pub(super) struct Index<'f> {
    file: &'f File,
    members: HashMap<PathBuf, Place>,
}

enum Place {
    Bytes { offset: u64, size: u64 },
    Link(PathBuf),
}

/// A part of a file as a reader of its own.
pub(super) struct Section<'f> {
    file: &'f File,
    offset: u64,
    end: u64,
}

// === impl Index ===

impl<'f> Index<'f> {
    pub(super) fn read(file: &'f File) -> Result<Self> {
        let length = file.metadata().map_err(header_error)?.len();
        let mut archive = tar::Archive::new(SeekableSection(Section { file, offset: 0, end: length }));
        let mut entries = Members::new(archive.entries_with_seek().map_err(header_error)?, MAX_MEMBERS);
        let mut members = HashMap::new();
        while let Some(member) = entries.next()? {
            let place = match member.kind {
                EntryType::Regular | EntryType::Continuous => {
                    let offset = member.body.raw_file_position();
                    if offset.checked_add(member.size).is_none_or(|end| end > length) {
                        return Err(Refusal::Truncated.into());
                    }
                    Place::Bytes { offset, size: member.size }
                }
                EntryType::Symlink => {
                    let base = member.path.parent().unwrap_or(Path::new(""));
                    match resolve(base, member.link.as_deref().unwrap_or_default()) {
                        Some(target) => Place::Link(target),
                        None => return Err(Refusal::Traversal { path: show(&member.path) }.into()),
                    }
                }
                EntryType::Link => Place::Link(clean_path(member.link.as_deref().unwrap_or_default())?),
                _ => continue,
            };
            members.insert(member.path, place);
        }
        Ok(Self { file, members })
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.members.contains_key(Path::new(name))
    }

    /// The bytes of a member, following links inside the archive.
    pub(super) fn open(&self, name: &str) -> Result<Section<'f>> {
        let missing = || Refusal::Missing { path: name.to_owned() };
        let mut path = clean_path(name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&path).ok_or_else(missing)? {
                Place::Bytes { offset, size } => {
                    return Ok(Section { file: self.file, offset: *offset, end: offset + size });
                }
                Place::Link(target) => path = target.clone(),
            }
        }
        Err(missing().into())
    }

    /// A whole small member.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        read_bounded(&mut self.open(name)?, MAX_DOCUMENT)
    }
}

impl Section<'_> {
    pub(super) fn len(&self) -> u64 {
        self.end - self.offset
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.len()).map_or(buf.len(), |left| left.min(buf.len()));
        let n = self.file.read_at(&mut buf[..wanted], self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

struct SeekableSection<'f>(Section<'f>);

impl Read for SeekableSection<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl io::Seek for SeekableSection<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::Current(delta) => self.0.offset.checked_add_signed(delta),
            io::SeekFrom::End(delta) => self.0.end.checked_add_signed(delta),
        };
        // Skipping past the end is a truncated archive, found by the next read.
        self.0.offset = position.ok_or(io::ErrorKind::InvalidInput)?.min(self.0.end);
        Ok(self.0.offset)
    }
}

/// A link's target relative to `base`, if it stays inside the archive.
fn resolve(base: &Path, target: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Component;
    if target.is_empty() || target.len() > 4096 {
        return None;
    }
    let mut path = base.to_owned();
    for component in Path::new(std::ffi::OsStr::from_bytes(target)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
