//! How a call fails.

use std::io;

/// What became of a call that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The call was not sent: it can be made again elsewhere.
    #[error("connect to {endpoint}")]
    Connect {
        endpoint: String,
        #[source]
        source: io::Error,
    },
    /// The connection failed under way. Whether the call was carried out is unknown.
    #[error("the connection broke")]
    Broken(#[source] h2::Error),
    /// The other side says so.
    #[error("{message}")]
    Status { code: Code, message: String },
    #[error("no answer in time")]
    Deadline,
    #[error("an answer of {bytes} bytes is more than is taken")]
    TooLarge { bytes: usize },
    #[error("the answer is no gRPC: {0}")]
    Protocol(&'static str),
    #[error("the answer does not decode")]
    Decode(#[from] prost::DecodeError),
}

/// The number in `grpc-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub u16);

// === impl GrpcError ===

impl GrpcError {
    /// Whether the call was surely not carried out.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        match self {
            GrpcError::Connect { .. } => true,
            // What the peer refused before looking at it, says HTTP/2.
            GrpcError::Broken(error) => error.reason() == Some(h2::Reason::REFUSED_STREAM),
            _ => false,
        }
    }

    /// Whether another endpoint might answer where this one did not.
    #[must_use]
    pub fn is_of_endpoint(&self) -> bool {
        match self {
            GrpcError::Broken(_) | GrpcError::Deadline => true,
            GrpcError::Status { code, .. } => *code == Code::UNAVAILABLE,
            _ => false,
        }
    }

    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            GrpcError::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

// === impl Code ===

impl Code {
    pub const UNKNOWN: Code = Code(2);
    pub const OUT_OF_RANGE: Code = Code(11);
    pub const UNAVAILABLE: Code = Code(14);
}
