//! The one extractor for untrusted layers. It unpacks into a directory in overlayfs' form: whiteouts become character
//! devices 0/0, opaque directories get the `trusted.overlay.opaque` attribute.
//!
//! Every path is resolved from the root's descriptor by `openat2` without following any symbolic link and without
//! leaving the root or its file system; files are created exclusively after removing what was there, so that nothing
//! can be written through a link. Upstream: containerd `pkg/archive` `Apply`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, makedev, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use tar::EntryType;

use super::entries::{Member, Members, clean_path, header_error, show};
use super::{Decompressed, Refusal};
use crate::digest::HashingReader;
use crate::{Digest, Error, Result};

/// Bounds on what one archive may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes after decompression.
    pub bytes: u64,
    /// Entries, extension headers included.
    pub entries: u64,
    /// Bytes out for each byte in.
    pub ratio: u64,
    /// Below this many bytes out the ratio is not looked at.
    pub ratio_free_bytes: u64,
    /// Whether device nodes are left out (containers get theirs from the runtime) or refuse the archive.
    pub refuse_devices: bool,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    pub bytes: u64,
    pub entries: u64,
}

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
const AUFS_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_ATTRIBUTE: &[u8] = b"trusted.overlay.opaque";

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 1 << 20, ratio: 200, ratio_free_bytes: 256 << 20, refuse_devices: false }
    }
}

/// Unpacks a (possibly compressed) layer into the existing, empty directory `root`.
pub fn extract_layer(source: impl Read, root: &Path, limits: &Limits) -> Result<Summary> {
    let root_fd = open_root(root)?;
    let decompressed = Decompressed::new(source, limits).map_err(header_error)?;
    let mut archive = tar::Archive::new(HashingReader::new(decompressed));
    let mut entries = 0;
    {
        let mut members = Members::new(archive.entries().map_err(header_error)?, limits.entries);
        let mut extractor = Extractor { root: root_fd, parent: None, refuse_devices: limits.refuse_devices };
        while let Some(member) = members.next()? {
            entries += 1;
            extractor.unpack(member)?;
        }
    }
    // The digest covers the padding after the last entry too.
    let (diff_id, bytes) = archive.into_inner().finish().map_err(header_error)?;
    Ok(Summary { diff_id, bytes, entries })
}

struct Extractor {
    root: OwnedFd,
    /// The directory of the last entry: archives list a directory's entries together.
    parent: Option<(PathBuf, OwnedFd)>,
    refuse_devices: bool,
}

impl Extractor {
    fn unpack<R: Read>(&mut self, mut member: Member<'_, R>) -> Result<()> {
        let path = std::mem::take(&mut member.path);
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.set_root_attributes(&member);
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_owned();
        self.enter(&parent_path)?;
        let parent = self.parent.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());

