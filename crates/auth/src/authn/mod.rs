//! Authentication: client certificates and bearer tokens.
//! Upstream: `k8s.io/apiserver/pkg/authentication` and `pkg/kubeapiserver/authenticator`.

mod certificate;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use registry::{
    UserInfo,
    auth::{AuthenticationError, Authenticator, Credentials, TokenIdentity},
};

pub use certificate::CertificateAuthenticator;

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

/// The chain of all authenticators: first the certificate of the connection, then the bearer token.
pub struct Authenticators {
    tokens: Vec<Arc<dyn TokenAuthenticator>>,
}

impl Authenticators {
    /// With these kinds of tokens, asked in order.
    pub fn new(tokens: Vec<Arc<dyn TokenAuthenticator>>) -> Self {
        Self { tokens }
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
                    return Ok(Some(identity));
                }
                Err(error) => errors.push(error.0),
            }
        }
        if errors.is_empty() { Ok(None) } else { Err(AuthenticationError(errors.join(", "))) }
    }
}

/// Everybody who is known is a member of this group.
fn authenticated(user: &mut UserInfo) {
    if !user.in_group(UserInfo::AUTHENTICATED_GROUP) && user.name != UserInfo::ANONYMOUS {
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
            if let Some(leaf) = credentials.peer_certificates.first()
                && let Some(mut user) = CertificateAuthenticator::user(leaf)?
            {
                authenticated(&mut user);
                return Ok(Some(Arc::new(user)));
            }
            let Some(token) = bearer_token(credentials.headers) else { return Ok(None) };
            match self.token(&token, &[]).await? {
                Some(identity) => Ok(Some(Arc::new(identity.user))),
                None => Err(AuthenticationError("the bearer token is not known".to_owned())),
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
