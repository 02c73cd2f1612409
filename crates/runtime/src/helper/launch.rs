//! What a helper needs to start a container: written by the agent, read once.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::seccomp::CachedFilter;

pub(crate) const LAUNCH_FILE: &str = "launch.json";

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) id: String,
    /// Overlay: lower directories topmost first, and the container's own.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Where to mount it, in the helper's own mount namespace.
    pub(crate) rootfs: PathBuf,
    /// Directory for libcontainer's state.
    pub(crate) state: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) working_dir: String,
    pub(crate) terminal: bool,
    pub(crate) image_mounts: Vec<ImageMount>,
    /// Control group in the unified hierarchy to join, where it is not the one with the limits.
    pub(crate) unified_cgroup: Option<PathBuf>,
    /// Control group v2 that gets a device program.
    pub(crate) device_cgroup: Option<PathBuf>,
    /// The default seccomp filter, which is not in the configuration but loaded by us.
    pub(crate) filter: Option<CachedFilter>,
    /// The OCI configuration, still without user, groups, `HOME`.
    pub(crate) spec: serde_json::Value,
}

/// Who the first process is to be; names are looked up in the container's own root.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// `user[:group]`, names or numbers, as in an image's configuration. Empty: root.
    pub(crate) user: String,
    pub(crate) group: Option<u32>,
    pub(crate) supplemental: Vec<u32>,
    /// Leave out the groups that the image's `/etc/group` gives.
    pub(crate) strict: bool,
}

/// An image to mount read-only for a volume.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageMount {
    pub(crate) lower: Vec<PathBuf>,
    /// Where, below the runtime's private mount.
    pub(crate) target: PathBuf,
    /// The part of the image that is wanted; links in it stay inside the image.
    pub(crate) sub_path: String,
}
