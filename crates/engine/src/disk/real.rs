//! A directory of the machine's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::EngineError;
use crate::disk::{Disk, DiskFile, failed};

#[derive(Clone)]
pub struct RealDisk {
    path: PathBuf,
}

struct RealFile(File);

// === impl RealDisk ===

impl RealDisk {
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> RealDisk {
        RealDisk { path: path.into() }
    }
}

impl Disk for RealDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> Result<Box<dyn Send>, EngineError> {
        create_durably(&self.path).map_err(failed("create", self.path.clone()))?;
        let path = self.path.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed("open", path.clone()))?;
        match file.try_lock() {
            // The lock ends with the file.
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(EngineError::Locked { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Box::new(RealFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(RealFile(options.open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn boot_id(&self) -> String {
        // Without one every crash counts as a power cut, which is safe.
        fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |id| id.trim().to_owned())
    }
}

// === impl RealFile ===

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let wanted = buffer.len();
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buffer.len())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Writes zeros, rather than leave unwritten extents: turning those into written ones costs the file system a
    /// journal commit with every sync, which is several times the bytes of a small record.
    fn allocate(&mut self, len: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let start = self.size()?;
        let mut at = start;
        while at < len {
            let step = (len - at).min(ZEROS.len() as u64);
            let zeros = &ZEROS[..usize::try_from(step).unwrap_or(ZEROS.len())];
            if let Err(error) = self.0.write_all_at(zeros, at) {
                // As it was: half an extension would be taken for a whole one the next time.
                self.0.set_len(start)?;
                return Err(error);
            }
            at += step;
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Makes a directory and those above it, and their names durable: a file in a directory that a power cut takes away
/// was synced for nothing.
fn create_durably(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        if let Some(parent) = made.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}
