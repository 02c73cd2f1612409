//! Removing blobs and layers that no image and no container needs.

use std::collections::HashSet;
use std::fs;

use super::{Store, directory};
use crate::{Digest, Error, Result};

impl Store {
    /// Removes unused content; while something is being brought in, the last one to finish does it.
    pub fn collect_garbage(&self) -> Result<()> {
        let mut state = self.shared.state.lock();
        if state.ingesting > 0 {
            state.collect_later = true;
            return Ok(());
        }
        // The lock is kept, so that no import starts to rely on what is being removed.
        let layers = state.layers_in_use();
        let blobs: HashSet<Digest> = state
            .images
            .values()
            .flat_map(|image| image.layers.iter().map(|layer| &layer.digest).chain([&image.id, &image.manifest]))
            .cloned()
            .collect();
        let mut removed = 0_u64;
        removed += sweep(&self.shared.root.join("blobs/sha256"), &blobs)?;
        removed += sweep(&self.shared.root.join("layers"), &layers)?;
        if removed > 0 {
            tracing::debug!(removed, "removed unused image content");
        }
        Ok(())
    }
}

fn sweep(path: &std::path::Path, used: &HashSet<Digest>) -> Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry = entry.map_err(Error::io("list", path))?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        if digest.is_some_and(|digest| used.contains(&digest)) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            directory::remove(&path)?;
        } else {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        removed += 1;
    }
    Ok(removed)
}
