//! The errors of the image crate. Texts that users see in events follow containerd's wording.

use std::io;
use std::path::PathBuf;

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation in the store failed.
    #[error("{operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A reference cannot be parsed.
    #[error("invalid reference format: {reason}")]
    InvalidReference { reason: &'static str },
    /// A digest cannot be parsed or is of an unsupported algorithm.
    #[error("invalid digest {0:?}")]
    InvalidDigest(String),
    /// Content differs from what its digest promised.
    #[error("unexpected digest: expected {expected}, got {actual}")]
    DigestMismatch { expected: String, actual: String },
    /// An archive is refused: it is malformed or an attack.
    #[error("archive refused: {0}")]
    Refused(#[from] crate::archive::Refusal),
    /// A stored or received document cannot be understood.
    #[error("invalid {what}: {reason}")]
    InvalidDocument { what: &'static str, reason: String },
    /// The image is not in the store.
    #[error("image {0:?}: not found")]
    NotFound(String),
    /// A short id fits several images.
    #[error("image id {0:?} is ambiguous")]
    Ambiguous(String),
    /// A pull failed. The text is what the kubelet puts into its event.
    #[error("{0}")]
    Pull(#[from] crate::pull::PullError),
    /// Packing an image failed.
    #[error("pack image: {0}")]
    Pack(String),
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    pub(crate) fn document(what: &'static str, reason: impl ToString) -> Self {
        Self::InvalidDocument { what, reason: reason.to_string() }
    }
}
