//! Building images from Debian packages, without any container tool.
//!
//! A [`Recipe`] names packages and what to keep of them; programs bring the shared libraries they need along, found by
//! reading their ELF headers. The same packages give the same bytes. Packages come from `apt-get download` into a
//! cache directory and are read with `dpkg-deb`, so this works on Debian and its relatives. Recipes are written in Rust
//! for the images of this project, or read from a file (camelCase fields; `scripts/upstream-e2e/` has some).

mod debian;
mod elf;
mod recipes;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

pub use recipes::{busybox, echo, nginx};
use tree::Tree;

use crate::archive::{
    CONFIG_TYPE, DockerManifest, INDEX_TYPE, ImageIndex, IndexEntry, MANIFEST_TYPE, Manifest, blob_path,
};
use crate::config::{ARCHITECTURE, ConfigFile, ImageConfig, RootFs};
use crate::store::Descriptor;
use crate::{Digest, Error, Reference, Result};

/// What goes into an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Recipe {
    /// Names the image gets.
    pub names: Vec<String>,
    /// Debian packages, with those that bring the shared libraries.
    pub packages: Vec<String>,
    /// Whether packages that these depend on are looked at, too.
    pub dependencies: bool,
    /// Programs to keep, with the libraries they need.
    pub programs: Vec<String>,
    /// Further paths to keep, with all below them.
    pub keep: Vec<String>,
    /// Programs of this project to add: where they go, and their bytes.
    #[serde(skip)]
    pub own_programs: Vec<(String, &'static [u8])>,
    /// Files of this machine to add: where they go, and where they are; what may be run stays so.
    pub copy: BTreeMap<String, PathBuf>,
    /// Directories to make: path, mode, owner.
    pub directories: Vec<(String, u32, u32)>,
    /// Files to write: path, mode, content.
    pub files: Vec<(String, u32, String)>,
    /// Symbolic links to make: path, target.
    pub links: Vec<(String, String)>,
    /// Where to put a link for each applet of busybox; busybox must be among the programs.
    pub busybox_applets: Option<String>,
    pub config: ImageConfig,
}

/// A finished image, as the bytes of an archive.
pub struct Packed {
    pub archive: Vec<u8>,
    pub id: Digest,
}

/// Builds the image of `recipe`; downloaded packages are kept in `cache`.
pub fn pack(recipe: &Recipe, cache: &Path) -> Result<Packed> {
    let mut source = Tree::default();
    let packages = match recipe.dependencies {
        true => debian::with_dependencies(&recipe.packages)?,
        false => recipe.packages.clone(),
    };
    for package in debian::fetch(&packages, cache)? {
        debian::read(&package, &mut source)?;
    }
    let mut image = Tree::default();
    for (path, bytes) in &recipe.own_programs {
        image.add_file(path, 0o755, bytes.to_vec());
    }
    for program in &recipe.programs {
        elf::copy_with_libraries(&source, &mut image, program)?;
    }
    for path in &recipe.keep {
        if !image.copy_from(&source, path) {
            return Err(Error::Pack(format!("no package has {path}")));
        }
    }
    if let Some(directory) = &recipe.busybox_applets {
        for applet in debian::busybox_applets(&source, cache)? {
            let path = format!("{directory}/{applet}");
            if !image.contains(&path) {
                image.add_link(&path, "/bin/busybox");
            }
        }
    }
    for (path, file) in &recipe.copy {
        let bytes = fs::read(file).map_err(Error::io("read", file))?;
        let mode = fs::metadata(file).map_err(Error::io("stat", file))?.permissions().mode() & 0o7777;
        image.add_file(path, mode, bytes);
    }
    for (path, mode, owner) in &recipe.directories {
        image.add_directory(path, *mode, *owner);
    }
    for (path, mode, content) in &recipe.files {
        image.add_file(path, *mode, content.clone().into_bytes());
    }
    for (path, target) in &recipe.links {
        image.add_link(path, target);
    }
    write_archive(&image, recipe)
}

fn write_archive(image: &Tree, recipe: &Recipe) -> Result<Packed> {
    let layer = image.to_tar()?;
    let diff_id = Digest::of(&layer);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(&layer).map_err(Error::io("compress", "layer"))?;
    let compressed = encoder.finish().map_err(Error::io("compress", "layer"))?;
    let config = encode(&ConfigFile {
        architecture: ARCHITECTURE.to_owned(),
        os: "linux".to_owned(),
        config: recipe.config.clone(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
    })?;
    let describe = |media_type: &str, bytes: &[u8]| Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    };
    let config_descriptor = describe(CONFIG_TYPE, &config);
    let layer_descriptor = describe("application/vnd.oci.image.layer.v1.tar+gzip", &compressed);
    let manifest = encode(&Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        config: config_descriptor.clone(),
        layers: vec![layer_descriptor.clone()],
    })?;
    let mut index = ImageIndex { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests: Vec::new() };
    let mut tags = Vec::new();
    for name in &recipe.names {
        let name: Reference = name.parse()?;
        tags.push(name.familiar());
        index.manifests.push(IndexEntry {
            descriptor: describe(MANIFEST_TYPE, &manifest),
            platform: None,
            annotations: [("io.containerd.image.name".to_owned(), name.to_string())].into(),
        });
    }
    let docker = [DockerManifest {
        config: blob_path(&config_descriptor.digest),
        repo_tags: Some(tags),
        layers: Some(vec![blob_path(&layer_descriptor.digest)]),
    }];
    let mut tar = tar::Builder::new(Cursor::new(Vec::new()));
    let members: [(String, &[u8]); 6] = [
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json".to_owned(), &encode(&index)?),
        ("manifest.json".to_owned(), &encode(&docker)?),
        (blob_path(&Digest::of(&manifest)), &manifest),
        (blob_path(&config_descriptor.digest), &config),
        (blob_path(&layer_descriptor.digest), &compressed),
    ];
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, bytes).map_err(Error::io("write", "archive"))?;
    }
    let archive = tar.into_inner().map_err(Error::io("write", "archive"))?.into_inner();
    Ok(Packed { archive, id: config_descriptor.digest })
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::document("image document", e))
}
