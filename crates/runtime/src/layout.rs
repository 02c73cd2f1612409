//! Where things are below the runtime's directory.
//!
//! ```text
//! run/                     bind-mounted onto itself, private: what is mounted here is not seen elsewhere
//!   rootfs/                where helpers mount a container's root, each in its own mount namespace
//!   sandboxes/<id>/        pinned namespaces net, ipc, uts; shm
//!   images/                where helpers mount images that are volumes
//!   agent                  the agent's binary, read-only
//! bin/                     the monitor program
//! oci/<container>/         libcontainer's state
//! sandboxes/<id>/          record.json, monitor.sock, resolv.conf, hostname, hosts
//! containers/<id>/         record.json, config.json, upper, work, pid, exit
//! ```

use std::path::{Path, PathBuf};

/// Paths below the runtime's directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

// === impl Layout ===

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.root.join("run/rootfs")
    }

    pub(crate) fn pins(&self, sandbox: &str) -> PathBuf {
        self.root.join("run/sandboxes").join(sandbox)
    }

    /// Where an image is mounted that a container has as a volume.
    pub(crate) fn image_mount(&self, container: &str, index: usize) -> PathBuf {
        self.root.join("run/images").join(format!("{container}-{index}"))
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    pub(crate) fn oci(&self) -> PathBuf {
        self.root.join("oci")
    }

    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(crate) fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }
}
