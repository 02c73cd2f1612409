//! Tokens with which a node asks for its first certificate: Secrets of type `bootstrap.kubernetes.io/token`.
//! Upstream: `plugin/pkg/auth/authenticator/token/bootstrap`.

use api::core::v1::Secret;
use futures::future::{BoxFuture, FutureExt as _, ready};
use jiff::Timestamp;
use registry::{
    Reader, UserInfo,
    auth::{AuthenticationError, TokenIdentity},
};

use super::TokenAuthenticator;
use crate::cache::Digest;

const NAMESPACE: &str = "kube-system";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Looks tokens up in the cluster's Secrets.
pub struct BootstrapTokens(Reader);

impl BootstrapTokens {
    pub fn new(objects: Reader) -> Self {
        Self(objects)
    }

    fn user(&self, token: &str, now: Timestamp) -> Result<Option<UserInfo>, String> {
        let Some((id, secret)) = parse(token) else { return Ok(None) };
        let name = format!("bootstrap-token-{id}");
        let Some(stored) = self.0.get::<Secret>("", "secrets", NAMESPACE, &name) else { return Ok(None) };
        if stored.metadata.deletion_timestamp.is_some() || stored.type_.as_deref() != Some(SECRET_TYPE) {
            return Ok(None);
        }
        let field = |name: &str| -> &[u8] {
            stored.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice()).unwrap_or_default()
        };
        let text = |name: &str| String::from_utf8_lossy(field(name)).into_owned();
        let same = Digest::same(field("token-secret"), secret.as_bytes());
        if !same || field("token-id") != id.as_bytes() || has_expired(&text("expiration"), now) {
            return Ok(None);
        }
        if text("usage-bootstrap-authentication") != "true" {
            return Ok(None);
        }
        let mut groups = vec![GROUP.to_owned()];
        for group in text("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
            if !is_extra_group(group) {
                return Err(format!(
                    "bootstrap group {group:?} is invalid (must match system:bootstrappers:[a-z0-9:-]{{0,255}}[a-z0-9])"
                ));
            }
            groups.push(group.to_owned());
        }
        groups[1..].sort();
        groups.dedup();
        Ok(Some(UserInfo::new(format!("system:bootstrap:{id}"), groups)))
    }
}

/// Six and sixteen small letters and digits.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let good = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (good(id, 6) && good(secret, 16)).then_some((id, secret))
}

/// A time that cannot be read counts as passed; none never passes.
fn has_expired(expiration: &str, now: Timestamp) -> bool {
    !expiration.is_empty() && expiration.parse::<Timestamp>().is_ok_and(|end| end < now)
        || (!expiration.is_empty() && expiration.parse::<Timestamp>().is_err())
}

fn is_extra_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=256).contains(&rest.len())
        && rest.bytes().all(|byte| allowed(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(allowed)
}

impl TokenAuthenticator for BootstrapTokens {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        let user = self.user(token, Timestamp::now()).map_err(AuthenticationError);
        ready(user.map(|user| user.map(|user| TokenIdentity { user, audiences: audiences.to_vec() }))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use registry::ReadObjects;

    use super::*;

    struct One(String);
    impl ReadObjects for One {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<bytes::Bytes> {
            ((plural, namespace, name) == ("secrets", "kube-system", "bootstrap-token-abcdef"))
                .then(|| self.0.clone().into())
        }
        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<bytes::Bytes> {
            Vec::new()
        }
    }

    fn ask(kind: &str, fields: &[(&str, &str)], token: &str) -> Result<Option<UserInfo>, String> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let mut all = vec![
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (name, value) in fields {
            all.retain(|(known, _)| known != name);
            all.push((name, value));
        }
        let data: serde_json::Map<String, serde_json::Value> =
            all.iter().map(|(name, value)| ((*name).to_owned(), STANDARD.encode(value).into())).collect();
        let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}});
        let tokens = BootstrapTokens::new(Reader::new(Arc::new(One(secret.to_string()))));
        tokens.user(token, "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn tokens_of_secrets() {
        let good = "abcdef.0123456789abcdef";
        let user = ask(SECRET_TYPE, &[("auth-extra-groups", "system:bootstrappers:b,system:bootstrappers:a")], good);
        let user = user.unwrap().unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b"]);
        let refused = |fields: &[(&str, &str)]| ask(SECRET_TYPE, fields, good).unwrap().is_none();
        assert!(refused(&[("token-secret", "0123456789abcdee")]));
        assert!(refused(&[("token-id", "other")]));
        assert!(refused(&[("expiration", "2025-12-31T23:59:59Z")]));
        assert!(refused(&[("expiration", "tomorrow")]));
        assert!(!refused(&[("expiration", "2026-01-01T00:00:01Z")]));
        assert!(refused(&[("usage-bootstrap-authentication", "false")]));
        assert!(ask("Opaque", &[], good).unwrap().is_none());
        assert!(ask(SECRET_TYPE, &[("auth-extra-groups", "system:masters")], good).is_err());
        for token in ["abcdef.0123456789abcdeF", "abcdef", "abcdef.0123456789abcdef0", "../abc.0123456789abcdef"] {
            assert!(ask(SECRET_TYPE, &[], token).unwrap().is_none(), "{token}");
        }
    }
}
