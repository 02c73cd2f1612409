//! Live byte streams into containers. In CRI these are URLs of a streaming server; inside one process they are
//! the streams themselves.

use tokio::io::{AsyncRead, AsyncWrite};

/// What the caller reads from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What the caller writes to.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// What to run in a container, and which of its streams are wanted (`ExecRequest`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Container id.
    pub container_id: String,
    /// Command and arguments; no shell.
    pub command: Vec<String>,
    /// Give it a terminal; then there is no separate standard error.
    pub tty: bool,
    /// Standard input is wanted.
    pub stdin: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
}

/// A container to attach to, and which of its streams are wanted (`AttachRequest`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachRequest {
    /// Container id.
    pub container_id: String,
    /// The container has a terminal.
    pub tty: bool,
    /// Standard input is wanted.
    pub stdin: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
}

/// A running exec or attach. Dropping it ends the session; an exec's process is then killed.
pub struct Session {
    /// Standard input, where it was asked for. Shutting it down closes it for the process.
    pub stdin: Option<Writer>,
    /// Standard output, or the terminal.
    pub stdout: Option<Reader>,
    /// Standard error.
    pub stderr: Option<Reader>,
    /// Sizes for the terminal.
    pub resize: tokio::sync::mpsc::Sender<TerminalSize>,
    /// Resolves once with the exit code when the process has ended (exec), or when the container has (attach).
    pub exit: futures::future::BoxFuture<'static, crate::CriResult<i32>>,
}

/// The outcome of a command run to its end (`ExecSyncResponse`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSyncResult {
    /// At most 16 MiB.
    pub stdout: Vec<u8>,
    /// At most 16 MiB.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// Both directions of one forwarded connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
