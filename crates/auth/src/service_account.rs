//! Service account tokens: signed, for an audience, for a time, bound to an object; and their verification, which
//! also asks whether the account and the object still exist.
//!
//! Upstream: `pkg/serviceaccount`. Signatures are ES256.

use api::core::v1::{Node, Pod, Secret, ServiceAccount};
use apimachinery::ApiError;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures::future::{BoxFuture, FutureExt as _, ready};
use jiff::{SignedDuration, Timestamp};
use registry::{
    Reader, UserInfo,
    auth::{AuthenticationError, IssuedToken, TokenClaims, TokenIdentity, TokenIssuer},
};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};

use crate::authn::TokenAuthenticator;

const USER_PREFIX: &str = "system:serviceaccount:";

/// How a service account is named as a user.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("{USER_PREFIX}{namespace}:{name}")
}

/// The groups of a service account.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// A user that is a service account, for a component that acts as one.
pub fn user(namespace: &str, name: &str) -> UserInfo {
    let mut groups = groups(namespace);
    groups.push(UserInfo::AUTHENTICATED_GROUP.to_owned());
    UserInfo::new(user_name(namespace, name), groups)
}

/// The signing key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("service account signing key: {0}")]
pub struct TokenError(String);

/// Signs and verifies.
pub struct ServiceAccountTokens {
    issuer: String,
    audiences: Vec<String>,
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
    objects: Reader,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Audience,
    exp: i64,
    iat: i64,
    iss: String,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Private,
    nbf: i64,
    sub: String,
}

/// One or several, as RFC 7519 allows.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

#[derive(Serialize, Deserialize)]
struct Private {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
    serviceaccount: Reference,
}

#[derive(Serialize, Deserialize, Clone)]
struct Reference {
    name: String,
    uid: String,
}

