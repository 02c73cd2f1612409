//! How the API server proves to others who it is. Nothing here is ever logged.

use std::{fmt, path::PathBuf, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rustls::{SignatureScheme, client::ResolvesClientCert, sign::CertifiedKey};

/// What is shown to a server, by any of its means.
#[derive(Clone, Default)]
pub struct Credentials {
    pub token: Option<Token>,
    /// User and password.
    pub basic: Option<(String, String)>,
    pub identity: Option<Arc<dyn ResolvesClientCert>>,
    /// `Impersonate-*` headers.
    pub impersonate: Vec<(HeaderName, String)>,
}

/// A bearer token.
#[derive(Clone)]
pub enum Token {
    Text(String),
    /// Read with each call, so that a new one is used as soon as it is there.
    File(PathBuf),
}

/// A client certificate and its key in PEM, from files that are read with each handshake, or given once.
#[derive(Clone)]
pub enum Identity {
    Pem { certificate: String, key: String },
    Files { certificate: PathBuf, key: PathBuf },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Credentials {
    /// A client certificate and nothing else.
    pub fn certificate(identity: Arc<dyn ResolvesClientCert>) -> Self {
        Self { identity: Some(identity), ..Self::default() }
    }

    /// Puts what goes into headers there. An unreadable token file sends none: the server says what is missing.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let authorization = match (&self.token, &self.basic) {
            (Some(Token::Text(token)), _) => Some(format!("Bearer {}", token.trim())),
            (Some(Token::File(path)), _) => match std::fs::read_to_string(path) {
                Ok(token) => Some(format!("Bearer {}", token.trim())),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "token file not read");
                    None
                }
            },
            (None, Some((user, password))) => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, None) => None,
        };
        if let Some(Ok(mut value)) = authorization.map(HeaderValue::try_from) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in &self.impersonate {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(name, value);
            }
        }
    }
}

impl Identity {
    fn load(&self) -> Result<CertifiedKey, String> {
        match self {
            Self::Pem { certificate, key } => pki::serving_key(certificate, key).map_err(|error| error.to_string()),
            Self::Files { certificate, key } => {
                let read = |path: &PathBuf| {
                    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
                };
                pki::serving_key(&read(certificate)?, &read(key)?).map_err(|error| error.to_string())
            }
        }
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.load() {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                tracing::error!(%error, "client certificate not loaded");
                None
            }
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}
