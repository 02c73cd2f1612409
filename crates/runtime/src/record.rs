//! What is written down about sandboxes and containers, so that a new process finds them. Written by rename, never
//! synced: after a power cut the containers are gone anyway.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Result, RuntimeError};

/// How often a directory may turn out to have something new in it.
const TRIES: usize = 16;

pub(crate) const RECORD_FILE: &str = "record.json";

/// A sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: String,
    pub(crate) config: cri::PodSandboxConfig,
    pub(crate) created_at: cri::UnixNanos,
    /// A sandbox of another boot is only a memory.
    pub(crate) boot_id: String,
    /// Absolute path below every hierarchy's mount.
    pub(crate) cgroup_parent: String,
    pub(crate) ips: Vec<IpAddr>,
    /// Stopped sandboxes have no network and run nothing.
    pub(crate) stopped: bool,
    /// First process of the shared pid namespace, where the pod has one.
    pub(crate) init_pid: Option<i32>,
    /// Its making has begun and not ended: it may lack its network.
    #[serde(default)]
    pub(crate) half_made: bool,
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) config: cri::ContainerConfig,
    pub(crate) created_at: cri::UnixNanos,
    /// Zero: not started.
    pub(crate) started_at: cri::UnixNanos,
    pub(crate) pid: i32,
    /// Start time of `pid` in clock ticks, which together name a process.
    pub(crate) pid_started: u64,
    pub(crate) exit: Option<Exit>,
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    pub(crate) cgroup: String,
    pub(crate) log_path: PathBuf,
    pub(crate) stop_signal: String,
    pub(crate) user: Option<(i64, i64, Vec<i64>)>,
    /// Set when starting failed.
    pub(crate) resources: cri::LinuxResources,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) at: cri::UnixNanos,
    pub(crate) reason: String,
    pub(crate) message: String,
}

pub(crate) fn save(path: &Path, record: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|source| RuntimeError::Record { path: path.to_owned(), source })?;
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).map_err(RuntimeError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(RuntimeError::io("rename", path))
}

pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(RuntimeError::io("read", path)(e)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| RuntimeError::Record { path: path.to_owned(), source })
}

/// The exit file that the monitor writes: code and time.
pub(crate) fn load_exit(directory: &Path) -> Option<(i32, cri::UnixNanos)> {
    let text = fs::read_to_string(directory.join("exit")).ok()?;
    let (code, at) = text.trim().split_once(' ')?;
    Some((code.parse().ok()?, at.parse().ok()?))
}

/// Removes a directory and all in it; gone already is success. The end of a container is recorded whenever it comes,
/// so a file may appear between the look into the directory and its removal: then once more.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    for _ in 0..TRIES {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            outcome => return outcome,
        }
    }
    fs::remove_dir_all(path)
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> cri::UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A new id: 64 hexadecimal characters from the kernel's generator.
pub(crate) fn new_id() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    let source = "/dev/urandom";
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(RuntimeError::io("read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
