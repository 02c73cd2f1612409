//! Images of a node.

use serde::{Deserialize, Serialize};

/// An image (`Image`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// Names with tags, normalised (`docker.io/library/nginx:latest`).
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// Numeric user of the image's configuration.
    pub uid: Option<i64>,
    /// Named user of the image's configuration.
    pub username: String,
    /// Never collected.
    pub pinned: bool,
}

/// Credentials for a registry (`AuthConfig`). Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// `identitytoken` of a docker configuration.
    pub identity_token: String,
    /// Bearer token sent as it is.
    pub registry_token: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The outcome of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Reference to create containers with: the image's id.
    pub image_ref: String,
    /// Bytes of the image.
    pub size: u64,
    /// The registry could not be reached and the node's own copy answers.
    pub served_from_store: bool,
}

/// Disk use of the image store (`FilesystemUsage`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// Where it is.
    pub mountpoint: String,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes used.
    pub inodes_used: u64,
}
