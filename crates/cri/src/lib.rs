//! The seam between the kubelet and what runs containers: the traits and messages of the Container
//! Runtime Interface, as plain Rust types.
//!
//! The built-in runtime implements these traits directly; a gRPC client for containerd or CRI-O implements
//! the same ones. Field names and meanings are those of `runtime.v1` (upstream: `staging/src/k8s.io/cri-api`),
//! with options instead of zero values. This crate holds no logic beyond small conversions.

mod container;
mod error;
mod image;
mod network;
mod sandbox;
mod service;
mod stats;
mod stream;

pub use container::*;
pub use error::{CriError, CriResult};
pub use image::*;
pub use network::*;
pub use sandbox::*;
pub use service::{ImageService, RuntimeService};
pub use stats::*;
pub use stream::*;

/// Nanoseconds since the Unix epoch, the only form of time in the interface; zero is "not yet".
pub type UnixNanos = i64;

/// Labels and annotations, ordered so that they print the same way each time.
pub type StringMap = std::collections::BTreeMap<String, String>;
