//! Archives in a directory that are imported once, and small operations on whole trees.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::{self, Image};
use super::{Store, Usage};
use crate::{Digest, Error, Result};

/// What identifies an archive without reading it, and what came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    size: u64,
    modified: i64,
    modified_nanos: i64,
    inode: u64,
    images: Vec<Digest>,
}

const SEEN_FILE: &str = "imported.json";

// === impl Store ===

impl Store {
    /// Imports every archive (`*.tar`, `*.tar.gz`, `*.tgz`, `*.tar.zst`) of `directory` that changed since it was last
    /// imported or whose images are gone. One bad archive does not keep the others from being imported.
    pub fn import_directory(&self, directory: &Path) -> Result<Vec<Arc<Image>>> {
        let mut seen = self.load_seen()?;
        let mut imported = Vec::new();
        let mut names: Vec<_> = match fs::read_dir(directory) {
            Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(imported),
            Err(e) => return Err(Error::io("list", directory)(e)),
        };
        names.retain(|path| is_archive(path));
        names.sort();
        let mut changed = false;
        for path in names {
            let key = path.to_string_lossy().into_owned();
            let Some(mut now) = stat(&path) else { continue };
            if let Some(before) = seen.get(&key) {
                now.images.clone_from(&before.images);
                if now == *before && self.has_all(&now.images) {
                    continue;
                }
            }
            let images = File::open(&path).map_err(Error::io("open", &path)).and_then(|file| self.import(&file, &[]));
            match images {
                Ok(images) => {
                    now.images = images.iter().map(|image| image.id.clone()).collect();
                    seen.insert(key, now);
                    changed = true;
                    tracing::info!(path = %path.display(), images = images.len(), "imported image archive");
                    imported.extend(images);
                }
                Err(error) => tracing::warn!(
                    path = %path.display(),
                    error = &error as &dyn std::error::Error,
                    "image archive cannot be imported"
                ),
            }
        }
        if changed {
            let bytes = serde_json::to_vec(&seen).map_err(|e| Error::document("import record", e))?;
            record::write_durably(&self.shared.root.join(SEEN_FILE), &bytes)?;
        }
        Ok(imported)
    }

    fn load_seen(&self) -> Result<BTreeMap<String, Seen>> {
        let path = self.shared.root.join(SEEN_FILE);
        match fs::read(&path) {
            // Unreadable means importing once more, which is harmless.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(Error::io("read", &path)(e)),
        }
    }

    fn has_all(&self, images: &[Digest]) -> bool {
        let state = self.shared.state.lock();
        images.iter().all(|id| state.images.contains_key(id))
    }
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|suffix| name.ends_with(suffix)) && path.is_file()
}

fn stat(path: &Path) -> Option<Seen> {
    let metadata = fs::metadata(path).ok()?;
    Some(Seen {
        size: metadata.len(),
        modified: metadata.mtime(),
        modified_nanos: metadata.mtime_nsec(),
        inode: metadata.ino(),
        images: Vec::new(),
    })
}

/// Blocks and inodes below `root`.
pub(super) fn usage(root: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // Removed while we looked.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io("list", &path)(e)),
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            usage.bytes += metadata.blocks() * 512;
            usage.inodes += 1;
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(usage)
}

/// Removes a tree.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

pub(super) fn remove_quietly(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "directory cannot be removed");
    }
}
