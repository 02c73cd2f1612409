//! Network namespaces: make one, keep one, run a function inside one.
//!
//! A namespace belongs to a thread, never to a process: work inside another one happens on a thread that is born for
//! it and ends with it, so no thread of the runtime can be left in the wrong place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

/// A network namespace held open.
#[derive(Debug)]
pub struct Namespace(File);

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const OWN: &str = "/proc/thread-self/ns/net";

impl Namespace {
    /// The one pinned at, or linked from, `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// The calling thread's.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// A new, empty one; it lives as long as this value or anything in it.
    pub fn create() -> io::Result<Self> {
        on_thread(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })?
    }

    /// Runs `work` on a thread inside this namespace and waits for it. `/sys` still shows the old one; files under
    /// `/proc/sys/net` follow the thread.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            nix::sched::setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?
    }

    /// Keeps the namespace alive at `path` (made if missing) without a process, until [`Self::unpin`].
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        File::options().create(true).append(true).open(path)?;
        self.run(|| nix::mount::mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>))??;
        Ok(())
    }

    pub fn unpin(path: &Path) -> io::Result<()> {
        match nix::mount::umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("the work inside the namespace panicked"))
    })
}

/// Writes one value below `/proc/sys/net` of the calling thread's namespace, `key` as `ipv4/ip_forward`. A value
/// that is there already is not written again, so a read-only `/proc/sys` that was set up from outside is accepted.
pub fn set_sysctl(key: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    if std::fs::read_to_string(&path).is_ok_and(|old| old.trim() == value) {
        return Ok(());
    }
    std::fs::write(path, value)
}

/// One value below `/proc/sys/net` of the calling thread's namespace.
pub fn sysctl(key: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(Path::new("/proc/sys/net").join(key))?.trim().to_owned())
}
