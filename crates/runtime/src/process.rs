//! Processes that are not our children: named by number and start time, watched by descriptor.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that a kill does not end within this is stuck in the kernel.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// The start time of a process in clock ticks since boot; `None` where it does not exist or has ended.
pub(crate) fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, so count from its closing parenthesis.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A descriptor of a process, which no later process of the same number can take.
#[expect(unsafe_code, reason = "no safe wrapper of pidfd_open")]
pub(crate) fn open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let number = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Waits until all have ended; false when some have not in time.
pub(crate) fn wait_all(processes: &[OwnedFd], patience: Duration) -> bool {
    let end = Instant::now() + patience;
    processes.iter().all(|process| {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    })
}

/// Kills a process unless its number belongs to another one by now, and waits for its end.
pub(crate) fn kill_and_wait(pid: i32, start: Option<u64>) {
    if pid <= 0 {
        return;
    }
    let Ok(handle) = open(pid) else { return };
    let current = started(pid);
    if current.is_none() || start.is_some_and(|start| current != Some(start)) {
        return;
    }
    // Gone meanwhile is what we want.
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    wait_all(&[handle], KILL_PATIENCE);
}