        let bytes = name.as_bytes();
        if bytes == OPAQUE_MARKER {
            return make_opaque(parent).map_err(|e| refused_or_io("make opaque", &path, e));
        }
        if bytes.starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        if let Some(hidden) = bytes.strip_prefix(WHITEOUT_PREFIX) {
            if hidden.is_empty() || hidden == b"." || hidden == b".." {
                return Err(Refusal::Traversal { path: show(&path) }.into());
            }
            return whiteout(parent, OsStr::from_bytes(hidden)).map_err(|e| refused_or_io("write whiteout", &path, e));
        }
        let result = match member.kind {
            EntryType::Directory => make_directory(parent, &name, &member),
            EntryType::Regular | EntryType::Continuous => return make_file(parent, &name, &path, &mut member),
            EntryType::Symlink => {
                let target = member.link.as_deref().unwrap_or_default();
                if target.is_empty() || target.len() >= 4096 || target.contains(&0) {
                    return Err(Refusal::Header { reason: format!("bad target of {}", show(&path)) }.into());
                }
                make_symlink(parent, &name, OsStr::from_bytes(target), &member)
            }
            EntryType::Link => return self.make_hard_link(&name, &path, member.link.as_deref().unwrap_or_default()),
            EntryType::Fifo => make_fifo(parent, &name, &member),
            EntryType::Char | EntryType::Block if self.refuse_devices => {
                return Err(Refusal::Device { path: show(&path) }.into());
            }
            // A device 0/0 would be a whiteout in disguise, others are useless under the container's device rules.
            EntryType::Char | EntryType::Block => Ok(()),
            kind => {
                return Err(Refusal::Unsupported { path: show(&path), kind: char::from(kind.as_byte()) }.into());
            }
        };
        result.map_err(|e| refused_or_io("unpack", &path, e))?;
        // What was replaced may have been the cached directory itself.
        if self.parent.as_ref().is_some_and(|(cached, _)| cached.starts_with(&path))
            && member.kind != EntryType::Directory
        {
            self.parent = None;
        }
        Ok(())
    }

    /// Makes `path` the current directory, creating what is missing.
    fn enter(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() {
            self.parent = None;
            return Ok(());
        }
        if self.parent.as_ref().is_some_and(|(cached, _)| cached == path) {
            return Ok(());
        }
        let fd = match open_directory(self.root.as_fd(), path) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => self.create_directories(path)?,
            Err(errno) => return Err(refused_or_io("open", path, errno)),
        };
        self.parent = Some((path.to_owned(), fd));
        Ok(())
    }

    fn create_directories(&self, path: &Path) -> Result<OwnedFd> {
        let mut current = self.root.try_clone().map_err(Error::io("clone descriptor", path))?;
        for component in path.components() {
            let name = component.as_os_str();
            current = match open_directory(current.as_fd(), Path::new(name)) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) => mkdirat(&current, name, Mode::from_bits_truncate(0o755))
                    .and_then(|()| open_directory(current.as_fd(), Path::new(name)))
                    .map_err(|e| refused_or_io("create", path, e))?,
                Err(errno) => return Err(refused_or_io("open", path, errno)),
            };
        }
        Ok(current)
    }

    fn set_root_attributes<R: Read>(&self, member: &Member<'_, R>) -> Result<()> {
        if member.kind != EntryType::Directory {
            return Err(Refusal::Header { reason: "an entry has no name".to_owned() }.into());
        }
        set_descriptor_attributes(self.root.as_fd(), member)
            .map_err(|e| refused_or_io("set attributes", Path::new("."), e))
    }

    fn make_hard_link(&self, name: &OsStr, path: &Path, target: &[u8]) -> Result<()> {
        let target = clean_path(target)?;
        let dangling = || Error::from(Refusal::DanglingLink { path: show(path), target: show(&target) });
        let target_name = target.file_name().ok_or_else(dangling)?;
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => match open_directory(self.root.as_fd(), parent) {
                Ok(fd) => Some(fd),
                Err(Errno::ENOENT) => return Err(dangling()),
                Err(errno) => return Err(refused_or_io("open", &target, errno)),
            },
            _ => None,
        };
        let directory = directory.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
        let stat = match stat(directory, target_name) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Err(dangling()),
            Err(errno) => return Err(refused_or_io("stat", &target, errno)),
        };
        if is_kind(&stat, SFlag::S_IFCHR) || is_kind(&stat, SFlag::S_IFDIR) {
            return Err(dangling());
        }
        let parent = self.parent.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
        if target == path {
            return Ok(());
        }
        remove_existing(parent, name)
            .and_then(|()| linkat(directory, target_name, parent, name, AtFlags::empty()))
            .map_err(|e| refused_or_io("link", path, e))
    }
}

fn make_directory<R: Read>(parent: BorrowedFd<'_>, name: &OsStr, member: &Member<'_, R>) -> nix::Result<()> {
    let mut hides_lower = false;
    match stat(parent, name) {
        Ok(existing) if is_kind(&existing, SFlag::S_IFDIR) => {}
        Ok(existing) => {
            hides_lower = is_kind(&existing, SFlag::S_IFCHR);
            remove_existing(parent, name)?;
            mkdirat(parent, name, Mode::from_bits_truncate(0o700))?;
        }
        Err(Errno::ENOENT) => mkdirat(parent, name, Mode::from_bits_truncate(0o700))?,
        Err(errno) => return Err(errno),
    }
    let fd = open_directory(parent, Path::new(name))?;
    if hides_lower {
        make_opaque(fd.as_fd())?;
    }
    set_descriptor_attributes(fd.as_fd(), member)
}

