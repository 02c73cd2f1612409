//! Container images: a content store on disk, archives in and out, pulls from registries, and image building from
//! Debian packages.
//!
//! Invariants: nothing from an archive or a registry is trusted before its digest was checked, every archive is
//! unpacked by the one extractor in [`archive::extract`], and an image is listed only when all its layers are unpacked
//! and on disk. The crate knows nothing of containers or of Kubernetes.
//! Upstream counterparts: containerd `core/content`, `core/images/archive`, `pkg/archive`, `distribution/reference`.

pub mod archive;
pub mod config;
mod digest;
mod error;
pub mod pack;
pub mod pull;
pub mod reference;
pub mod store;

pub use config::ImageConfig;
pub use digest::Digest;
pub use error::Error;
pub use pull::{Credentials, PullOutcome, Puller, PullerConfig};
pub use reference::Reference;
pub use store::{Image, Removed, Store, Usage};

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
