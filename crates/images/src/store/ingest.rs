//! Bringing content in: blobs are checked while they are written, layers are unpacked beside their final place, and
//! the record comes last.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::record::{self, Descriptor, Image};
use super::{Store, directory};
use crate::archive::{MAX_LAYERS, Refusal, extract_layer};
use crate::config::ConfigFile;
use crate::digest::HashingWriter;
use crate::{Digest, Error, Reference, Result};

/// Permission to add content; nothing is collected while one exists.
pub(crate) struct Ingest<'s> {
    store: &'s Store,
}

/// An image whose layer blobs are all in the store.
pub(crate) struct Commit {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) names: Vec<Reference>,
    pub(crate) repo_digests: Vec<String>,
    /// Whether it came by hand, so that the node cannot fetch it again.
    pub(crate) pinned: bool,
}

#[derive(serde::Deserialize)]
struct ManifestLayers {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

static TEMPORARY: AtomicU64 = AtomicU64::new(0);

// === impl Store ===

impl Store {
    pub(crate) fn ingest(&self) -> Ingest<'_> {
        self.shared.state.lock().ingesting += 1;
        Ingest { store: self }
    }
}

// === impl Ingest ===

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        let collect = {
            let mut state = self.store.shared.state.lock();
            state.ingesting -= 1;
            state.ingesting == 0 && std::mem::take(&mut state.collect_later)
        };
        if collect && let Err(error) = self.store.collect_garbage() {
            tracing::warn!(error = &error as &dyn std::error::Error, "collecting unused image content failed");
        }
    }
}

