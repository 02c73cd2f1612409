//! Reading docker-archives (`docker save`) and OCI archives into the store.
//! Upstream: containerd `core/images/archive` `ImportIndex`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, Write};

use serde::{Deserialize, Serialize};

use super::compression::{Compression, Decompressed};
use super::entries::header_error;
use super::index::Index;
use super::{MAX_LAYERS, Refusal, sniff_file};
use crate::config::{ARCHITECTURE, ConfigFile};
use crate::store::{Commit, Descriptor, Image, Ingest, Store};
use crate::{Digest, Error, Reference, Result};
use std::sync::Arc;

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const NAME_ANNOTATION: &str = "io.containerd.image.name";
const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";
const MAX_IMAGES: usize = 1000;

/// An entry of docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerManifest {
    pub(crate) config: String,
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Option<Vec<String>>,
}

/// An image manifest of OCI or Docker (schema 2): the fields both have.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// An image index of OCI, or Docker's manifest list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageIndex {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<IndexEntry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexEntry {
    #[serde(flatten)]
    pub(crate) descriptor: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

// === impl Store ===

impl Store {
    /// Imports every image of an archive. `names` replace the names that the archive gives (for a single image).
    pub fn import(&self, file: &File, names: &[Reference]) -> Result<Vec<Arc<Image>>> {
        let ingest = self.ingest();
        let compressed = sniff_file(file, 0).map_err(header_error)? != Compression::None;
        let spooled = if compressed { Some(self.spool(&ingest, file)?) } else { None };
        let index = Index::read(spooled.as_ref().unwrap_or(file))?;
        if index.contains("oci-layout") && index.contains("index.json") {
            self.import_oci(&ingest, &index, names)
        } else if index.contains("manifest.json") {
            self.import_docker(&ingest, &index, names)
        } else {
            Err(Refusal::Format.into())
        }
    }

    /// Imports from something that cannot seek, such as standard input.
    pub fn import_stream(&self, source: impl Read, names: &[Reference]) -> Result<Vec<Arc<Image>>> {
        let ingest = self.ingest();
        let file = self.spool(&ingest, source)?;
        drop(ingest);
        self.import(&file, names)
    }

    /// A decompressed temporary copy, gone when the descriptor is closed.
    fn spool(&self, ingest: &Ingest<'_>, source: impl Read) -> Result<File> {
        let mut reader = Decompressed::new(source, self.limits()).map_err(header_error)?;
        let (mut file, path) = ingest.create_temporary()?;
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let n = reader.read(&mut buffer).map_err(header_error)?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(Error::io("write", &path))?;
        }
        file.rewind().map_err(Error::io("seek", &path))?;
        Ok(file)
    }

    fn import_docker(&self, ingest: &Ingest<'_>, index: &Index<'_>, names: &[Reference]) -> Result<Vec<Arc<Image>>> {
        let manifests: Vec<DockerManifest> = parse("manifest.json", &index.document("manifest.json")?)?;
        bound(manifests.len(), names)?;
        let mut images = Vec::with_capacity(manifests.len());
        for entry in manifests {
            let config = index.document(&entry.config)?;
            let diff_ids = ConfigFile::parse(&config)?.rootfs.diff_ids;
            let paths = entry.layers.unwrap_or_default();
            if paths.len() != diff_ids.len() {
                return Err(Error::document("manifest.json", "as many layers as the config has are needed"));
            }
            let mut layers = Vec::with_capacity(paths.len());
            for path in &paths {
                let mut section = index.open(path)?;
                let (digest, size) = ingest.add_blob(&mut section, None)?;
                layers.push(Descriptor { media_type: LAYER_TYPE.to_owned(), digest, size });
            }
            let manifest = Manifest {
                schema_version: 2,
                media_type: MANIFEST_TYPE.to_owned(),
                config: Descriptor {
                    media_type: CONFIG_TYPE.to_owned(),
                    digest: Digest::of(&config),
                    size: config.len() as u64,
                },
                layers,
            };
            let manifest = serde_json::to_vec(&manifest).map_err(|e| Error::document("manifest", e))?;
            let names = chosen_names(names, &entry.repo_tags.unwrap_or_default())?;
            images.push(ingest.commit(Commit { manifest, config, names, repo_digests: Vec::new(), pinned: true })?);
        }
        Ok(images)
    }

    fn import_oci(&self, ingest: &Ingest<'_>, index: &Index<'_>, names: &[Reference]) -> Result<Vec<Arc<Image>>> {
        let top: ImageIndex = parse("index.json", &index.document("index.json")?)?;
        let tags = docker_tags(index)?;
        let mut entries: Vec<_> = top.manifests.into_iter().filter(|entry| !is_attestation(entry)).collect();
        if !names.is_empty() {
            // An image of several names has an entry for each.
            let mut seen = BTreeSet::new();
            entries.retain(|entry| seen.insert(entry.descriptor.digest.clone()));
        }
        bound(entries.len(), names)?;
        let mut images = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(manifest) = find_manifest(index, &entry, 0)? else { continue };
            let parsed: Manifest = parse("manifest", &manifest)?;
            if parsed.layers.len() > MAX_LAYERS {
                return Err(Error::document("manifest", "too many layers"));
            }
            let config = checked_document(index, &parsed.config.digest)?;
            for layer in &parsed.layers {
                let mut section = index.open(&blob_path(&layer.digest))?;
                ingest.add_blob(&mut section, Some(&layer.digest))?;
            }
            let named = [NAME_ANNOTATION, REF_ANNOTATION].iter().filter_map(|key| entry.annotations.get(*key));
            // The short annotation is often just a tag (`latest`), which says nothing about the repository.
            let mut found: Vec<String> = named.filter(|name| name.contains(['/', ':'])).take(1).cloned().collect();
            if let Some(tags) = tags.get(&parsed.config.digest) {
                found.extend(tags.iter().cloned());
            }
            let names = chosen_names(names, &found)?;
            images.push(ingest.commit(Commit { manifest, config, names, repo_digests: Vec::new(), pinned: true })?);
        }
        if images.is_empty() {
            return Err(Error::document("index.json", format_args!("no image for linux/{ARCHITECTURE}")));
        }
        Ok(images)
    }
}

