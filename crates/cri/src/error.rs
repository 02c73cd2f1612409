//! What a runtime can answer instead of a result. The variants are the gRPC codes that the kubelet tells apart.

/// The result of every call.
pub type CriResult<T> = Result<T, CriError>;

/// An error of the runtime. The message is shown to users in container statuses and events, so it says
/// which object was meant and what can be done.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CriError {
    /// No sandbox, container or image of that name (gRPC `NotFound`).
    #[error("{0}")]
    NotFound(String),
    /// The request itself cannot be carried out as given (gRPC `InvalidArgument`).
    #[error("{0}")]
    InvalidArgument(String),
    /// The object is not in the state that the call needs (gRPC `FailedPrecondition`).
    #[error("{0}")]
    FailedPrecondition(String),
    /// The call took longer than it may (gRPC `DeadlineExceeded`).
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The registry could not be reached at all; shown as reason `RegistryUnavailable`.
    #[error("{0}")]
    RegistryUnavailable(String),
    /// The image's signature is refused; shown as reason `SignatureValidationFailed`.
    #[error("{0}")]
    SignatureValidationFailed(String),
    /// Creating the container failed before it was started; shown as reason `CreateContainerError`.
    #[error("{0}")]
    CreateContainer(String),
    /// The container's command could not be started; shown as reason `StartError` or `ContainerCannotRun`,
    /// exit code 128.
    #[error("{0}")]
    StartContainer(String),
    /// Not offered by this runtime (gRPC `Unimplemented`).
    #[error("{0}")]
    Unimplemented(String),
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl CriError {
    /// An [`CriError::Internal`] from anything that can be printed.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::Internal(message.to_string())
    }

    /// Whether the object is simply not there, which the removing calls count as success.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}
