//! The few things the log asks of a file system, behind a trait, so that tests can take the power away between any
//! two of them. Knows nothing of what is in the files.

mod real;
pub mod sim;

pub use real::RealDisk;

use std::io;
use std::path::{Path, PathBuf};

use crate::EngineError;

/// One directory of plain files.
pub trait Disk: Send + Sync + 'static {
    /// For messages.
    fn path(&self) -> &Path;

    /// Makes the directory if it is not there, readable by its owner only, and keeps every other process out until
    /// the guard is dropped.
    fn lock(&self) -> Result<Box<dyn Send>, EngineError>;

    fn list(&self) -> io::Result<Vec<String>>;

    /// To read and write what is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// To write anew; what was there is gone.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Replaces what has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: created, renamed and removed ones.
    fn sync_names(&self) -> io::Result<()>;

    /// Changes with every start of the machine: what was written under the same one did not lose its page cache.
    fn boot_id(&self) -> String;
}

pub trait DiskFile: Send {
    fn size(&self) -> io::Result<u64>;

    /// Reads until the buffer is full or the file ends.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least so long, with zeros, and takes the space for it now.
    fn allocate(&mut self, len: u64) -> io::Result<()>;

    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Makes the contents durable, and as much of the length as is needed to read them.
    fn sync(&mut self) -> io::Result<()>;
}

/// Says what was tried, where.
pub(crate) fn failed(action: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> EngineError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => EngineError::Full { path },
        _ => EngineError::Io { action, path, source },
    }
}
