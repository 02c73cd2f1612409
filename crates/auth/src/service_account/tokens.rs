//! Makes tokens and checks them; also whether the account, the pod, the node and the Secret that a token is bound to
//! still exist. A signature is checked once and remembered; what is stored is asked each time, so a token ends with its
//! pod and not some seconds later.
//!
//! Upstream: `pkg/serviceaccount/{jwt,claims}.go`, whose cache also remembers who the token stood for.

use std::sync::{Arc, OnceLock};

use apimachinery::{ApiError, field::go_quote};
use arc_swap::ArcSwap;
use futures::future::{BoxFuture, FutureExt as _, ready};
use jiff::{SignedDuration, Timestamp};
use registry::{
    Reader, UserInfo,
    auth::{AuthenticationError, IssuedToken, TokenClaims, TokenIdentity, TokenIssuer, TokenPolicy},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    claims::{Audience, Claims, Legacy, Private, Reference},
    legacy::{self, LEGACY_ISSUER, LegacyAccount, LegacyUses},
};
use crate::{
    authn::TokenAuthenticator,
    cache::{Digest, ExpiringMap},
    jose::{Algorithm, KeyError, PublicKey, SigningKey, Unverified},
};

/// Clocks may differ by so much. Upstream: `jwt.DefaultLeeway`, which also lets what shuts down finish.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Signatures that are remembered.
const MAX_REMEMBERED: usize = 16_384;
/// Longest that one is.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(3600);

/// The keys or the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("service account tokens: {0}")]
pub struct TokenError(String);

/// How tokens are made and checked. Flags of the same names.
#[derive(Clone, Debug, Default)]
pub struct TokenSettings {
    /// PEM of the private key that signs.
    pub signing_key: String,
    /// PEM of further keys, public or private, whose tokens are good: those that signed before.
    pub verification_keys: Vec<String>,
    /// Who makes tokens; the first in new ones, the others in those made before.
    pub issuers: Vec<String>,
    /// Of the API server itself; empty: the issuers.
    pub audiences: Vec<String>,
    /// Longest life of a token; `None`: what the API allows.
    pub max_expiration: Option<SignedDuration>,
    /// Whether pods' tokens of an hour hold for a year, with a mark in the audit log.
    pub extend_expiration: bool,
}

/// Signs and verifies.
pub struct ServiceAccountTokens {
    settings: TokenSettings,
    keys: ArcSwap<Keys>,
    objects: Reader,
    remembered: ExpiringMap<Arc<Claims>>,
    uses: OnceLock<LegacyUses>,
}

struct Keys {
    signing: SigningKey,
    /// All that are good, the signing one first.
    public: Vec<PublicKey>,
}

/// What is asked of an object that a token is bound to; the rest is not decoded.
#[derive(Deserialize)]
struct Stored {
    metadata: StoredMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMeta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
}

impl Keys {
    fn new(signing: &str, others: &[String]) -> Result<Self, KeyError> {
        let signing = SigningKey::from_pem(signing)?;
        let mut public = vec![signing.public_key().clone()];
        for pem in others {
            for key in PublicKey::all_from_pem(pem)? {
                if !public.contains(&key) {
                    public.push(key);
                }
            }
        }
        Ok(Self { signing, public })
    }
}

impl ServiceAccountTokens {
    /// `objects` is asked whether accounts, pods, nodes and Secrets still exist.
    pub fn new(mut settings: TokenSettings, objects: Reader) -> Result<Self, TokenError> {
        if settings.issuers.is_empty() {
            return Err(TokenError("no issuer".to_owned()));
        }
        if settings.audiences.is_empty() {
            settings.audiences.clone_from(&settings.issuers);
        }
        let keys =
            Keys::new(&settings.signing_key, &settings.verification_keys).map_err(|error| TokenError(error.0))?;
        settings.signing_key.clear();
        Ok(Self {
            settings,
            keys: ArcSwap::from_pointee(keys),
            objects,
            remembered: ExpiringMap::new(MAX_REMEMBERED),
            uses: OnceLock::new(),
        })
    }

    /// Signs with another key from now on. Tokens of keys that are not said any more are no longer good.
    pub fn replace_keys(&self, signing: &str, verification: &[String]) -> Result<(), TokenError> {
        let keys = Keys::new(signing, verification).map_err(|error| TokenError(error.0))?;
        self.keys.store(Arc::new(keys));
        self.remembered.clear();
        Ok(())
    }

    /// Has the use of tokens in Secrets written down from now on.
    pub fn note_uses(&self, uses: LegacyUses) {
        // Said once, at the start.
        self.uses.set(uses).ok();
    }

