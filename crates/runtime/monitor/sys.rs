//! The few system calls that the standard library has no name for. All `unsafe` of the monitor is here and in `main`.

use std::ffi::{c_int, c_long, c_short, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub const POLLIN: c_short = 1;
pub const POLLOUT: c_short = 4;
pub const POLLERR: c_short = 8;
pub const POLLHUP: c_short = 16;
pub const SIGCHLD: c_int = 17;
pub const SIGKILL: c_int = 9;
pub const SIGTERM: c_int = 15;

const AF_UNIX: c_int = 1;
const SOCK_STREAM: c_int = 1;
const SOCK_SEQPACKET: c_int = 5;
const SOCK_CLOEXEC: c_int = 0o2000000;
const SOCK_NONBLOCK: c_int = 0o4000;
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;
const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const F_SETFD: c_int = 2;
const O_NONBLOCK: c_int = 0o4000;
const WNOHANG: c_int = 1;
const PR_SET_CHILD_SUBREAPER: c_int = 36;
const PR_SET_NAME: c_int = 15;
const PR_SET_DUMPABLE: c_int = 4;
const TIOCSWINSZ: u64 = 0x5414;
const SFD_CLOEXEC: c_int = 0o2000000;
const SFD_NONBLOCK: c_int = 0o4000;
const SIG_BLOCK: c_int = 0;
const MAX_FDS: usize = 4;
const CMSG_SPACE: usize = 16 + MAX_FDS * 4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: RawFd,
    pub events: c_short,
    pub revents: c_short,
}

#[repr(C)]
struct IoVec {
    base: *mut c_void,
    len: usize,
}

#[repr(C)]
struct MsgHdr {
    name: *mut c_void,
    namelen: u32,
    iov: *mut IoVec,
    iovlen: usize,
    control: *mut c_void,
    controllen: usize,
    flags: c_int,
}

#[repr(C, align(8))]
struct Control([u8; CMSG_SPACE]);

#[repr(C)]
pub struct WinSize {
    pub rows: u16,
    pub columns: u16,
    pub x: u16,
    pub y: u16,
}

