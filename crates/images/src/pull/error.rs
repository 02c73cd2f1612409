//! What a failed pull says, in containerd's words, and which of four kinds it is.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciErrorCode};

use crate::Reference;

/// A failed pull.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to pull and unpack image {image:?}: {detail}")]
pub struct PullError {
    pub kind: PullErrorKind,
    pub image: String,
    pub detail: String,
}

/// What can be done about a failed pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullErrorKind {
    /// The registry gave no answer at all.
    Unreachable,
    /// The registry has no such image.
    NotFound,
    /// The registry refuses.
    Denied,
    /// Anything else.
    Failed,
}

// === impl PullError ===

impl PullError {
    pub(super) fn resolve(reference: &Reference, cause: String) -> Self {
        Self::resolve_as(PullErrorKind::Failed, reference, cause)
    }

    pub(super) fn timeout(reference: &Reference, patience: Duration) -> Self {
        let cause = format!(
            "failed to do request: Head {:?}: no answer within {} seconds",
            manifest_url(reference, false),
            patience.as_secs()
        );
        Self::resolve_as(PullErrorKind::Unreachable, reference, cause)
    }

    /// An error while asking what a reference stands for.
    pub(super) fn from_registry(reference: &Reference, plain: bool, error: &OciDistributionError) -> Self {
        let (kind, cause) = match classify(error) {
            Class::Unreachable => (
                PullErrorKind::Unreachable,
                format!("failed to do request: Head {:?}: {}", manifest_url(reference, plain), root_cause(error)),
            ),
            Class::NotFound => (PullErrorKind::NotFound, format!("{reference}: not found")),
            Class::Denied(message) => (
                PullErrorKind::Denied,
                format!(
                    "pull access denied, repository does not exist or may require authorization: server message: \
                     {message}"
                ),
            ),
            Class::Other => (
                PullErrorKind::Failed,
                match error {
                    OciDistributionError::ServerError { code, .. } => {
                        format!("unexpected status from HEAD request to {}: {code}", manifest_url(reference, plain))
                    }
                    OciDistributionError::RequestError(_) => {
                        let url = manifest_url(reference, plain);
                        format!("failed to do request: Head {url:?}: {}", root_cause(error))
                    }
                    other => other.to_string(),
                },
            ),
        };
        Self::resolve_as(kind, reference, cause)
    }

    /// An error while fetching content after the reference was resolved.
    pub(super) fn content(reference: &Reference, error: &OciDistributionError) -> Self {
        let (kind, cause) = match classify(error) {
            Class::NotFound => (PullErrorKind::NotFound, "content not found in the registry".to_owned()),
            Class::Denied(message) => (PullErrorKind::Denied, format!("access denied: {message}")),
            // Not `Unreachable`: it answered a moment ago, so this is worth telling.
            Class::Unreachable | Class::Other => (PullErrorKind::Failed, root_cause(error)),
        };
        Self { kind, image: reference.to_string(), detail: format!("failed to copy: {cause}") }
    }

    pub(super) fn copy(reference: &Reference, cause: impl ToString) -> Self {
        let detail = format!("failed to copy: {}", cause.to_string());
        Self { kind: PullErrorKind::Failed, image: reference.to_string(), detail }
    }

    fn resolve_as(kind: PullErrorKind, reference: &Reference, cause: String) -> Self {
        let image = reference.to_string();
        let detail = format!("failed to resolve reference {image:?}: {cause}");
        Self { kind, image, detail }
    }
}

enum Class {
    Unreachable,
    NotFound,
    Denied(String),
    Other,
}

fn classify(error: &OciDistributionError) -> Class {
    match error {
        OciDistributionError::RequestError(request)
            if (request.is_connect() || request.is_timeout()) && !involves_tls(request) =>
        {
            Class::Unreachable
        }
        OciDistributionError::ImageManifestNotFoundError(_) => Class::NotFound,
        OciDistributionError::ServerError { code: 404, .. } => Class::NotFound,
        OciDistributionError::ServerError { code: 401 | 403, message, .. } => Class::Denied(denial(message)),
        OciDistributionError::UnauthorizedError { .. } => Class::Denied(denial("")),
        OciDistributionError::AuthenticationFailure(message) => Class::Denied(denial(message)),
        OciDistributionError::RegistryError { envelope, .. } => {
            for error in &envelope.errors {
                match error.code {
                    OciErrorCode::Unauthorized | OciErrorCode::Denied => return Class::Denied(denial(&error.message)),
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::ManifestBlobUnknown
                    | OciErrorCode::BlobUnknown => return Class::NotFound,
                    _ => {}
                }
            }
            Class::Other
        }
        _ => Class::Other,
    }
}

/// The server's words, shortened: they go into an event.
fn denial(message: &str) -> String {
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    if message.is_empty() { "insufficient_scope: authorization failed".to_owned() } else { message }
}

/// Whether an HTTPS request met something that does not speak TLS.
pub(super) fn speaks_no_tls(error: &OciDistributionError) -> bool {
    chain(error).any(|cause| {
        matches!(
            cause.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. })
        )
    })
}

fn involves_tls(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| cause.is::<rustls::Error>())
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and its causes; what an `io::Error` wraps counts, although its `source` skips it.
fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'e (dyn StdError + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

fn manifest_url(reference: &Reference, plain: bool) -> String {
    let scheme = if plain { "http" } else { "https" };
    let what = reference.digest().map_or(reference.tag().unwrap_or("latest"), |digest| digest.as_str());
    format!("{scheme}://{}/v2/{}/manifests/{what}", reference.api_host(), reference.repository())
}
