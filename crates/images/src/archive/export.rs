//! Writing images as an OCI archive that also carries docker's `manifest.json`, so that every tool reads it.
//! The same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;

use super::import::{DockerManifest, INDEX_TYPE, ImageIndex, IndexEntry, MANIFEST_TYPE, Manifest, blob_path};
use crate::store::{Descriptor, Store};
use crate::{Digest, Error, Reference, Result};

// === impl Store ===

impl Store {
    /// Writes the images named by `names` (references, ids or unique id prefixes) into one archive.
    pub fn export(&self, names: &[String], out: impl Write) -> Result<()> {
        let mut tar = tar::Builder::new(out);
        let mut blobs: BTreeSet<Digest> = BTreeSet::new();
        let mut index = ImageIndex { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests: Vec::new() };
        let mut docker: BTreeMap<Digest, DockerManifest> = BTreeMap::new();
        for name in names {
            let image = self.find(name)?;
            let bytes = self.read_blob(&image.manifest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| Error::document("manifest", e))?;
            // The name asked for, or all names when asked by id.
            let tags: Vec<Reference> = match name.parse::<Reference>() {
                Ok(reference) if image.names.contains(&reference.to_string()) => vec![reference],
                _ => image.names.iter().map(|name| name.parse()).collect::<Result<_>>()?,
            };
            let entry = |annotations| IndexEntry {
                descriptor: Descriptor {
                    media_type: non_empty(&manifest.media_type, MANIFEST_TYPE),
                    digest: image.manifest.clone(),
                    size: bytes.len() as u64,
                },
                platform: None,
                annotations,
            };
            if tags.is_empty() {
                index.manifests.push(entry(BTreeMap::new()));
            }
            for tag in &tags {
                let annotations = BTreeMap::from([
                    ("io.containerd.image.name".to_owned(), tag.to_string()),
                    ("org.opencontainers.image.ref.name".to_owned(), tag.tag().unwrap_or_default().to_owned()),
                ]);
                index.manifests.push(entry(annotations));
            }
            let layers = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
            let docker = docker.entry(image.id.clone()).or_insert_with(|| DockerManifest {
                config: blob_path(&manifest.config.digest),
                repo_tags: Some(Vec::new()),
                layers: Some(layers),
            });
            docker.repo_tags.get_or_insert_default().extend(tags.iter().map(Reference::familiar));
            blobs.insert(image.manifest.clone());
            blobs.insert(manifest.config.digest.clone());
            blobs.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", &encode(&index)?)?;
        append(&mut tar, "manifest.json", &encode(&docker.into_values().collect::<Vec<_>>())?)?;
        for digest in blobs {
            let path = self.blob_file(&digest);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            let size = file.metadata().map_err(Error::io("stat", &path))?.len();
            let mut header = header(size);
            tar.append_data(&mut header, blob_path(&digest), file).map_err(Error::io("write archive with", &path))?;
        }
        let mut out = tar.into_inner().map_err(Error::io("write", "archive"))?;
        out.flush().map_err(Error::io("write", "archive"))
    }
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes).map_err(Error::io("write", "archive"))
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::document("archive index", e))
}

fn non_empty(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}