unsafe extern "C" {
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    #[link_name = "poll"]
    fn c_poll(fds: *mut PollFd, count: u64, timeout: c_int) -> c_int;
    #[link_name = "waitpid"]
    fn c_waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn prctl(option: c_int, a: u64, b: u64, c: u64, d: u64) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int;
    fn accept4(fd: c_int, address: *mut c_void, length: *mut u32, flags: c_int) -> c_int;
    fn sendmsg(fd: c_int, message: *const MsgHdr, flags: c_int) -> isize;
    fn recvmsg(fd: c_int, message: *mut MsgHdr, flags: c_int) -> isize;
    fn fcntl(fd: c_int, command: c_int, argument: c_int) -> c_int;
    fn ioctl(fd: c_int, request: u64, argument: *const WinSize) -> c_int;
    fn signalfd(fd: c_int, mask: *const u64, flags: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    #[link_name = "setsid"]
    fn c_setsid() -> c_int;
    #[link_name = "unshare"]
    fn c_unshare(flags: c_int) -> c_int;
    #[link_name = "chroot"]
    fn c_chroot(path: *const std::ffi::c_char) -> c_int;
    #[link_name = "setuid"]
    fn c_setuid(uid: u32) -> c_int;
    #[link_name = "setgid"]
    fn c_setgid(gid: u32) -> c_int;
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    #[link_name = "mallopt"]
    fn c_mallopt(parameter: c_int, value: c_int) -> c_int;
    #[link_name = "sigwaitinfo"]
    fn c_sigwaitinfo(set: *const u64, info: *mut c_void) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn own(result: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just gave this descriptor to us and nobody else knows it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The sigset layout of the C library: 1024 bits.
type SigSet = [u64; 16];

fn sigset(signals: &[c_int]) -> SigSet {
    let mut set = [0; 16];
    for signal in signals {
        set[0] |= 1 << (signal - 1);
    }
    set
}

pub fn fork() -> io::Result<c_int> {
    // SAFETY: the process has one thread, so the child may use everything.
    check(unsafe { c_fork() })
}

pub fn setsid() {
    // SAFETY: no memory is involved. It only fails for a group leader, which is as good.
    unsafe { c_setsid() };
}

/// Becomes the parent of orphans below, under a name that `ps` shows, and invisible to ptrace.
pub fn become_reaper(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: plain values, and a NUL-terminated string that outlives the call.
    unsafe {
        prctl(PR_SET_NAME, name.as_ptr() as u64, 0, 0, 0);
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        check(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)).map(drop)
    }
}

/// One small heap: freed memory goes back to the kernel early.
pub fn keep_heap_small() {
    const M_TRIM_THRESHOLD: c_int = -1;
    const M_TOP_PAD: c_int = -2;
    // SAFETY: plain values.
    unsafe {
        c_mallopt(M_TRIM_THRESHOLD, 32 << 10);
        c_mallopt(M_TOP_PAD, 0);
    }
}

/// A descriptor that is readable when a child has changed state.
pub fn child_signals() -> io::Result<OwnedFd> {
    let set = sigset(&[SIGCHLD]);
    // SAFETY: the set has the C library's size and outlives the calls.
    unsafe {
        check(sigprocmask(SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()))?;
        own(signalfd(-1, set.as_ptr(), SFD_CLOEXEC | SFD_NONBLOCK))
    }
}

/// Waits for SIGCHLD or SIGTERM, which is blocked from here on.
pub fn wait_signal(block: bool) -> io::Result<c_int> {
    let set = sigset(&[SIGCHLD, SIGTERM]);
    // SAFETY: the set has the C library's size and outlives the calls; no information is asked for.
    unsafe {
        if block {
            check(sigprocmask(SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()))?;
            return Ok(0);
        }
        check(c_sigwaitinfo(set.as_ptr(), std::ptr::null_mut()))
    }
}

/// Any child that has ended, with its exit code (128 + signal where one killed it).
pub fn reap() -> Option<(c_int, c_int)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for an integer.
    let pid = unsafe { c_waitpid(-1, &mut status, WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let signal = status & 0x7f;
    Some((pid, if signal == 0 { (status >> 8) & 0xff } else { 128 + signal }))
}

pub fn kill(pid: c_int, signal: c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { c_kill(pid, signal) }).map(drop)
}

pub fn poll(fds: &mut [PollFd]) -> io::Result<()> {
    // SAFETY: the slice is valid for its length.
    match check(unsafe { c_poll(fds.as_mut_ptr(), fds.len() as u64, -1) }) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map(drop),
    }
}

/// Like [`poll`] without waiting; whether anything was found.
pub fn poll_now(fds: &mut [PollFd]) -> bool {
    // SAFETY: the slice is valid for its length.
    unsafe { c_poll(fds.as_mut_ptr(), fds.len() as u64, 0) > 0 }
}

/// Empties a signal descriptor.
pub fn discard(signals: &OwnedFd) {
    use std::io::Read;
    if let Ok(clone) = signals.try_clone() {
        let mut buffer = [0; 128 * 4];
        let mut file = std::fs::File::from(clone);
        while file.read(&mut buffer).is_ok_and(|n| n > 0) {}
    }
}

/// A pair whose first end is ours; the second is inherited by programs we start.
pub fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors, which are then ours alone.
    let (ours, theirs) = unsafe {
        check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.as_mut_ptr()))?;
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    };
    nonblocking(&ours)?;
    // SAFETY: a plain flag on a descriptor that is open.
    check(unsafe { fcntl(theirs.as_raw_fd(), F_SETFD, 0) })?;
    Ok((ours, theirs))
}

/// A TCP socket of the network namespace that this process is in.
pub fn tcp_socket(family: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    own(unsafe { socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) })
}

pub fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: no address is asked for.
    own(unsafe {
        accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), SOCK_CLOEXEC | SOCK_NONBLOCK)
    })
}

pub fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain flags on a descriptor that is open.
    unsafe {
        let flags = check(fcntl(fd.as_raw_fd(), F_GETFL, 0))?;
        check(fcntl(fd.as_raw_fd(), F_SETFL, flags | O_NONBLOCK)).map(drop)
    }
}