fn make_file<R: Read>(parent: BorrowedFd<'_>, name: &OsStr, path: &Path, member: &mut Member<'_, R>) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = remove_existing(parent, name)
        .and_then(|()| openat(parent, name, flags, Mode::from_bits_truncate(0o600)))
        .map_err(|e| refused_or_io("create", path, e))?;
    let mut file = File::from(fd);
    let copied = copy(&mut member.body, &mut file, path)?;
    if copied != member.size {
        return Err(Refusal::Truncated.into());
    }
    set_descriptor_attributes(file.as_fd(), member).map_err(|e| refused_or_io("set attributes", path, e))
}

/// Like `io::copy`, but tells errors of the archive from errors of the disk.
fn copy(source: &mut impl Read, target: &mut File, path: &Path) -> Result<u64> {
    let mut buffer = [0; 32 << 10];
    let mut total = 0;
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(header_error(e)),
        };
        io::Write::write_all(target, &buffer[..n]).map_err(Error::io("write", path))?;
        total += n as u64;
    }
}

fn make_symlink<R: Read>(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    target: &OsStr,
    member: &Member<'_, R>,
) -> nix::Result<()> {
    remove_existing(parent, name)?;
    symlinkat(target, parent, name)?;
    set_link_attributes(parent, name, member)
}

fn make_fifo<R: Read>(parent: BorrowedFd<'_>, name: &OsStr, member: &Member<'_, R>) -> nix::Result<()> {
    remove_existing(parent, name)?;
    mknodat(parent, name, SFlag::S_IFIFO, Mode::from_bits_truncate(member.mode & 0o777), 0)?;
    set_link_attributes(parent, name, member)
}

fn whiteout(parent: BorrowedFd<'_>, hidden: &OsStr) -> nix::Result<()> {
    // A whiteout is about lower layers: what this layer itself brought stays.
    match stat(parent, hidden) {
        Err(Errno::ENOENT) => mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)),
        Ok(existing) if is_kind(&existing, SFlag::S_IFDIR) => {
            make_opaque(open_directory(parent, Path::new(hidden))?.as_fd())
        }
        other => other.map(drop),
    }
}

fn make_opaque(directory: BorrowedFd<'_>) -> nix::Result<()> {
    set_attribute(directory, OPAQUE_ATTRIBUTE, b"y")
}

fn set_descriptor_attributes<R: Read>(fd: BorrowedFd<'_>, member: &Member<'_, R>) -> nix::Result<()> {
    fchown(fd, Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))?;
    for (name, value) in &member.xattrs {
        // Only what has a meaning inside a container; `trusted.overlay.*` would steer the overlay mount.
        if name == b"security.capability" || name.starts_with(b"user.") {
            match set_attribute(fd, name, value) {
                Err(Errno::EOPNOTSUPP) => {}
                other => other?,
            }
        }
    }
    fchmod(fd, Mode::from_bits_truncate(member.mode))?;
    let time = TimeSpec::new(member.mtime, 0);
    nix::sys::stat::futimens(fd, &time, &time)
}

fn set_link_attributes<R: Read>(parent: BorrowedFd<'_>, name: &OsStr, member: &Member<'_, R>) -> nix::Result<()> {
    let owner = (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)));
    fchownat(parent, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let time = TimeSpec::new(member.mtime, 0);
    utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

#[expect(unsafe_code, reason = "no safe wrapper of fsetxattr among the dependencies")]
fn set_attribute(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> nix::Result<()> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` is NUL-terminated, `value` is valid for its length, both outlive the call.
    let result = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// Removes whatever is at `name`, a directory with all it contains.
pub(crate) fn remove_existing(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = Dir::from_fd(openat(parent, name, flags, Mode::empty())?)?;
    let names: Vec<_> =
        directory.iter().map(|entry| entry.map(|e| e.file_name().to_owned())).collect::<Result<_, _>>()?;
    for child in names {
        if child.as_bytes() != b"." && child.as_bytes() != b".." {
            remove_existing(directory.as_fd(), OsStr::from_bytes(child.as_bytes()))?;
        }
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

fn open_root(root: &Path) -> Result<OwnedFd> {
    File::open(root).map(OwnedFd::from).map_err(Error::io("open", root))
}

/// Opens a directory below `base` without ever following a link or leaving `base` or its file system.
fn open_directory(base: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    openat2(base, path, how)
}

fn stat(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn refused_or_io(operation: &'static str, path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => Refusal::ThroughLink { path: show(path) }.into(),
        Errno::EXDEV => Refusal::Traversal { path: show(path) }.into(),
        _ => Error::Io { operation, path: path.to_owned(), source: errno.into() },
    }
}
