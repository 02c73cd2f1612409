//! A file tree in memory, ordered, so that its tar is the same every time.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use tar::{EntryType, Header};

use crate::{Error, Result};

/// Files by their path relative to the root.
#[derive(Clone, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Clone)]
pub(super) enum Kind {
    Directory,
    File(Vec<u8>),
    Link(String),
}

const MAX_LINKS: usize = 16;

// === impl Tree ===

impl Tree {
    pub(super) fn insert(&mut self, path: PathBuf, node: Node) {
        self.nodes.insert(path, node);
    }

    pub(super) fn add_directory(&mut self, path: &str, mode: u32, owner: u32) {
        self.insert(relative(path), Node { kind: Kind::Directory, mode, uid: owner, gid: owner });
    }

    pub(super) fn add_file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.insert(relative(path), Node { kind: Kind::File(content), mode, uid: 0, gid: 0 });
    }

    pub(super) fn add_link(&mut self, path: &str, target: &str) {
        self.insert(relative(path), Node { kind: Kind::Link(target.to_owned()), mode: 0o777, uid: 0, gid: 0 });
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(&relative(path))
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The file that `path` leads to through links, with every path passed on the way.
    pub(super) fn resolve(&self, path: &Path) -> Option<(Vec<PathBuf>, &[u8])> {
        let mut current = path.to_owned();
        let mut passed = Vec::new();
        for _ in 0..MAX_LINKS {
            passed.push(current.clone());
            match &self.nodes.get(&current)?.kind {
                Kind::File(bytes) => return Some((passed, bytes)),
                Kind::Directory => return None,
                Kind::Link(target) => {
                    let base = if target.starts_with('/') { Path::new("") } else { current.parent()? };
                    current = normalize(&base.join(target.trim_start_matches('/')))?;
                }
            }
        }
        None
    }

    /// Copies a path and all below it; false when there is nothing.
    pub(super) fn copy_from(&mut self, source: &Self, path: &str) -> bool {
        let root = relative(path);
        let mut found = false;
        for (path, node) in source.nodes.range(root.clone()..).take_while(|(path, _)| path.starts_with(&root)) {
            self.nodes.insert(path.clone(), node.clone());
            found = true;
        }
        found
    }

    pub(super) fn copy_node(&mut self, source: &Self, path: &Path) {
        if let Some(node) = source.nodes.get(path) {
            self.nodes.insert(path.to_owned(), node.clone());
        }
    }

    /// The tree as a tar with fixed times, parents before children.
    pub(super) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut nodes = self.nodes.clone();
        for path in self.nodes.keys() {
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                nodes.entry(parent.to_owned()).or_insert(Node { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 });
            }
        }
        let mut tar = tar::Builder::new(Vec::new());
        for (path, node) in &nodes {
            let mut header = Header::new_gnu();
            header.set_mode(node.mode);
            header.set_uid(node.uid.into());
            header.set_gid(node.gid.into());
            header.set_mtime(0);
            header.set_size(0);
            match &node.kind {
                Kind::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    tar.append_data(&mut header, path, std::io::empty())
                        .map_err(Error::io("write layer with", path))?;
                }
                Kind::File(bytes) => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())
                        .map_err(Error::io("write layer with", path))?;
                }
                Kind::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target).map_err(Error::io("write layer with", path))?;
                }
            }
        }
        tar.into_inner().map_err(Error::io("write", "layer"))
    }
}

pub(super) fn relative(path: &str) -> PathBuf {
    PathBuf::from(path.trim_start_matches('/').trim_end_matches('/'))
}

fn normalize(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(normal)
}
