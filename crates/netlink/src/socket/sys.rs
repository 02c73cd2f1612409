//! The system calls behind [`super::Socket`], and nothing else.
#![expect(unsafe_code, reason = "socket options and netlink addresses have no safe wrapper that takes a large buffer")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;

use super::Protocol;

const SOL_NETLINK: libc::c_int = 270;
const NETLINK_ADD_MEMBERSHIP: libc::c_int = 1;
const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;
const RECEIVE_BUFFER: libc::c_int = 1 << 20;

#[derive(Debug)]
pub(crate) struct Descriptor(OwnedFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Descriptor {
    pub(super) fn open(protocol: Protocol) -> io::Result<Self> {
        let number = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
        };
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers are passed; the result is checked before it becomes an owned descriptor.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, number) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a fresh descriptor that nobody else owns.
        let descriptor = Self(unsafe { OwnedFd::from_raw_fd(raw) });
        // Kernels without these still answer, with less detail.
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            if let Err(error) = descriptor.set(SOL_NETLINK, option, 1) {
                tracing::debug!(option, %error, "netlink socket option refused");
            }
        }
        if descriptor.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER).is_err() {
            descriptor.set(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
        }
        Ok(descriptor)
    }

    /// Hands the socket to the reactor of the runtime that the caller is in.
    pub(super) fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by `self`, stays open as long as it, and is always the same one.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }

    pub(super) fn send_buffer(&self) -> io::Result<usize> {
        let mut value: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: both pointers are to live locals, and `length` is the size of the first.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(usize::try_from(value).unwrap_or_default())
    }

    /// Takes an address of its own. Requests do without; notices are only sent to those who have one.
    pub(super) fn bind(&self) -> io::Result<()> {
        // SAFETY: a socket address of zeros is valid, and is filled in below.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the pointer is to a live address of the length given.
        let result = unsafe { libc::bind(self.as_raw_fd(), (&raw const address).cast(), length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Joins a multicast group.
    pub(super) fn join(&self, group: libc::c_int) -> io::Result<()> {
        self.set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    }

    pub(super) fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, value))
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointer is to a live integer of the length given.
        let result = unsafe { libc::setsockopt(self.as_raw_fd(), level, option, (&raw const value).cast(), length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length are of one live slice. Without an address a netlink message goes to the kernel.
        let sent = unsafe { libc::send(self.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The datagram's whole length, which may be more than the buffer holds.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: pointer and length are of one live slice that is ours alone.
        let received =
            unsafe { libc::recv(self.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}
