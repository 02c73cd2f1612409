//! The built-in container runtime: sandboxes, containers and images behind the `cri` traits.
//!
//! - Containers are made by libcontainer, only ever in a short-lived single-threaded re-exec of this binary
//!   ([`helper::main_if_helper`], to be called first in `main`), because it changes its process and forks it.
//! - One tiny [`monitor`] process per pod is parent and reaper of the pod's processes and owns their streams; it
//!   outlives this process, which finds everything again in the state directory.
//! - A sandbox has no process: its namespaces are pinned by bind mounts (but for a shared pid namespace).
//! - Ends of containers are heard of, never polled for. Nothing on the start path syncs the disk.
//!
//! Invariants: everything lives below one directory and one cgroup per pod, so that [`reset()`] can remove it all; the
//! crate knows the pod network only as `cri::PodNetwork` and nothing of the Kubernetes API.
//! Upstream counterpart: containerd with its CRI plugin, runc and shim.

pub mod helper;

mod cgroup;
mod error;
mod layout;
mod loopback;
mod monitor;
mod process;
mod record;
mod reset;
mod sandbox;
mod service;
mod spec;

pub use error::RuntimeError;
pub use loopback::LoopbackOnly;
pub use reset::reset;
pub use service::{Runtime, RuntimeConfig};
