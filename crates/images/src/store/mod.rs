//! The content store of a node: blobs by digest, unpacked layers, and one small record per image.
//!
//! ```text
//! blobs/sha256/<hex>     manifests, configurations, layers as they came
//! layers/<hex>/fs        a layer unpacked, ready as overlay lower directory; named by its diff id
//! images/<hex>.json      one record per image; written last, so that a listed image is complete
//! ingest/                work in progress, emptied at start
//! ```
//! Bytes reach the disk before the record does; nothing else is synced. The store is opened by one process.

mod collect;
mod directory;
mod ingest;
mod record;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use ingest::{Commit, Ingest, append};
pub use record::{Descriptor, Image};

use crate::archive::Limits;
use crate::{Digest, Error, Reference, Result};

#[cfg(test)]
mod tests;

/// Handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<Digest, Arc<Image>>,
    names: HashMap<String, Digest>,
    /// Layers that containers run on, by container.
    held: HashMap<String, Vec<Digest>>,
    /// Imports and pulls in progress: nothing is collected meanwhile.
    ingesting: usize,
    collect_later: bool,
}

/// What [`Store::remove`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub untagged: Vec<String>,
    pub deleted: Option<Digest>,
}

/// What the store takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

const MIN_ID_PREFIX: usize = 3;

// === impl Store ===

impl Store {
    /// Opens (and makes) the store, throws away what a crash left half-done.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(root, Limits::default())
    }

    /// Like [`Store::open`], with other limits on archives.
    pub fn open_with(root: impl Into<PathBuf>, limits: Limits) -> Result<Self> {
        let root = root.into();
        for directory in ["blobs/sha256", "layers", "images", "ingest"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        ingest::empty(&root.join("ingest"))?;
        let mut state = State::default();
        for image in record::load_all(&root.join("images"))? {
            state.insert(Arc::new(image));
        }
        let store = Self { shared: Arc::new(Shared { root, limits, state: Mutex::new(state) }) };
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// All images, by id.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.shared.state.lock().images.values().cloned().collect()
    }

    /// The image of a reference, an id, or a unique prefix of an id.
    pub fn find(&self, name: &str) -> Result<Arc<Image>> {
        self.shared.state.lock().find(name)
    }

    /// Like [`Store::find`] where absence is no error.
    pub fn get(&self, name: &str) -> Option<Arc<Image>> {
        self.find(name).ok()
    }

    /// The overlay lower directories of an image, topmost first as `mount` wants them.
    pub fn lower_directories(&self, image: &Image) -> Vec<PathBuf> {
        image.diff_ids.iter().rev().map(|diff_id| self.layer_directory(diff_id)).collect()
    }

    /// Gives an image one more name; the name leaves any image that had it.
    pub fn tag(&self, name: &str, new: &Reference) -> Result<Arc<Image>> {
        let ingest = self.ingest();
        let image = self.find(name)?;
        ingest.add_names(&image, std::slice::from_ref(new), &[])
    }

    /// Removes a name, or (by id, or with the last name) the image. Layers of running containers stay until they end.
    pub fn remove(&self, name: &str) -> Result<Removed> {
        let removed = {
            let mut state = self.shared.state.lock();
            let image = state.find(name)?;
            let reference = name.parse::<Reference>().ok().map(|reference| reference.to_string());
            let remaining: Vec<String> = match reference.filter(|reference| image.names.contains(reference)) {
                Some(reference) => image.names.iter().filter(|other| **other != reference).cloned().collect(),
                None => Vec::new(),
            };
            let untagged = image.names.iter().filter(|name| !remaining.contains(name)).cloned().collect();
            if remaining.is_empty() {
                record::delete(&self.images_directory(), &image.id)?;
                state.drop_image(&image);
                Removed { untagged, deleted: Some(image.id.clone()) }
            } else {
                let kept = Image { names: remaining, ..(*image).clone() };
                record::save(&self.images_directory(), &kept)?;
                state.insert(Arc::new(kept));
                Removed { untagged, deleted: None }
            }
        };
        if removed.deleted.is_some() {
            self.collect_garbage()?;
        }
        Ok(removed)
    }

    /// Removes an image with all its names.
    pub fn remove_image(&self, name: &str) -> Result<Removed> {
        let id = self.find(name)?.id.to_string();
        self.remove(&id)
    }

    /// Keeps an image's layers while `owner` (a container) runs on them.
    pub fn hold(&self, owner: &str, image: &Image) {
        self.shared.state.lock().held.insert(owner.to_owned(), image.diff_ids.clone());
    }

    /// Ends [`Store::hold`].
    pub fn release(&self, owner: &str) {
        self.shared.state.lock().held.remove(owner);
    }

    /// What the store takes on disk.
    pub fn usage(&self) -> Result<Usage> {
        directory::usage(&self.shared.root)
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_file(digest);
        fs::read(&path).map_err(Error::io("read", &path))
    }

    pub(crate) fn blob_file(&self, digest: &Digest) -> PathBuf {
        self.shared.root.join("blobs/sha256").join(digest.hex())
    }

    fn layer_directory(&self, diff_id: &Digest) -> PathBuf {
        self.shared.root.join("layers").join(diff_id.hex()).join("fs")
    }

    fn images_directory(&self) -> PathBuf {
        self.shared.root.join("images")
    }
}

// === impl State ===

impl State {
    fn find(&self, name: &str) -> Result<Arc<Image>> {
        if let Some(image) = name.parse::<Digest>().ok().and_then(|id| self.images.get(&id)) {
            return Ok(Arc::clone(image));
        }
        let reference = name.parse::<Reference>();
        if let Ok(reference) = &reference {
            let full = reference.to_string();
            if let Some(image) = self.names.get(&full).and_then(|id| self.images.get(id)) {
                return Ok(Arc::clone(image));
            }
            if reference.digest().is_some() {
                let by_digest = self.images.values().find(|image| image.repo_digests.contains(&full));
                if let Some(image) = by_digest {
                    return Ok(Arc::clone(image));
                }
            }
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if hex.len() >= MIN_ID_PREFIX && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut fitting = self.images.values().filter(|image| image.id.hex().starts_with(hex));
            match (fitting.next(), fitting.next()) {
                (Some(image), None) => return Ok(Arc::clone(image)),
                (Some(_), Some(_)) => return Err(Error::Ambiguous(name.to_owned())),
                _ => {}
            }
        }
        reference?;
        Err(Error::NotFound(name.to_owned()))
    }

    /// Adds or replaces an image. Where two records claim a name, the newer one has it.
    fn insert(&mut self, image: Arc<Image>) {
        if let Some(old) = self.images.get(&image.id).cloned() {
            self.drop_image(&old);
        }
        for name in &image.names {
            let owner = self.names.get(name).and_then(|id| self.images.get(id));
            if owner.is_none_or(|owner| owner.stored_at <= image.stored_at) {
                self.names.insert(name.clone(), image.id.clone());
            }
        }
        self.images.insert(image.id.clone(), image);
    }

    fn drop_image(&mut self, image: &Image) {
        self.images.remove(&image.id);
        self.names.retain(|_, id| *id != image.id);
    }

    fn layers_in_use(&self) -> HashSet<Digest> {
        let of_images = self.images.values().flat_map(|image| &image.diff_ids);
        of_images.chain(self.held.values().flatten()).cloned().collect()
    }
}