impl ServiceAccountTokens {
    /// From the signing key (PKCS#8 PEM, ECDSA P-256). `objects` is asked whether accounts and pods still exist.
    pub fn new(key_pem: &str, issuer: &str, audiences: Vec<String>, objects: Reader) -> Result<Self, TokenError> {
        let random = SystemRandom::new();
        let body: String = key_pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der =
            base64::engine::general_purpose::STANDARD.decode(body).map_err(|error| TokenError(error.to_string()))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .map_err(|error| TokenError(error.to_string()))?;
        let key_id = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref()));
        Ok(Self { issuer: issuer.to_owned(), audiences, key, key_id, random, objects })
    }

    /// The keys that tokens can be checked with, as a JWK set, for `/openid/v1/jwks`.
    pub fn key_set(&self) -> serde_json::Value {
        // An uncompressed point: a byte 4, then the two coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).map(|rest| rest.split_at(rest.len() / 2)).unwrap_or_default();
        serde_json::json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        }]})
    }

    /// The discovery document of `/.well-known/openid-configuration`.
    pub fn discovery(&self, jwks_uri: &str) -> serde_json::Value {
        serde_json::json!({
            "issuer": self.issuer, "jwks_uri": jwks_uri, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        let header = Header { alg: "ES256".to_owned(), kid: self.key_id.clone() };
        let encode =
            |bytes: Result<Vec<u8>, serde_json::Error>| bytes.map(|b| BASE64.encode(b)).map_err(ApiError::internal);
        let payload = format!("{}.{}", encode(serde_json::to_vec(&header))?, encode(serde_json::to_vec(claims))?);
        let signature = self
            .key
            .sign(&self.random, payload.as_bytes())
            .map_err(|_| ApiError::internal("failed to sign the token"))?;
        Ok(format!("{payload}.{}", BASE64.encode(signature)))
    }

    fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Option<TokenIdentity>, String> {
        let Some((payload, signature)) = token.rsplit_once('.') else { return Ok(None) };
        let Some((header, claims)) = payload.split_once('.') else { return Ok(None) };
        let decode = |text: &str| BASE64.decode(text).ok();
        let (Some(header), Some(claims_json), Some(signature)) = (decode(header), decode(claims), decode(signature))
        else {
            return Ok(None);
        };
        // Somebody else's tokens are for another authenticator, so that is no error.
        let Ok(claims) = serde_json::from_slice::<Claims>(&claims_json) else { return Ok(None) };
        if claims.iss != self.issuer {
            return Ok(None);
        }
        let header: Header = serde_json::from_slice(&header).map_err(|_| "malformed token header")?;
        if header.alg != "ES256" {
            return Err(format!("unexpected signature algorithm {:?}; expected [\"ES256\"]", header.alg));
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(payload.as_bytes(), &signature)
            .map_err(|_| "invalid bearer token: the signature is not ours")?;
        let at = now.as_second();
        if at >= claims.exp {
            return Err("service account token has expired".to_owned());
        }
        if at < claims.nbf {
            return Err("service account token is not valid yet".to_owned());
        }
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let of_token = match &claims.aud {
            Audience::Many(list) => list.as_slice(),
            Audience::One(one) => std::slice::from_ref(one),
        };
        let common: Vec<String> = wanted.iter().filter(|audience| of_token.contains(audience)).cloned().collect();
        if common.is_empty() {
            return Err(format!("token audiences {of_token:?} is invalid for the target audiences {wanted:?}"));
        }
        self.still_good(&claims, now)?;
        Ok(Some(TokenIdentity { user: identity(&claims), audiences: common }))
    }

    /// A token is worth no more than the account and the object it is bound to.
    fn still_good(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let Private { namespace, node, pod, secret, serviceaccount } = &claims.kubernetes;
        if claims.sub != user_name(namespace, &serviceaccount.name) {
            return Err("the token's subject is not its service account".to_owned());
        }
        let check = |what: &str, uid: Option<String>, reference: &Reference| match uid {
            None => Err(format!("{what} {} of the token does not exist", reference.name)),
            Some(uid) if uid != reference.uid => {
                Err(format!("{what} UID ({uid}) does not match the token's ({})", reference.uid))
            }
            Some(_) => Ok(()),
        };
        // Objects that are being deleted still count for a minute, so that what shuts down can finish.
        let gone = |deleted: Option<&api::Time>| {
            deleted.is_some_and(|time| now.duration_since(time.0) > SignedDuration::from_secs(60))
        };
        let account: Option<ServiceAccount> = self.objects.get("", "serviceaccounts", namespace, &serviceaccount.name);
        let account = account.filter(|account| !gone(account.metadata.deletion_timestamp.as_ref()));
        check("service account", account.and_then(|account| account.metadata.uid), serviceaccount)?;
        if let Some(reference) = pod {
            let pod: Option<Pod> = self.objects.get("", "pods", namespace, &reference.name);
            let pod = pod.filter(|pod| !gone(pod.metadata.deletion_timestamp.as_ref()));
            check("pod", pod.and_then(|pod| pod.metadata.uid), reference)?;
        }
        if let Some(reference) = secret {
            let secret: Option<Secret> = self.objects.get("", "secrets", namespace, &reference.name);
            check("secret", secret.and_then(|secret| secret.metadata.uid), reference)?;
        }
        if let (Some(reference), None) = (node, pod) {
            let node: Option<Node> = self.objects.get("", "nodes", "", &reference.name);
            check("node", node.and_then(|node| node.metadata.uid), reference)?;
        }
        Ok(())
    }
}

fn identity(claims: &Claims) -> UserInfo {
    let Private { namespace, node, pod, serviceaccount, .. } = &claims.kubernetes;
    let mut user = UserInfo::new(user_name(namespace, &serviceaccount.name), groups(namespace));
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
        extra("node-uid", node.uid.clone());
    }
    user
}

impl TokenIssuer for ServiceAccountTokens {
    fn issue(&self, wanted: TokenClaims) -> Result<IssuedToken, ApiError> {
        let now = Timestamp::now();
        let expires = now + SignedDuration::from_secs(wanted.expiration_seconds);
        let mut kubernetes = Private {
            namespace: wanted.namespace.clone(),
            node: wanted.node.map(|(name, uid)| Reference { name, uid }),
            pod: None,
            secret: None,
            serviceaccount: Reference { name: wanted.service_account.clone(), uid: wanted.service_account_uid },
        };
        if let Some((kind, name, uid)) = wanted.bound_to {
            let reference = Some(Reference { name, uid });
            match kind.as_str() {
                "Pod" => kubernetes.pod = reference,
                "Secret" => kubernetes.secret = reference,
                "Node" => kubernetes.node = reference,
                other => return Err(ApiError::bad_request(format!("cannot bind token to object of type {other}"))),
            }
        }
        let mut random = [0_u8; 16];
        ring::rand::SecureRandom::fill(&self.random, &mut random)
            .map_err(|_| ApiError::internal("the system gives no random numbers"))?;
        let claims = Claims {
            aud: Audience::Many(wanted.audiences),
            exp: expires.as_second(),
            iat: now.as_second(),
            iss: self.issuer.clone(),
            jti: uuid(random),
            kubernetes,
            nbf: now.as_second(),
            sub: user_name(&wanted.namespace, &wanted.service_account),
        };
        Ok(IssuedToken { token: self.sign(&claims)?, expires })
    }

    fn default_audiences(&self) -> Vec<String> {
        self.audiences.clone()
    }
}

/// A version 4 UUID of random bytes.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
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
    use std::sync::Arc;

    use registry::ReadObjects;

    use super::*;

    struct Objects;
    impl ReadObjects for Objects {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<bytes::Bytes> {
            let uid = match (plural, namespace, name) {
                ("serviceaccounts", "ns", "sa") => "1",
                ("pods", "ns", "p") => "2",
                _ => return None,
            };
            let kind = if plural == "pods" { "Pod" } else { "ServiceAccount" };
            Some(
                format!(r#"{{"apiVersion":"v1","kind":"{kind}","metadata":{{"name":"{name}","uid":"{uid}"}}}}"#).into(),
            )
        }
        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<bytes::Bytes> {
            Vec::new()
        }
    }

    fn tokens() -> ServiceAccountTokens {
        let directory = tempfile::tempdir().unwrap();
        let (key, _) = pki::signing_key(directory.path()).unwrap();
        ServiceAccountTokens::new(
            &key,
            "https://kubernetes.default.svc",
            vec!["api".into()],
            Reader::new(Arc::new(Objects)),
        )
        .unwrap()
    }

    fn claims(account: &str, uid: &str, pod_uid: Option<&str>) -> TokenClaims {
        TokenClaims {
            namespace: "ns".into(),
            service_account: account.into(),
            service_account_uid: uid.into(),
            audiences: vec!["api".into()],
            expiration_seconds: 600,
            bound_to: pod_uid.map(|uid| ("Pod".into(), "p".into(), uid.into())),
            node: Some(("n".into(), "9".into())),
        }
    }

    fn check(tokens: &ServiceAccountTokens, token: &str, after: i64) -> Result<Option<TokenIdentity>, String> {
        tokens.verify(token, &[], Timestamp::now() + SignedDuration::from_secs(after))
    }

    #[test]
    fn a_token_names_its_account_pod_and_node() {
        let tokens = tokens();
        let token = tokens.issue(claims("sa", "1", Some("2"))).unwrap().token;
        let user = check(&tokens, &token, 0).unwrap().unwrap().user;
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n"]);
    }

    #[test]
    fn bad_tokens_are_refused() {
        let tokens = tokens();
        let token = tokens.issue(claims("sa", "1", None)).unwrap().token;
        assert!(check(&tokens, &token, 601).unwrap_err().contains("expired"));
        assert!(tokens.verify(&token, &["other".into()], Timestamp::now()).unwrap_err().contains("audiences"));
        let mut forged = token.clone().into_bytes();
        let at = token.rfind('.').unwrap() + 5;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert!(check(&tokens, std::str::from_utf8(&forged).unwrap(), 0).is_err());
        assert!(self::tokens().verify(&token, &[], Timestamp::now()).is_err(), "another cluster's key");
        let (_, rest) = token.split_once('.').unwrap();
        let none = format!("{}.{rest}", BASE64.encode(r#"{"alg":"none","kid":""}"#));
        assert!(check(&tokens, &none, 0).is_err());
        for junk in ["", "a", "a.b", "a.b.c", "...."] {
            assert!(matches!(check(&tokens, junk, 0), Ok(None)), "{junk}");
        }
    }

    #[test]
    fn a_token_dies_with_what_it_is_bound_to() {
        let tokens = tokens();
        for bad in [claims("gone", "1", None), claims("sa", "other", None), claims("sa", "1", Some("other"))] {
            let token = tokens.issue(bad).unwrap().token;
            assert!(check(&tokens, &token, 0).is_err());
        }
    }
}
