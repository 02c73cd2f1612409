//! Encryption at rest: what is kept of Secrets, and of whatever else is asked for, is ciphertext.
//!
//! The configuration file, the providers and the form of what is stored are upstream's, so that a record written by
//! one is read by the other: `k8s:enc:<provider>:v1:<key>:` and then what the provider makes of the object, bound to
//! the key it is stored under where the provider can do that (AES-GCM, KMS). Without a file the server makes its own
//! key, in a file of the same form.
//!
//! Invariants:
//! - what is to be encrypted is never kept in the clear because a provider fails: the write fails;
//! - no key, and nothing decrypted, is ever logged or part of an error;
//! - a value that no provider can open is an error, never an absent object.
//!
//! Upstream counterpart: `apiserver/pkg/server/options/encryptionconfig`, `apiserver/pkg/storage/value/encrypt`.

mod at_rest;
mod cipher;
mod config;
mod kms;
mod own_key;
mod provider;
mod reload;

pub use at_rest::{AtRest, Foreign};
pub use config::{ConfigError, Configuration};
pub use own_key::own_configuration;
pub use reload::reload_with_file;

/// Why a value was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("no matching prefix found")]
    NoProvider,
    #[error("identity transformer tried to read encrypted data")]
    Identity,
    /// Wrong key, wrong place, or damaged.
    #[error("it does not authenticate with the key called {key:?}")]
    Refused { key: String },
    #[error("it is too short, or no whole number of blocks")]
    Form,
    #[error("the system has no randomness")]
    Random,
    #[error("the KMS plugin {name}")]
    Kms {
        name: String,
        #[source]
        source: kms::KmsError,
    },
    #[error("what was encrypted is not an object of a form that is known")]
    NotAnObject,
}
