//! The first process of a shared pid namespace: it reaps, and does nothing else, from inside an empty root without any
//! right. Upstream counterpart: the pause container.

use std::io::Write;
use std::process::ExitCode;

use crate::sys;

pub fn run() -> ExitCode {
    let directory = c"/proc/self/fdinfo";
    drop(sys::become_reaper(c"tiphys-init"));
    // A directory of our own process: empty of anything useful, and gone with us.
    if sys::lock_in(directory).is_err() || sys::wait_signal(true).is_err() {
        return ExitCode::FAILURE;
    }
    // The monitor waits for this before anybody may join the namespace.
    if std::io::stdout().write_all(b"+").and_then(|()| std::io::stdout().flush()).is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        match sys::wait_signal(false) {
            Ok(sys::SIGTERM) => return ExitCode::SUCCESS,
            _ => while sys::reap().is_some() {},
        }
    }
}
