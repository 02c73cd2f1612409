//! What runs in the short-lived re-exec of this binary: one thread, one job, then exit.
//!
//! libcontainer changes the whole process (directory, dumpable flag, OOM score) and forks it with raw system calls, so it
//! must never run in the agent itself. The helper is started by a pod's monitor, tells it the outcome over an inherited
//! socket, and leaves the container as the monitor's child.

mod account;
mod channel;
mod exec;
mod executable;
mod launch;
mod overlay;
mod privileges;
mod seccomp;
mod start;
mod trace;

use std::path::Path;
use std::process::ExitCode;

pub(crate) use exec::ExecRequest;
pub(crate) use launch::{Identity, ImageMount, Launch};
pub(crate) use seccomp::CachedFilter;

use channel::Channel;

/// How the monitor names the program it starts.
const PROGRAM: &str = "tiphys-runtime";

/// To be called first in `main`, before any thread exists. Returns at once in everything but a helper.
pub fn main_if_helper() {
    let mut args = std::env::args_os();
    if args.next().is_none_or(|name| name != PROGRAM) {
        return;
    }
    let verb = args.next().unwrap_or_default();
    let path = args.next().unwrap_or_default();
    let Some(channel) = args.next().and_then(|number| Channel::inherit(&number.to_string_lossy())) else {
        std::process::exit(2)
    };
    let path = Path::new(&path);
    let code = match verb.to_str() {
        Some("start") => start::run(path, &channel),
        Some("exec") => exec::run(path, &channel),
        _ => ExitCode::from(2),
    };
    // No destructors: whatever was forked from here shares what they would clean up.
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 })
}
