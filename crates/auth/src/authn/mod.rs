//! Authentication: who a request comes from, by proxy headers, client certificate or bearer token, in this order.
//! Upstream: `k8s.io/apiserver/pkg/authentication` and `pkg/kubeapiserver/authenticator`.

mod anonymous;
mod bootstrap_token;
mod cached;
mod certificate;
pub mod jwt;
mod request_header;
mod token_file;
mod webhook;

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use futures::future::{BoxFuture, FutureExt as _};
use pki::ClientAuthorities;
use registry::{
    UserInfo,
    auth::{AuthenticationError, Authenticator, Credentials, TokenIdentity},
};

pub use anonymous::{Anonymous, PathCondition};
pub use bootstrap_token::BootstrapTokens;
pub use cached::CachedTokens;
pub use request_header::RequestHeaderOptions;
pub use token_file::{TokenFile, TokenFileError};
pub use webhook::WebhookTokens;

use certificate::Certificates;

/// Longest bearer token that is looked at.
const TOKEN_MAX: usize = 16 * 1024;

/// Something that knows bearer tokens of one kind.
pub trait TokenAuthenticator: Send + Sync {
    /// `Ok(None)`: not a token of this kind. `audiences` empty: those of the API server.
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>>;
}

/// What there is to authenticate with.
pub struct AuthenticationOptions {
    /// Of users' certificates; `None`: certificates say nothing.
    pub client_authorities: Option<Arc<ClientAuthorities>>,
    /// A proxy in front that is believed.
    pub request_header: Option<RequestHeaderOptions>,
    /// Kinds of tokens, asked in order.
    pub tokens: Vec<Arc<dyn TokenAuthenticator>>,
    /// Audiences of the API server, which a token that names none is good for.
    pub audiences: Vec<String>,
    pub anonymous: Anonymous,
}

impl Default for AuthenticationOptions {
    fn default() -> Self {
        Self {
            client_authorities: None,
            request_header: None,
            tokens: Vec::new(),
            audiences: Vec::new(),
            anonymous: Anonymous::everywhere(true),
        }
    }
}

/// The chain of all authenticators. One that cannot say who it is does not end the search; only when nobody can is what
/// they said an error.
pub struct Authenticators {
    certificates: Option<Certificates>,
    request_header: Option<RequestHeaderOptions>,
    tokens: Vec<Arc<dyn TokenAuthenticator>>,
    audiences: Vec<String>,
    anonymous: ArcSwap<Anonymous>,
}

impl Authenticators {
    pub fn new(options: AuthenticationOptions) -> Self {
        Self {
            certificates: options.client_authorities.map(Certificates::new),
            request_header: options.request_header,
            tokens: options.tokens,
            audiences: options.audiences,
            anonymous: ArcSwap::from_pointee(options.anonymous),
        }
    }

    /// Changes who may come without credentials, for all requests from now on.
    pub fn set_anonymous(&self, anonymous: Anonymous) {
        self.anonymous.store(Arc::new(anonymous));
    }

    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        if token.len() > TOKEN_MAX {
            return Err(AuthenticationError("the bearer token is too long".to_owned()));
        }
        let mut errors = Vec::new();
        for authenticator in &self.tokens {
            match authenticator.authenticate(token, audiences).await {
                Ok(None) => {}
                Ok(Some(mut identity)) => {
                    authenticated(&mut identity.user);
                    return self.for_audiences(identity, audiences).map(Some);
                }
                Err(error) => errors.push(error.0),
            }
        }
        if errors.is_empty() { Ok(None) } else { Err(AuthenticationError(errors.join(", "))) }
    }

    /// An authenticator that knows nothing of audiences speaks for the API server's. Upstream: `WithAudienceAgnostic`.
    fn for_audiences(
        &self,
        mut identity: TokenIdentity,
        wanted: &[String],
    ) -> Result<TokenIdentity, AuthenticationError> {
        if !identity.audiences.is_empty() {
            return Ok(identity);
        }
        if wanted.is_empty() {
            identity.audiences.clone_from(&self.audiences);
            return Ok(identity);
        }
        identity.audiences = wanted.iter().filter(|audience| self.audiences.contains(audience)).cloned().collect();
        if identity.audiences.is_empty() {
            return Err(AuthenticationError("the token is not for any of the audiences".to_owned()));
        }
        Ok(identity)
    }

    async fn who(&self, credentials: &Credentials<'_>) -> Result<Option<Arc<UserInfo>>, AuthenticationError> {
        let mut errors = Vec::new();
        let chain = credentials.peer_certificates;
        if let Some(proxy) = &self.request_header {
            match proxy.user(credentials.headers, chain, SystemTime::now()) {
                Ok(Some(mut user)) => {
                    authenticated(&mut user);
                    return Ok(Some(Arc::new(user)));
                }
                Ok(None) => {}
                Err(error) => errors.push(error.0),
            }
        }
        match self.certificates.as_ref().map(|certificates| certificates.user(chain)) {
            Some(Ok(Some(user))) => return Ok(Some(user)),
            Some(Err(error)) => errors.push(error.0),
            Some(Ok(None)) | None => {}
        }
        if let Some(token) = bearer_token(credentials.headers) {
            match self.token(&token, &[]).await {
                Ok(Some(identity)) => return Ok(Some(Arc::new(identity.user))),
                Ok(None) => errors.push("invalid bearer token".to_owned()),
                Err(error) => errors.push(error.0),
            }
        }
        if errors.is_empty() { Ok(None) } else { Err(AuthenticationError(errors.join(", "))) }
    }
}

/// Everybody who is known is a member of this group.
fn authenticated(user: &mut UserInfo) {
    let known = user.in_group(UserInfo::AUTHENTICATED_GROUP) || user.in_group(UserInfo::UNAUTHENTICATED_GROUP);
    if !known && user.name != UserInfo::ANONYMOUS {
        user.groups.push(UserInfo::AUTHENTICATED_GROUP.to_owned());
    }
}

/// The token of an `Authorization: Bearer` header, or of a WebSocket's subprotocol
/// `base64url.bearer.authorization.k8s.io.<token>`, which is how browsers send one.
pub fn bearer_token(headers: &http::HeaderMap) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).iter().find_map(|value| {
        let encoded = value
            .to_str()
            .ok()?
            .split(',')
            .find_map(|protocol| protocol.trim().strip_prefix("base64url.bearer.authorization.k8s.io."))?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
    })
}

impl Authenticator for Authenticators {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Option<Arc<UserInfo>>, AuthenticationError>> {
        async move {
            match self.who(&credentials).await? {
                Some(user) => Ok(Some(user)),
                // Bad credentials are never taken for none.
                None if self.anonymous.load().allows(credentials.path) => Ok(Some(Arc::new(UserInfo::anonymous()))),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn authenticate_token<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        self.token(token, audiences).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_clients_put_them() {
        let headers =
            |name: http::HeaderName, value: &str| http::HeaderMap::from_iter([(name, value.parse().unwrap())]);
        let found = |name, value| bearer_token(&headers(name, value));
        assert_eq!(found(http::header::AUTHORIZATION, "Bearer abc"), Some("abc".into()));
        assert_eq!(found(http::header::AUTHORIZATION, "bearer  abc "), Some("abc".into()));
        assert_eq!(found(http::header::AUTHORIZATION, "Basic abc"), None);
        assert_eq!(found(http::header::AUTHORIZATION, "Bearer "), None);
        let protocols = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        assert_eq!(found(http::header::SEC_WEBSOCKET_PROTOCOL, protocols), Some("abc".into()));
    }
}
