//! The monitor: one tiny static process per pod. It is parent and reaper of every process of the pod, owns their
//! standard streams, writes log lines in the CRI format and exit files, and outlives the node agent.
//!
//! It must not allocate more than it needs, must not know what a pod is, and must not trust that anybody is connected.
//! Compiled on its own by the crate's build script (standard library only) and embedded in the binary, because a
//! re-exec of the large binary costs several times the memory; see docs/adr/0002-runtime-monitor.md.
//! Upstream counterpart: `containerd-shim-runc-v2`.
#![deny(unsafe_op_in_unsafe_fn)]

mod container;
mod init;
mod log;
mod server;
mod sys;

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        // The listening socket is descriptor 0.
        Some("serve") => {}
        Some("init") => return init::run(),
        _ => return ExitCode::from(2),
    }
    // The agent waits for the first process only, so that the second belongs to nobody.
    match sys::fork() {
        Ok(0) => {}
        Ok(_) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    }
    // SAFETY: the agent passes the listening socket as descriptor 0, and nothing else here uses that number.
    let listener = unsafe { OwnedFd::from_raw_fd(0) };
    match server::run(listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
