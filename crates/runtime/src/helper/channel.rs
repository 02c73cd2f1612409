//! The socket to the monitor: one packet with the outcome. That its last copy closes says that the program was executed.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// See the module.
pub(super) struct Channel {
    fd: OwnedFd,
}

/// Room for what the monitor reads at once.
const MESSAGE_LIMIT: usize = 4096;

// === impl Channel ===

impl Channel {
    /// Takes over the descriptor that the monitor passed by number.
    #[expect(unsafe_code, reason = "a descriptor is inherited by its number")]
    pub(super) fn inherit(number: &str) -> Option<Self> {
        let number: RawFd = number.parse().ok().filter(|number| *number > 2)?;
        // SAFETY: the monitor passes a descriptor for this and nothing else here uses the number.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        Some(Self { fd })
    }

    pub(super) fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Says that the process exists.
    pub(super) fn ok(&self, fields: &[String], terminal: Option<&OwnedFd>) {
        let fds: Vec<RawFd> = terminal.iter().map(|fd| fd.as_raw_fd()).collect();
        let mut text = "ok".to_owned();
        for field in fields {
            text.push('\0');
            text.push_str(field);
        }
        self.send(text.as_bytes(), &fds);
    }

    /// Says what failed. `kind` is `create` for anything before, `start` for the program itself.
    pub(super) fn error(&self, kind: &str, message: &str) {
        let message: String = message.chars().filter(|c| *c != '\0').take(MESSAGE_LIMIT / 4).collect();
        self.send(format!("err\0{kind}\0{message}").as_bytes(), &[]);
    }

    fn send(&self, packet: &[u8], fds: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &rights[..0] } else { &rights[..] };
        // With nobody left to tell there is nothing to be done about a failure.
        sendmsg::<UnixAddr>(self.fd.as_raw_fd(), &[IoSlice::new(packet)], control, MsgFlags::MSG_NOSIGNAL, None).ok();
    }
}
