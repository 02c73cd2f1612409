//! Packet sockets with descriptors, and names for them that are not bound by the length of a path.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind,
    listen as listen_on, recvmsg, sendmsg, socket,
};

use crate::error::{Result, RuntimeError};

/// Larger than any packet of the protocol.
pub(crate) const MAX_PACKET: usize = 32 << 10;
pub(crate) const SOCKET_FILE: &str = "monitor.sock";
const MAX_FDS: usize = 4;

/// Listens in `directory`. The path goes through a descriptor, because socket addresses hold only 107 bytes.
pub(crate) fn listen(directory: &Path) -> Result<OwnedFd> {
    let listener = packet_socket()?;
    with_address(directory, |address| bind(listener.as_raw_fd(), address))?;
    listen_on(&listener, Backlog::new(4).unwrap_or(Backlog::MAXCONN))
        .map_err(RuntimeError::errno("listen in", directory))?;
    Ok(listener)
}

/// Connects to who listens in `directory`.
pub(crate) fn connect(directory: &Path) -> Result<OwnedFd> {
    let socket = packet_socket()?;
    with_address(directory, |address| nix::sys::socket::connect(socket.as_raw_fd(), address))?;
    nonblocking(&socket).map_err(RuntimeError::errno("connect in", directory))?;
    Ok(socket)
}

pub(crate) fn send(fd: BorrowedFd<'_>, packet: &[u8], fds: &[RawFd]) -> std::io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<UnixAddr>(fd.as_raw_fd(), &[IoSlice::new(packet)], control, flags, None)?;
    Ok(())
}

/// One packet. Zero bytes: the other end is gone.
#[expect(unsafe_code, reason = "descriptors arrive as plain numbers")]
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> std::io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut iov = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<UnixAddr>(fd.as_raw_fd(), &mut iov, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = item {
            // SAFETY: the kernel just made these descriptors for us and nobody else knows them.
            fds.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok((message.bytes, fds))
}

pub(crate) fn nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

fn packet_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(RuntimeError::errno("create", "socket"))
}

fn with_address(directory: &Path, work: impl FnOnce(&UnixAddr) -> nix::Result<()>) -> Result<()> {
    let handle = File::open(directory).map_err(RuntimeError::io("open", directory))?;
    let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", handle.as_raw_fd());
    UnixAddr::new(path.as_str())
        .and_then(|address| work(&address))
        .map_err(RuntimeError::errno("use the monitor's socket in", directory))
}