    /// The keys that tokens can be checked with, as a JWK set, for `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        json!({"keys": self.keys.load().public.iter().map(PublicKey::to_jwk).collect::<Vec<_>>()})
    }

    /// The discovery document of `/.well-known/openid-configuration`.
    pub fn discovery(&self, jwks_uri: &str) -> Value {
        let keys = self.keys.load();
        let mut algorithms: Vec<&str> = keys.public.iter().map(|key| key.default_algorithm().name()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        json!({
            "issuer": self.issuer(), "jwks_uri": jwks_uri, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// Who new tokens are of.
    pub fn issuer(&self) -> &str {
        self.settings.issuers.first().map(String::as_str).unwrap_or_default()
    }

    /// A token without end, to be kept in a Secret.
    pub fn legacy_token(&self, account: &LegacyAccount) -> Result<String, TokenError> {
        let claims = serde_json::to_value(account.claims()).map_err(|error| TokenError(error.to_string()))?;
        self.keys.load().signing.sign(&claims).map_err(|error| TokenError(error.0))
    }

    /// Claims whose signature is good; `Ok(None)`: somebody else's token, for another authenticator.
    fn signed_claims(&self, token: &str) -> Result<Option<Arc<Claims>>, String> {
        let digest = Digest::of(&[token.as_bytes()]);
        if let Some(claims) = self.remembered.get(&digest) {
            return Ok(Some(claims));
        }
        let Some(parsed) = Unverified::parse(token) else { return Ok(None) };
        let Ok(claims) = serde_json::from_slice::<Claims>(&parsed.claims) else { return Ok(None) };
        if claims.iss != LEGACY_ISSUER && !self.settings.issuers.contains(&claims.iss) {
            return Ok(None);
        }
        let keys = self.keys.load();
        // A name of a key is a hint, no more: those made before keys were named as they are now still hold.
        let named = keys.public.iter().filter(|key| key.id == parsed.key_id);
        let others = keys.public.iter().filter(|key| key.id != parsed.key_id);
        let allowed = [
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::Es512,
        ];
        if !named.chain(others).any(|key| parsed.is_signed_by(key, &allowed)) {
            return Err("invalid bearer token: the signature is not that of a known key".to_owned());
        }
        let claims = Arc::new(claims);
        self.remembered.insert(digest, claims.clone(), REMEMBERED);
        Ok(Some(claims))
    }

    fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Option<TokenIdentity>, String> {
        let Some(claims) = self.signed_claims(token)? else { return Ok(None) };
        let own = &self.settings.audiences;
        let wanted = if audiences.is_empty() { own } else { audiences };
        let of_token = match claims.aud.list() {
            // Those in Secrets say none, and are for the API server.
            [] => own.as_slice(),
            list => list,
        };
        let common: Vec<String> = of_token.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if common.is_empty() {
            let list = |list: &[String]| list.iter().map(|text| go_quote(text)).collect::<Vec<_>>().join(" ");
            return Err(format!(
                "token audiences [{}] is invalid for the target audiences [{}]",
                list(of_token),
                list(wanted)
            ));
        }
        // Which kind it is says the issuer, not what is in it: one kind must not pass for the other.
        let user = if claims.iss == LEGACY_ISSUER {
            let holder = legacy::check(&claims, token, &self.objects, now)?;
            if let (Some((secret, day)), Some(uses)) = (holder.stale_use, self.uses.get()) {
                uses.tell(&holder.namespace, secret, day);
            }
            let mut user =
                UserInfo::new(super::user_name(&holder.namespace, &holder.account), super::groups(&holder.namespace));
            user.uid = holder.uid;
            user
        } else {
            let private = claims.kubernetes.as_ref().ok_or("the token is not one of a service account")?;
            self.still_good(&claims, private, now)?;
            identity(&claims, private)
        };
        Ok(Some(TokenIdentity { user, audiences: common }))
    }

    /// A token is worth no more than the account and the objects it is bound to.
    fn still_good(&self, claims: &Claims, private: &Private, now: Timestamp) -> Result<(), String> {
        let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| "a time of the token is out of range");
        let end = claims.exp.ok_or("service account token has no end")?;
        if now > at(end)?.saturating_add(LEEWAY).map_err(|error| error.to_string())? {
            return Err("service account token has expired".to_owned());
        }
        for begin in [claims.nbf, claims.iat].into_iter().flatten() {
            if now < at(begin)?.saturating_sub(LEEWAY).map_err(|error| error.to_string())? {
                return Err("service account token is not valid yet".to_owned());
            }
        }
        let Private { namespace, node, pod, secret, serviceaccount: account, .. } = private;
        if claims.sub != super::user_name(namespace, &account.name) {
            return Err("the token's subject is not its service account".to_owned());
        }
        match self.stored("serviceaccounts", namespace, &account.name) {
            None => return Err(format!("serviceaccounts {} not found", go_quote(&account.name))),
            Some(found) if found.is_gone(now) => {
                return Err(format!("service account {namespace}/{} has been deleted", account.name));
            }
            Some(found) if found.uid != account.uid => {
                return Err(format!("service account UID ({}) does not match claim ({})", found.uid, account.uid));
            }
            Some(_) => {}
        }
        let bound = |what: &str, plural: &str, namespace: &str, reference: &Reference| {
            let found = self.stored(plural, namespace, &reference.name).filter(|found| !found.is_gone(now));
            match found {
                None => Err("service account token has been invalidated".to_owned()),
                Some(found) if found.uid != reference.uid => Err(format!(
                    "{what} UID ({}) does not match service account {what} ref claim ({})",
                    found.uid, reference.uid
                )),
                Some(_) => Ok(()),
            }
        };
        if let Some(reference) = secret {
            bound("secret", "secrets", namespace, reference)?;
        }
        match (pod, node) {
            // What the pod's node was is only told; the pod is what counts.
            (Some(reference), _) => bound("pod", "pods", namespace, reference),
            (None, Some(reference)) => bound("node", "nodes", "", reference),
            (None, None) => Ok(()),
        }
    }

    fn stored(&self, plural: &str, namespace: &str, name: &str) -> Option<StoredMeta> {
        let bytes = self.objects.raw("", plural, namespace, name)?;
        serde_json::from_slice::<Stored>(&bytes).ok().map(|stored| stored.metadata)
    }
}

impl StoredMeta {
    /// Objects that are being deleted still count for a minute, so that what shuts down can finish.
    fn is_gone(&self, now: Timestamp) -> bool {
        self.deletion_timestamp.is_some_and(|since| now.duration_since(since) > LEEWAY)
    }
}

fn identity(claims: &Claims, private: &Private) -> UserInfo {
    let Private { namespace, node, pod, serviceaccount, .. } = private;
    let mut user = UserInfo::new(super::user_name(namespace, &serviceaccount.name), super::groups(namespace));
    user.uid.clone_from(&serviceaccount.uid);
    let mut extra = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    if !claims.jti.is_empty() {
        extra("credential-id", format!("JTI={}", claims.jti));
    }
    if let Some(pod) = pod {
        extra("pod-name", pod.name.clone());
        extra("pod-uid", pod.uid.clone());
    }
    if let Some(node) = node {
        extra("node-name", node.name.clone());
        if !node.uid.is_empty() {
            extra("node-uid", node.uid.clone());
        }
    }
    user
}

impl TokenIssuer for ServiceAccountTokens {
    fn issue(&self, wanted: TokenClaims) -> Result<IssuedToken, ApiError> {
        let now = Timestamp::now();
        let mut private = Private {
            namespace: wanted.namespace.clone(),
            node: wanted.node.map(|(name, uid)| Reference { name, uid }),
            pod: None,
            secret: None,
            serviceaccount: Reference { name: wanted.service_account.clone(), uid: wanted.service_account_uid },
            warnafter: wanted.warn_after_seconds.map(|seconds| now.as_second().saturating_add(seconds)),
        };
        if let Some((kind, name, uid)) = wanted.bound_to {
            let reference = Some(Reference { name, uid });
            match kind.as_str() {
                "Pod" => private.pod = reference,
                "Secret" => private.secret = reference,
                "Node" => private.node = reference,
                other => return Err(ApiError::bad_request(format!("cannot bind token to object of type {other}"))),
            }
        }
        let id = uuid::Uuid::new_v4().to_string();
        let end = now.as_second().saturating_add(wanted.expiration_seconds);
        let claims = Claims {
            aud: Audience::Many(wanted.audiences),
            exp: Some(end),
            iat: Some(now.as_second()),
            iss: self.issuer().to_owned(),
            jti: id.clone(),
            kubernetes: Some(private),
            nbf: Some(now.as_second()),
            sub: super::user_name(&wanted.namespace, &wanted.service_account),
            legacy: Legacy::default(),
        };
        let claims = serde_json::to_value(claims).map_err(ApiError::internal)?;
        let token = self.keys.load().signing.sign(&claims).map_err(ApiError::internal)?;
        Ok(IssuedToken { token, expires: Timestamp::from_second(end).unwrap_or(now), id })
    }

    fn default_audiences(&self) -> Vec<String> {
        self.settings.audiences.clone()
    }

    fn policy(&self) -> TokenPolicy {
        TokenPolicy {
            max_seconds: self.settings.max_expiration.map(|longest| longest.as_secs()),
            extends: self.settings.extend_expiration,
        }
    }
}

impl TokenAuthenticator for ServiceAccountTokens {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        ready(self.verify(token, audiences, Timestamp::now()).map_err(AuthenticationError)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    use parking_lot::Mutex;
    use registry::ReadObjects;

    use super::*;

    /// By plural and name.
    #[derive(Clone, Default)]
    struct Objects(Arc<Mutex<HashMap<(String, String), String>>>);

    impl Objects {
        fn put(&self, plural: &str, name: &str, rest: &str) {
            let text = format!(r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"{name}",{rest}}}"#);
            let kind = match plural {
                "secrets" => "Secret",
                "pods" => "Pod",
                "nodes" => "Node",
                _ => "ServiceAccount",
            };
            self.0.lock().insert((plural.into(), name.into()), text.replace("\"X\"", &format!("\"{kind}\"")));
        }
        fn remove(&self, plural: &str, name: &str) {
            self.0.lock().remove(&(plural.to_owned(), name.to_owned()));
        }
    }

    impl ReadObjects for Objects {
        fn get(&self, _: &str, plural: &str, _: &str, name: &str) -> Option<bytes::Bytes> {
            self.0.lock().get(&(plural.to_owned(), name.to_owned())).map(|text| text.clone().into())
        }
        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<bytes::Bytes> {
            Vec::new()
        }
    }

    fn key() -> String {
        pki::signing_key(tempfile::tempdir().unwrap().path()).unwrap().0
    }

    fn tokens() -> (ServiceAccountTokens, Objects) {
        let objects = Objects::default();
        objects.put("serviceaccounts", "sa", r#""uid":"1"}"#);
        objects.put("pods", "p", r#""uid":"2"}"#);
        objects.put("nodes", "n", r#""uid":"9"}"#);
        objects.put("secrets", "s", r#""uid":"4"}"#);
        let settings = TokenSettings {
            signing_key: key(),
            issuers: vec!["https://issuer".into(), "https://old".into()],
            audiences: vec!["api".into()],
            ..TokenSettings::default()
        };
        (ServiceAccountTokens::new(settings, Reader::new(Arc::new(objects.clone()))).unwrap(), objects)
    }

    fn claims(bound: Option<(&str, &str, &str)>) -> TokenClaims {
        TokenClaims {
            namespace: "ns".into(),
            service_account: "sa".into(),
            service_account_uid: "1".into(),
            audiences: vec!["api".into()],
            expiration_seconds: 600,
            warn_after_seconds: None,
            bound_to: bound.map(|(kind, name, uid)| (kind.into(), name.into(), uid.into())),
            node: bound.filter(|bound| bound.0 == "Pod").map(|_| ("n".into(), "9".into())),
        }
    }

    fn check(tokens: &ServiceAccountTokens, token: &str, after: i64) -> Result<Option<TokenIdentity>, String> {
        tokens.verify(token, &[], Timestamp::now() + SignedDuration::from_secs(after))
    }

    #[test]
    fn a_token_names_its_account_pod_and_node() {
        let (tokens, _) = tokens();
        let issued = tokens.issue(claims(Some(("Pod", "p", "2")))).unwrap();
        let user = check(&tokens, &issued.token, 0).unwrap().unwrap().user;
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["9"]);
        assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], [format!("JTI={}", issued.id)]);
    }

    #[test]
    fn bad_tokens_are_refused() {
        let (tokens, _) = tokens();
        let token = tokens.issue(claims(None)).unwrap().token;
        assert!(check(&tokens, &token, 0).unwrap().is_some());
        assert!(check(&tokens, &token, 650).unwrap().is_some(), "clocks may differ by a minute");
        assert!(check(&tokens, &token, 661).unwrap_err().contains("expired"));
        assert!(check(&tokens, &token, -61).unwrap_err().contains("not valid yet"));
        assert!(tokens.verify(&token, &["other".into()], Timestamp::now()).unwrap_err().contains("audiences"));
        let mut forged = token.clone().into_bytes();
        let at = token.rfind('.').unwrap() + 5;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert!(check(&tokens, std::str::from_utf8(&forged).unwrap(), 0).is_err());
        assert!(self::tokens().0.verify(&token, &[], Timestamp::now()).is_err(), "another cluster's key");
        let (_, rest) = token.split_once('.').unwrap();
        for algorithm in ["none", "HS256", "ES384", ""] {
            let header = format!(r#"{{"alg":"{algorithm}","kid":""}}"#);
            assert!(check(&tokens, &format!("{}.{rest}", BASE64.encode(header)), 0).is_err(), "{algorithm}");
        }
        for junk in ["", "a", "a.b", "a.b.c", "...."] {
            assert!(matches!(check(&tokens, junk, 0), Ok(None)), "{junk}");
        }
    }

    #[test]
    fn a_token_dies_with_what_it_is_bound_to() {
        for (kind, plural, name, uid) in
            [("Pod", "pods", "p", "2"), ("Node", "nodes", "n", "9"), ("Secret", "secrets", "s", "4")]
        {
            let (tokens, objects) = tokens();
            let token = tokens.issue(claims(Some((kind, name, uid)))).unwrap().token;
            assert!(check(&tokens, &token, 0).unwrap().is_some(), "{kind}");
            let going = format!(r#""uid":"{uid}","deletionTimestamp":"{}"}}"#, Timestamp::now());
            objects.put(plural, name, &going);
            assert!(check(&tokens, &token, 30).unwrap().is_some(), "{kind} is going");
            assert!(check(&tokens, &token, 90).unwrap_err().contains("invalidated"), "{kind} should be gone");
            objects.put(plural, name, r#""uid":"another"}"#);
            assert!(check(&tokens, &token, 0).unwrap_err().contains("does not match"), "another {kind} of that name");
            objects.remove(plural, name);
            assert!(check(&tokens, &token, 0).unwrap_err().contains("invalidated"), "no {kind}");
        }
        let (tokens, objects) = tokens();
        let token = tokens.issue(claims(None)).unwrap().token;
        objects.put("serviceaccounts", "sa", r#""uid":"another"}"#);
        assert!(check(&tokens, &token, 0).unwrap_err().contains("UID"));
        objects.remove("serviceaccounts", "sa");
        assert!(check(&tokens, &token, 0).unwrap_err().contains("not found"));
    }

    #[test]
    fn keys_rotate() {
        let (tokens, _) = tokens();
        let old_key = tokens.key_set();
        let token = tokens.issue(claims(None)).unwrap().token;
        let (new, old) = (key(), {
            // The public half as PEM is enough for what was signed before.
            let jwk = PublicKey::from_jwk(&old_key["keys"][0]).unwrap();
            assert_eq!(jwk.id, old_key["keys"][0]["kid"]);
            jwk
        });
        tokens.replace_keys(&new, &[]).unwrap();
        assert!(check(&tokens, &token, 0).is_err(), "the old key is not known any more");
        let keys = tokens.keys.load();
        let both = Keys { signing: SigningKey::from_pem(&new).unwrap(), public: vec![keys.public[0].clone(), old] };
        tokens.keys.store(Arc::new(both));
        assert!(check(&tokens, &token, 0).unwrap().is_some());
        assert_eq!(tokens.key_set()["keys"].as_array().unwrap().len(), 2);
        let newer = tokens.issue(claims(None)).unwrap().token;
        assert!(check(&tokens, &newer, 0).unwrap().is_some());
    }

    #[test]
    fn tokens_in_secrets_hold_as_long_as_their_secret() {
        let (tokens, objects) = tokens();
        let account = LegacyAccount { namespace: "ns".into(), name: "sa".into(), uid: "1".into(), secret: "s".into() };
        let token = tokens.legacy_token(&account).unwrap();
        assert_eq!(check(&tokens, &token, 0).unwrap_err(), "token does not match server's copy");
        let data = base64::engine::general_purpose::STANDARD.encode(&token);
        let secret = |labels: &str| format!(r#""uid":"4","labels":{{{labels}}}}},"data":{{"token":"{data}"}}"#);
        objects.put("secrets", "s", &secret(""));
        let user = check(&tokens, &token, 0).unwrap().unwrap().user;
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:ns:sa", "1"));
        assert!(user.extra.is_empty());
        assert!(tokens.verify(&token, &["other".into()], Timestamp::now()).unwrap_err().contains("audiences"));
        objects.put("secrets", "s", &secret(r#""kubernetes.io/legacy-token-invalid-since":"2026-01-01""#));
        assert!(check(&tokens, &token, 0).unwrap_err().contains("marked invalid"));
        objects.remove("secrets", "s");
        assert_eq!(check(&tokens, &token, 0).unwrap_err(), "token has been invalidated");
    }
}
