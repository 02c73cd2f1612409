//! Mounting a container's root. It happens in the helper's own mount namespace, so the host's table of mounts does not
//! grow with containers and there is nothing to unmount afterwards.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};

use super::launch::{ImageMount, Launch};
use crate::error::{Result, RuntimeError};

/// The classic call passes its options in one page.
const CLASSIC_LIMIT: usize = 4000;

/// Mounts the root of `launch`.
pub(super) fn mount_root(launch: &Launch) -> Result<()> {
    mount_overlay(&launch.lower, Some((&launch.upper, &launch.work)), &launch.rootfs)
}

/// Mounts an image for a volume, without anything to write to.
pub(super) fn mount_image(image: &ImageMount) -> Result<()> {
    std::fs::create_dir_all(&image.target).map_err(RuntimeError::io("create", &image.target))?;
    let bind = |source: &Path| {
        mount(Some(source), &image.target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(RuntimeError::errno("bind", &image.target))
    };
    match image.lower.as_slice() {
        // One layer alone is no overlay.
        [single] => bind(single)?,
        lower => mount_overlay(lower, None, &image.target)?,
    }
    let sub_path = image.sub_path.trim_matches('/');
    if sub_path.is_empty() {
        return Ok(());
    }
    // An image's links must not lead to the host, so the kernel resolves them inside the image.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let root = File::open(&image.target).map_err(RuntimeError::io("open", &image.target))?;
    let part = openat2(&root, sub_path, how).map_err(RuntimeError::errno("open in image", sub_path))?;
    bind(Path::new(&format!("/proc/self/fd/{}", part.as_raw_fd())))
}

fn mount_overlay(lower: &[PathBuf], writable: Option<(&PathBuf, &PathBuf)>, target: &Path) -> Result<()> {
    if lower.is_empty() {
        return Err(RuntimeError::Invalid("image has no layers".to_owned()));
    }
    let mut options = String::from("lowerdir=");
    for (index, path) in lower.iter().enumerate() {
        if index > 0 {
            options.push(':');
        }
        options.push_str(&escape(path));
    }
    if let Some((upper, work)) = writable {
        options.push_str(&format!(",upperdir={},workdir={}", escape(upper), escape(work)));
        // Losing a container's files in a power cut is fine; syncing them at each unmount is not.
        options.push_str(",volatile");
    }
    if options.len() > CLASSIC_LIMIT {
        return mount_many(lower, writable, target).map_err(RuntimeError::errno("mount overlay on", target));
    }
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(RuntimeError::errno("mount overlay on", target))
}

/// Commas and colons separate options and layers.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// The newer calls, which take one layer at a time (Linux 6.8).
#[expect(unsafe_code, reason = "no safe wrapper of fsopen, fsconfig and move_mount among the dependencies")]
fn mount_many(lower: &[PathBuf], writable: Option<(&PathBuf, &PathBuf)>, target: &Path) -> nix::Result<()> {
    use std::ffi::CString;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    const FSCONFIG_SET_STRING: libc::c_long = 1;
    const FSCONFIG_CMD_CREATE: libc::c_long = 6;
    const CLOEXEC: libc::c_long = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_long = 4;
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::EINVAL);
    let own = |result: libc::c_long| -> nix::Result<OwnedFd> {
        let number = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    // SAFETY: the name is NUL-terminated and outlives the call.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), CLOEXEC) })?;
    let set = |key: &std::ffi::CStr, value: &[u8]| -> nix::Result<()> {
        let value = c_string(value)?;
        let fd = libc::c_long::from(context.as_raw_fd());
        // SAFETY: both strings are NUL-terminated and outlive the call.
        let result =
            unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0) };
        Errno::result(result).map(drop)
    };
    for path in lower {
        set(c"lowerdir+", path.as_os_str().as_bytes())?;
    }
    if let Some((upper, work)) = writable {
        set(c"upperdir", upper.as_os_str().as_bytes())?;
        set(c"workdir", work.as_os_str().as_bytes())?;
    }
    let fd = libc::c_long::from(context.as_raw_fd());
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: creating takes no strings.
    Errno::result(unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, none, none, 0) })?;
    // SAFETY: plain numbers.
    let mounted = own(unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOEXEC, 0) })?;
    let target = c_string(target.as_os_str().as_bytes())?;
    let from = libc::c_long::from(mounted.as_raw_fd());
    let here = libc::c_long::from(libc::AT_FDCWD);
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), here, target.as_ptr(), MOVE_MOUNT_F_EMPTY_PATH)
    };
    Errno::result(result).map(drop)
}
