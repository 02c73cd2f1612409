//! The few mounts the node's agent makes itself: tmpfs, safe sub-paths, and taking them down again.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

/// Mounts a tmpfs, once.
pub(crate) fn tmpfs(target: &Path, size: Option<i64>, mode: u32) -> io::Result<()> {
    std::fs::create_dir_all(target)?;
    if is_mount_point(target)? {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size.filter(|size| *size > 0) {
        options.push_str(&format!(",size={size}"));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str())).map_err(io::Error::from)
}

/// A directory on another device than its parent.
pub(super) fn is_mount_point(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata(path)?;
    let Some(parent) = path.parent() else { return Ok(true) };
    Ok(own.dev() != std::fs::metadata(parent)?.dev())
}

/// Binds a path inside a volume to `target`, never leaving the volume whatever links a container made in it, and
/// making missing directories. What is bound is the open file itself, so a later swap changes nothing.
pub(crate) fn bind_sub_path(volume: &Path, sub_path: &str, target: &Path) -> io::Result<()> {
    let root = std::fs::File::open(volume)?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = |flags: OFlag| OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let open = |path: &Path, flags: OFlag| openat2(&root, path, how(flags)).map_err(io::Error::from);
    let wanted = Path::new(sub_path);
    let found = match open(wanted, OFlag::O_PATH) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut so_far = PathBuf::new();
            let mut parent = open(Path::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
            for part in wanted.components() {
                so_far.push(part);
                parent = match open(&so_far, OFlag::O_PATH | OFlag::O_DIRECTORY) {
                    Ok(next) => next,
                    Err(_) => {
                        mkdirat(&parent, part.as_os_str(), Mode::from_bits_truncate(0o755)).map_err(io::Error::from)?;
                        open(&so_far, OFlag::O_PATH | OFlag::O_DIRECTORY)?
                    }
                };
            }
            parent
        }
        Err(error) => return Err(error),
    };
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    let is_dir = std::fs::metadata(&source)?.is_dir();
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    unmount(target)?;
    if is_dir {
        std::fs::create_dir_all(target)?;
    } else if !target.exists() {
        std::fs::File::create(target)?;
    }
    mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(io::Error::from)
}

/// Unmounts; what is not mounted is fine.
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Everything mounted below a directory, deepest first.
pub(super) fn mounts_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path.starts_with(dir) && path != dir)
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    Ok(found)
}

/// The kernel writes blanks in paths as octal escapes.
fn unescape(text: &str) -> PathBuf {
    let mut out = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        if out.contains(code) {
            out = out.replace(code, plain);
        }
    }
    PathBuf::from(out)
}

/// Removes a directory with everything in it, unmounting first what is mounted there; never follows a mount that
/// could not be undone.
pub(crate) fn remove_all(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for path in mounts_below(dir)? {
        unmount(&path)?;
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives a volume to a group: setgid directories, group access to everything. Upstream: pkg/volume/volume_linux.go.
pub(super) fn set_group(dir: &Path, group: u32, read_only: bool) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt as _, lchown};
    let meta = std::fs::symlink_metadata(dir)?;
    lchown(dir, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions().mode() | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
        for entry in std::fs::read_dir(dir)? {
            set_group(&entry?.path(), group, read_only)?;
        }
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}