pub fn set_window(terminal: &OwnedFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = WinSize { rows, columns, x: 0, y: 0 };
    // SAFETY: the request reads one `WinSize`, which outlives the call.
    check(unsafe { ioctl(terminal.as_raw_fd(), TIOCSWINSZ, &size) }).map(drop)
}

/// Receives one packet and the descriptors that came with it. Zero bytes: the other end is gone.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut iov = IoVec { base: buffer.as_mut_ptr().cast(), len: buffer.len() };
    let mut control = Control([0; CMSG_SPACE]);
    let mut message = header(&mut iov, control.0.as_mut_ptr().cast(), CMSG_SPACE);
    // SAFETY: the header points to live buffers of the sizes it says.
    let n = unsafe { recvmsg(fd.as_raw_fd(), &mut message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut fds = Vec::new();
    if message.controllen >= 16 {
        let field =
            |at: usize| i32::from_ne_bytes([control.0[at], control.0[at + 1], control.0[at + 2], control.0[at + 3]]);
        let length = usize::try_from(field(0)).unwrap_or(0).min(message.controllen);
        if field(8) == SOL_SOCKET && field(12) == SCM_RIGHTS {
            for at in (16..length).step_by(4) {
                // SAFETY: the kernel just gave this descriptor to us.
                fds.push(unsafe { OwnedFd::from_raw_fd(field(at)) });
            }
        }
    }
    Ok((n as usize, fds))
}

/// Sends one packet with descriptors, without waiting.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let mut iov = IoVec { base: bytes.as_ptr().cast_mut().cast(), len: bytes.len() };
    let mut control = Control([0; CMSG_SPACE]);
    let count = fds.len().min(MAX_FDS);
    let length = 16 + count * 4;
    control.0[..8].copy_from_slice(&(length as u64).to_ne_bytes());
    control.0[8..12].copy_from_slice(&SOL_SOCKET.to_ne_bytes());
    control.0[12..16].copy_from_slice(&SCM_RIGHTS.to_ne_bytes());
    for (i, fd) in fds[..count].iter().enumerate() {
        control.0[16 + i * 4..20 + i * 4].copy_from_slice(&fd.to_ne_bytes());
    }
    // The kernel wants the space rounded up to whole words.
    let space = if count == 0 { 0 } else { length.next_multiple_of(8) };
    let pointer = if count == 0 { std::ptr::null_mut() } else { control.0.as_mut_ptr().cast() };
    let message = header(&mut iov, pointer, space);
    // SAFETY: the header points to live buffers of the sizes it says.
    let n = unsafe { sendmsg(fd.as_raw_fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn header(iov: &mut IoVec, control: *mut c_void, controllen: usize) -> MsgHdr {
    MsgHdr { name: std::ptr::null_mut(), namelen: 0, iov, iovlen: 1, control, controllen, flags: 0 }
}

/// Gives up everything: own mount namespace, an empty root, no user, no capabilities.
pub fn lock_in(directory: &std::ffi::CStr) -> io::Result<()> {
    const CLONE_NEWNS: c_int = 0x20000;
    const PR_SET_NO_NEW_PRIVS: c_int = 38;
    const NOBODY: u32 = 65535;
    // SAFETY: plain values and a NUL-terminated string that outlives the calls. Leaving user 0 drops capabilities.
    unsafe {
        check(c_unshare(CLONE_NEWNS))?;
        check(c_chroot(directory.as_ptr()))?;
        std::env::set_current_dir("/")?;
        check(setgroups(0, std::ptr::null()))?;
        check(c_setgid(NOBODY))?;
        check(c_setuid(NOBODY))?;
        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)).map(drop)
    }
}

/// Starts a process as the first of a new pid namespace; returns like `fork`.
pub fn fork_pid_namespace() -> io::Result<c_int> {
    const CLONE_NEWPID: c_long = 0x2000_0000;
    #[cfg(target_arch = "x86_64")]
    const SYS_CLONE: c_long = 56;
    #[cfg(target_arch = "aarch64")]
    const SYS_CLONE: c_long = 220;
    // SAFETY: like fork (no new stack, no shared memory) in a process with one thread. The child executes another
    // program at once, so that the C library's cached state does not matter.
    let pid = unsafe { syscall(SYS_CLONE, CLONE_NEWPID | SIGCHLD as c_long, 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as c_int) }
}
