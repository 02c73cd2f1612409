//! Byte streams of processes as async readers and writers: ends of pipes, and the master of a terminal.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cri::TerminalSize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

use crate::error::{Result, RuntimeError};

/// A pipe whose reading end is ours and async; the other end goes to a process.
pub(super) fn output() -> Result<(pipe::Receiver, OwnedFd)> {
    let failed = || RuntimeError::io("make", "pipe");
    let (reader, writer) = io::pipe().map_err(failed())?;
    Ok((pipe::Receiver::from_owned_fd(nonblocking(reader.into())?).map_err(failed())?, writer.into()))
}

/// A pipe whose writing end is ours and async.
pub(super) fn input() -> Result<(pipe::Sender, OwnedFd)> {
    let failed = || RuntimeError::io("make", "pipe");
    let (reader, writer) = io::pipe().map_err(failed())?;
    Ok((pipe::Sender::from_owned_fd(nonblocking(writer.into())?).map_err(failed())?, reader.into()))
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    crate::monitor::nonblocking(&fd).map_err(RuntimeError::errno("set up", "pipe"))?;
    Ok(fd)
}

/// The master of a terminal: one descriptor for both directions.
#[derive(Clone)]
pub(super) struct Terminal {
    master: Arc<AsyncFd<std::fs::File>>,
}

// === impl Terminal ===

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> Result<Self> {
        let master = std::fs::File::from(nonblocking(master)?);
        // SAFETY: a `File` keeps its descriptor open until it is dropped, and is never replaced here.
        #[expect(unsafe_code, reason = "the safe constructor is deprecated")]
        let master = unsafe { AsyncFd::register(master) }
            .map_err(|error| RuntimeError::io("watch", "terminal")(error.into_parts().1))?;
        Ok(Self { master: Arc::new(master) })
    }

    #[expect(unsafe_code, reason = "no safe wrapper of TIOCSWINSZ")]
    pub(super) fn resize(&self, size: TerminalSize) {
        use std::os::fd::AsRawFd;
        let size = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the request reads one `winsize`, which outlives the call.
        let result = unsafe { libc::ioctl(self.master.get_ref().as_fd().as_raw_fd(), libc::TIOCSWINSZ, &size) };
        if result < 0 {
            tracing::debug!("a terminal cannot be resized");
        }
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.master.poll_read_ready(cx))?;
            match guard.try_io(|master| master.get_ref().read(buffer.initialize_unfilled())) {
                Ok(Ok(n)) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // The last process on the other side has closed it: the end of the stream.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.master.poll_write_ready(cx))?;
            match guard.try_io(|master| master.get_ref().write(bytes)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