impl Ingest<'_> {
    /// A new file under `ingest/`.
    pub(crate) fn create_temporary(&self) -> Result<(File, PathBuf)> {
        let path = self.temporary_path();
        let file =
            File::options().read(true).write(true).create_new(true).open(&path).map_err(Error::io("create", &path))?;
        Ok((file, path))
    }

    /// Where a download of `digest` is kept until it is complete, so that it can be resumed.
    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.store.shared.root.join("ingest").join(format!("{}.partial", digest.hex()))
    }

    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.store.blob_file(digest).exists()
    }

    /// Copies a blob in. With `expected`, anything else is refused; a blob that is there already is not copied.
    pub(crate) fn add_blob(&self, source: &mut impl Read, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        if let Some(digest) = expected
            && let Ok(metadata) = fs::metadata(self.store.blob_file(digest))
        {
            return Ok((digest.clone(), metadata.len()));
        }
        let (file, path) = self.create_temporary()?;
        let mut writer = HashingWriter::new(file);
        let copied = io::copy(source, &mut writer).map_err(Error::io("write", &path));
        let (_, digest, size) = writer.finish();
        let checked = copied.and_then(|_| match expected {
            Some(expected) if *expected != digest => {
                Err(Error::DigestMismatch { expected: expected.to_string(), actual: digest.to_string() })
            }
            _ => self.adopt_blob(&path, &digest),
        });
        if checked.is_err() {
            remove_quietly(&path);
        }
        checked.map(|()| (digest, size))
    }

    /// Moves a file whose digest was checked into place.
    pub(crate) fn adopt_blob(&self, path: &Path, digest: &Digest) -> Result<()> {
        fs::rename(path, self.store.blob_file(digest)).map_err(Error::io("rename", path))
    }

    /// Unpacks one layer unless it is there. The blob must be in the store.
    pub(crate) fn unpack(&self, blob: &Digest, diff_id: &Digest) -> Result<()> {
        let target = self.store.layer_directory(diff_id);
        if target.exists() {
            return Ok(());
        }
        let temporary = self.temporary_path();
        let result = self.unpack_into(blob, diff_id, &temporary);
        if result.is_err() {
            directory::remove_quietly(&temporary);
        }
        result
    }

    fn unpack_into(&self, blob: &Digest, diff_id: &Digest, temporary: &Path) -> Result<()> {
        let fs_directory = temporary.join("fs");
        fs::create_dir_all(&fs_directory).map_err(Error::io("create", &fs_directory))?;
        let path = self.store.blob_file(blob);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let summary = extract_layer(file, &fs_directory, self.store.limits())?;
        if summary.diff_id != *diff_id {
            return Err(Error::DigestMismatch { expected: diff_id.to_string(), actual: summary.diff_id.to_string() });
        }
        let target = self.store.shared.root.join("layers").join(diff_id.hex());
        match fs::rename(temporary, &target) {
            // Another import finished the same layer meanwhile.
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                directory::remove_quietly(temporary);
                Ok(())
            }
            other => other.map_err(Error::io("rename", &target)),
        }
    }

    /// Makes an image of blobs that are in the store: checks, unpacks, syncs, and writes the record.
    pub(crate) fn commit(&self, commit: Commit) -> Result<Arc<Image>> {
        let manifest: ManifestLayers =
            serde_json::from_slice(&commit.manifest).map_err(|e| Error::document("manifest", e))?;
        let config = ConfigFile::parse(&commit.config)?;
        if manifest.layers.len() > MAX_LAYERS || manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(Error::document("manifest", "layers do not fit the image config"));
        }
        let (id, _) = self.add_blob(&mut commit.config.as_slice(), Some(&manifest.config.digest))?;
        let (manifest_digest, manifest_size) = self.add_blob(&mut commit.manifest.as_slice(), None)?;
        let mut size = manifest_size + commit.config.len() as u64;
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let path = self.store.blob_file(&layer.digest);
            size += fs::metadata(&path).map_err(|_| Refusal::Missing { path: layer.digest.to_string() })?.len();
            self.unpack(&layer.digest, diff_id)?;
        }
        self.sync()?;
        let image = Image {
            id,
            manifest: manifest_digest,
            names: Vec::new(),
            repo_digests: Vec::new(),
            layers: manifest.layers,
            diff_ids: config.rootfs.diff_ids,
            size,
            config: config.config,
            architecture: config.architecture,
            stored_at: 0,
            pinned: commit.pinned,
        };
        self.add_names(&image, &commit.names, &commit.repo_digests)
    }

    /// Writes the record of `image` with further names, which leave the images that had them.
    pub(crate) fn add_names(&self, image: &Image, names: &[Reference], repo_digests: &[String]) -> Result<Arc<Image>> {
        let directory = self.store.images_directory();
        let mut state = self.store.shared.state.lock();
        let mut new = state.images.get(&image.id).map_or_else(|| image.clone(), |known| (**known).clone());
        new.pinned |= image.pinned;
        new.stored_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        for name in names {
            let name = name.to_string();
            if !new.names.contains(&name) {
                new.names.push(name);
            }
        }
        for digest in repo_digests {
            if !new.repo_digests.contains(digest) {
                new.repo_digests.push(digest.clone());
            }
        }
        let new = Arc::new(new);
        record::save(&directory, &new)?;
        let losers: Vec<Arc<Image>> = state
            .images
            .values()
            .filter(|other| other.id != new.id && other.names.iter().any(|name| new.names.contains(name)))
            .cloned()
            .collect();
        for loser in losers {
            let names = loser.names.iter().filter(|name| !new.names.contains(name)).cloned().collect();
            let loser = Image { names, ..(*loser).clone() };
            record::save(&directory, &loser)?;
            state.insert(Arc::new(loser));
        }
        state.insert(Arc::clone(&new));
        Ok(new)
    }

    /// Everything written so far reaches the disk: one call for thousands of small files.
    fn sync(&self) -> Result<()> {
        let root = &self.store.shared.root;
        let directory = File::open(root).map_err(Error::io("open", root))?;
        nix::unistd::syncfs(directory.as_fd()).map_err(|errno| Error::io("sync", root)(errno.into()))
    }

    fn temporary_path(&self) -> PathBuf {
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        self.store.shared.root.join("ingest").join(format!("tmp-{}-{number}", std::process::id()))
    }
}

/// Empties `ingest/` except for partial downloads, which a pull may resume.
pub(super) fn empty(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "partial") {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "temporary file cannot be removed");
    }
}

/// Writes what was received to the end of a partial download.
pub(crate) fn append(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(Error::io("write", path))
}
