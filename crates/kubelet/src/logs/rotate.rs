//! Keeps log files small: a file that has grown too large is renamed and the runtime asked to open a new one.
//! Older files beyond the count are removed. Upstream: pkg/kubelet/logs/container_log_manager.go.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// What a check of one file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    NotNeeded,
    /// Renamed; the runtime has to open the file anew. `undo` is the new name, in case it cannot.
    Rotated {
        renamed: PathBuf,
    },
}

/// Rotates the file if it is too large, keeping `max_files` files including the new one.
pub(crate) fn rotate(path: &Path, max_size: u64, max_files: u32, now: Timestamp) -> io::Result<Rotation> {
    let size = match std::fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Rotation::NotNeeded),
        Err(error) => return Err(error),
    };
    if size < max_size {
        return Ok(Rotation::NotNeeded);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut old: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|other| {
            let other = other.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            other.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.') && rest.len() > 1)
        })
        .collect();
    old.sort();
    // The file in use and the one renamed now count too.
    let keep = usize::try_from(max_files.saturating_sub(2)).unwrap_or(0);
    for stale in &old[..old.len().saturating_sub(keep)] {
        std::fs::remove_file(stale)?;
    }
    let renamed = directory.join(format!("{name}.{}", now.strftime("%Y%m%d-%H%M%S")));
    std::fs::rename(path, &renamed)?;
    Ok(Rotation::Rotated { renamed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_rotated_and_old_ones_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for second in 0..6 {
            std::fs::write(&path, "0123456789").unwrap();
            let at = Timestamp::from_second(second).unwrap();
            assert!(matches!(rotate(&path, 10, 3, at).unwrap(), Rotation::Rotated { .. }));
        }
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0.log.19700101-000004", "0.log.19700101-000005"]);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(rotate(&path, 10, 3, Timestamp::UNIX_EPOCH).unwrap(), Rotation::NotNeeded);
    }
}
