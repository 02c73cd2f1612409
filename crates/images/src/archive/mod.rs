//! Archives: unpacking untrusted layers, reading image archives, writing them.
//!
//! Everything here treats its input as hostile. What is refused is refused with a [`Refusal`] that names the entry.

mod compression;
mod entries;
mod export;
pub mod extract;
mod import;
mod index;

pub(crate) use compression::sniff_file;
pub use compression::{Compression, Decompressed};
pub(crate) use entries::Members;
pub use extract::{Limits, Summary, extract_layer};
pub(crate) use import::{
    CONFIG_TYPE, DockerManifest, INDEX_TYPE, ImageIndex, IndexEntry, MANIFEST_TYPE, Manifest, blob_path, fits,
};

#[cfg(test)]
mod tests;

/// More layers than any overlay mount accepts (the kernel's limit is 500 lower directories).
pub const MAX_LAYERS: usize = 400;
/// Manifests and configurations larger than this are refused, as containerd does.
pub const MAX_DOCUMENT: u64 = 8 << 20;

/// Why an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{path:?} leaves the root of the archive")]
    Traversal { path: String },
    #[error("{path:?} goes through a symbolic link or a file")]
    ThroughLink { path: String },
    #[error("hard link {path:?} to {target:?}, which is not in the archive")]
    DanglingLink { path: String, target: String },
    #[error("{path:?} is a device node")]
    Device { path: String },
    #[error("more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("more than {limit} bytes when unpacked")]
    TooLarge { limit: u64 },
    #[error("unpacks to more than {limit} times its size")]
    Ratio { limit: u64 },
    #[error("a name is longer than {limit} bytes or deeper than {depth} directories")]
    NameTooLong { limit: usize, depth: usize },
    #[error("bad header: {reason}")]
    Header { reason: String },
    #[error("unsupported entry type {kind:?} of {path:?}")]
    Unsupported { path: String, kind: char },
    #[error("truncated")]
    Truncated,
    #[error("unrecognized image format")]
    Format,
    #[error("{path:?} is missing")]
    Missing { path: String },
}
