//! Where a cluster keeps what on disk, and what it calls its things in the kernel.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Where a cluster is kept unless told otherwise.
pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/tiphys";

/// The data directory of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of a directory that may not exist yet.
    pub(crate) fn new(root: &Path) -> anyhow::Result<Self> {
        Ok(Self { root: std::path::absolute(root).with_context(|| format!("data directory {}", root.display()))? })
    }

    /// Makes the directory, readable by root alone.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .with_context(|| format!("create {}", self.root.display()))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Keys and certificates.
    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The store of the API.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Which resources are encrypted in the store, where nobody has said so: with the other keys, because servers of one
    /// cluster have to agree on it.
    pub(crate) fn encryption(&self) -> PathBuf {
        self.pki().join("encryption.yaml")
    }

    /// Image archives to import at start.
    pub(crate) fn archives(&self) -> PathBuf {
        self.root.join("images")
    }

    /// How registries are spoken to, where the user has written it down.
    pub(crate) fn registries(&self) -> PathBuf {
        self.root.join("registries.yaml")
    }

    /// Images, layers and blobs of the node.
    pub(crate) fn image_store(&self) -> PathBuf {
        self.root.join("node/images")
    }

    /// Sandboxes and containers.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.root.join("node/runtime")
    }

    /// Volumes and logs of pods.
    pub(crate) fn kubelet(&self) -> PathBuf {
        self.root.join("node/kubelet")
    }

    /// Addresses given to pods.
    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("node/network")
    }

    /// The socket of the running server, for `tiphys image` and the like.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("tiphys.sock")
    }

    /// Held by the running server, with its process id inside.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("server.lock")
    }

    /// Credentials of the administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("admin.kubeconfig")
    }

    /// What tells this cluster's things in the kernel (bridge, table, cgroups) from those of another cluster on the
    /// same machine: nothing for the default directory, else four letters made from the path.
    pub(crate) fn suffix(&self) -> String {
        if self.root == Path::new(DEFAULT_DATA_DIR) {
            return String::new();
        }
        // FNV-1a; it only has to be stable and short.
        let bytes = self.root.as_os_str().as_encoded_bytes();
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{:04x}", (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) & 0xffff)
    }

    /// Whether there is a cluster in the directory.
    pub(crate) fn exists(&self) -> bool {
        self.pki().exists() || self.store().exists() || self.root.join("node").exists()
    }

    /// Guards against a data directory that others could write to.
    pub(crate) fn check_ownership(&self) -> anyhow::Result<()> {
        let metadata = match fs::metadata(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.with_context(|| format!("look at {}", self.root.display()))?,
        };
        anyhow::ensure!(
            metadata.uid() == 0 && metadata.mode() & 0o022 == 0,
            "{} can be written by others than root; its content would be trusted with the whole machine. \
             Make it root's alone (chown root, chmod 0700) or choose another --data-dir",
            self.root.display()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_have_different_names() {
        let suffix = |path: &str| Layout::new(Path::new(path)).unwrap().suffix();
        assert_eq!(suffix(DEFAULT_DATA_DIR), "");
        assert_eq!(suffix("/srv/a").len(), 4);
        assert_ne!(suffix("/srv/a"), suffix("/srv/b"));
    }
}