/// The manifest for this platform below `entry`; `None` when it is for another one.
fn find_manifest(index: &Index<'_>, entry: &IndexEntry, depth: u32) -> Result<Option<Vec<u8>>> {
    match entry.descriptor.media_type.as_str() {
        MANIFEST_TYPE | DOCKER_MANIFEST_TYPE => {
            if entry.platform.as_ref().is_some_and(|platform| !fits(platform)) {
                return Ok(None);
            }
            checked_document(index, &entry.descriptor.digest).map(Some)
        }
        INDEX_TYPE | DOCKER_INDEX_TYPE if depth < 4 => {
            let inner: ImageIndex = parse("index", &checked_document(index, &entry.descriptor.digest)?)?;
            for entry in inner.manifests.iter().filter(|entry| !is_attestation(entry)).take(MAX_IMAGES) {
                // An archive may carry only some platforms of the index it names.
                if !index.contains(&blob_path(&entry.descriptor.digest)) {
                    continue;
                }
                if let Some(manifest) = find_manifest(index, entry, depth + 1)? {
                    return Ok(Some(manifest));
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

pub(crate) fn fits(platform: &Platform) -> bool {
    platform.os == "linux" && platform.architecture == ARCHITECTURE
}

fn is_attestation(entry: &IndexEntry) -> bool {
    entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

fn checked_document(index: &Index<'_>, digest: &Digest) -> Result<Vec<u8>> {
    let bytes = index.document(&blob_path(digest))?;
    let actual = Digest::of(&bytes);
    if actual != *digest {
        return Err(Error::DigestMismatch { expected: digest.to_string(), actual: actual.to_string() });
    }
    Ok(bytes)
}

/// `RepoTags` of a docker manifest that lies beside an OCI index, by config.
fn docker_tags(index: &Index<'_>) -> Result<BTreeMap<Digest, Vec<String>>> {
    let mut tags = BTreeMap::new();
    if index.contains("manifest.json") {
        let manifests: Vec<DockerManifest> = parse("manifest.json", &index.document("manifest.json")?)?;
        for manifest in manifests.into_iter().take(MAX_IMAGES) {
            let hex = manifest.config.rsplit('/').next().unwrap_or_default();
            let digest = format!("sha256:{}", hex.trim_end_matches(".json"));
            if let Ok(digest) = digest.parse() {
                tags.insert(digest, manifest.repo_tags.unwrap_or_default());
            }
        }
    }
    Ok(tags)
}

fn chosen_names(given: &[Reference], found: &[String]) -> Result<Vec<Reference>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let mut names: Vec<Reference> = Vec::new();
    for name in found.iter().take(MAX_IMAGES) {
        let name: Reference = name.parse()?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn bound(images: usize, names: &[Reference]) -> Result<()> {
    if images > MAX_IMAGES {
        return Err(Error::document("archive", "too many images"));
    }
    if images > 1 && !names.is_empty() {
        return Err(Error::document("archive", "a name can only be given to a single image"));
    }
    Ok(())
}

fn parse<T: for<'de> Deserialize<'de>>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::document(what, e))
}

pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
