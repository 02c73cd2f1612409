//! The record of an image on disk: everything that listing and starting containers needs, so that no blob is parsed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::{Digest, Error, Result};

/// A blob as manifests name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Digest of the configuration.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Normalised references with tags.
    pub names: Vec<String>,
    /// `name@digest` of the manifests or indexes it was pulled by.
    pub repo_digests: Vec<String>,
    /// Layers as they came, lowest first.
    pub layers: Vec<Descriptor>,
    /// Layers as they are unpacked, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Bytes of all blobs, as containerd counts an image's size.
    pub size: u64,
    pub config: ImageConfig,
    pub architecture: String,
    /// Nanoseconds since the epoch; decides between two claims on a name.
    pub stored_at: u128,
    /// Never collected by the node.
    #[serde(default)]
    pub pinned: bool,
}

pub(super) fn load_all(directory: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            // A temporary file of a record that was never finished.
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            continue;
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        match serde_json::from_slice::<Image>(&bytes) {
            Ok(image) => images.push(image),
            Err(error) => {
                // The image can be had again; refusing to start would help nobody.
                tracing::warn!(path = %path.display(), %error, "image record is unreadable and is dropped");
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
    }
    Ok(images)
}

pub(super) fn save(directory: &Path, image: &Image) -> Result<()> {
    let bytes = serde_json::to_vec(image).map_err(|e| Error::document("image record", e))?;
    write_durably(&directory.join(format!("{}.json", image.id.hex())), &bytes)
}

pub(super) fn delete(directory: &Path, id: &Digest) -> Result<()> {
    let path = directory.join(format!("{}.json", id.hex()));
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
        _ => Ok(()),
    }
}

/// Replaces a file so that after a crash there is the old one or the new one.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(Error::io("write", path))
}
