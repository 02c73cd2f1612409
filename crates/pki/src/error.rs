//! What can go wrong with keys and certificates.

use std::{io, path::PathBuf};

/// An error of this crate. Never contains key material.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate cannot be made or read.
    #[error("certificate {name}")]
    Certificate {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file holds no certificate or key in PEM.
    #[error("{name} holds no usable PEM: {detail}; remove it to have it made anew")]
    Pem {
        /// Which one.
        name: String,
        /// Why.
        detail: String,
    },
    /// TLS refuses the certificates.
    #[error("TLS settings of {name}")]
    Tls {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A cipher suite that is not there, by its name.
    #[error("Cipher suite {suite} not supported or doesn't exist; known are {known}")]
    UnknownSuite {
        /// Which one.
        suite: String,
        /// Those that are there.
        known: String,
    },
    /// The certificates that clients are checked against cannot be used.
    #[error("client certificate verifier")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}
