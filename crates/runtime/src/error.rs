//! The runtime's own errors, and what the kubelet is told of them.

use std::io;
use std::path::PathBuf;

use cri::CriError;

/// What can go wrong below the interface.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Image(#[from] images::Error),
    #[error("the pod's monitor process is gone")]
    MonitorGone,
    #[error("{0}")]
    Invalid(String),
    #[error("record {}", path.display())]
    Record {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{operation} did not finish")]
    Interrupted { operation: &'static str },
}

pub(crate) type Result<T, E = RuntimeError> = std::result::Result<T, E>;

impl RuntimeError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    pub(crate) fn errno(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(nix::Error) -> Self {
        let path = path.into();
        move |errno| Self::Io { operation, path, source: errno.into() }
    }

    /// The error with its causes, for messages that cross the interface.
    pub(crate) fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and its causes in one line, as Go prints wrapped errors.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers repeat their source.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<RuntimeError> for CriError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Invalid(message) => Self::InvalidArgument(message),
            other => Self::Internal(other.chain()),
        }
    }
}
