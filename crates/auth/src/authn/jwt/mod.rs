//! Tokens of other issuers, by OpenID Connect: who may issue them, what they must say, and whom they stand for.
//!
//! Configured by `--authentication-config`, which is read again when it changes, or by the flags `--oidc-*`.
//! Upstream: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`.

mod config;
mod distributed;
mod keys;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use cel::{PER_CALL_LIMIT, Value as CelValue};
use futures::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use registry::{
    UserInfo,
    auth::{AuthenticationError, TokenIdentity},
};
use serde_json::{Map, Value};
use supervisor::Supervisor;

pub use config::{AuthenticationConfiguration, ClaimRule, ConfigError, Issuer, JwtConfig, MappingConfig, Mappings};

use super::TokenAuthenticator;
use crate::jose::{Algorithm, Unverified};
use config::{Compiled, Expression, Mapping, user_value};
use distributed::Resolver;
use keys::RemoteKeys;

/// A changed configuration counts once all its issuers were found, or is given up after this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How far in the future a token may begin. Upstream: `go-oidc`.
const LEEWAY: i64 = 60;

/// The issuers of a configuration, replaceable.
pub struct JwtAuthenticators {
    current: ArcSwap<Vec<Jwt>>,
    algorithms: Vec<Algorithm>,
    /// Issuers whose tokens others know.
    disallowed: Vec<String>,
    supervisor: Supervisor,
}

/// One issuer.
struct Jwt {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    compiled: Compiled,
    keys: RemoteKeys,
    /// Of groups that come from a claim.
    resolver: Option<Resolver>,
}

impl JwtAuthenticators {
    /// Begins to look for the issuers. `algorithms`: what they may sign with; `disallowed`: the cluster's own issuers.
    pub fn start(
        configuration: &AuthenticationConfiguration,
        algorithms: Vec<Algorithm>,
        disallowed: Vec<String>,
        supervisor: &Supervisor,
    ) -> Result<Arc<Self>, ConfigError> {
        let this = Self { current: ArcSwap::default(), algorithms, disallowed, supervisor: supervisor.clone() };
        this.current.store(Arc::new(this.build(configuration)?));
        Ok(Arc::new(this))
    }

    fn build(&self, configuration: &AuthenticationConfiguration) -> Result<Vec<Jwt>, ConfigError> {
        let compiled = configuration.compile(&self.disallowed)?;
        let all = configuration.jwt.iter().zip(compiled).map(|(jwt, compiled)| Jwt {
            issuer: jwt.issuer.url.clone(),
            audiences: jwt.issuer.audiences.clone(),
            algorithms: self.algorithms.clone(),
            resolver: match &compiled.groups {
                Mapping::Claim { name, .. } => Some(Resolver::new(
                    name,
                    &jwt.issuer.audiences,
                    &self.algorithms,
                    &jwt.issuer.certificate_authority,
                    &self.supervisor,
                )),
                Mapping::Expression(_) | Mapping::Nothing => None,
            },
            compiled,
            keys: RemoteKeys::start(
                &jwt.issuer.url,
                jwt.issuer.discovery_url.as_deref(),
                &jwt.issuer.certificate_authority,
                &self.supervisor,
            ),
        });
        Ok(all.collect())
    }

    /// Takes another configuration. What is wrong with it is said at once; it counts once its issuers were found, and
    /// until then the old one does. `then` is called when it counts.
    pub fn replace(
        self: &Arc<Self>,
        configuration: &AuthenticationConfiguration,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), ConfigError> {
        let next = self.build(configuration)?;
        let this = self.clone();
        self.supervisor.spawn("authentication configuration", async move {
            let found = join_all(next.iter().map(|jwt| jwt.keys.ready()));
            if tokio::time::timeout(PATIENCE, found).await.is_err() {
                tracing::error!(
                    "an issuer of the changed authentication configuration does not answer; the old one holds"
                );
                return;
            }
            this.current.store(Arc::new(next));
            then();
        });
        Ok(())
    }

    /// Returns once all issuers were found.
    pub async fn ready(&self) {
        join_all(self.current.load_full().iter().map(|jwt| jwt.keys.ready())).await;
    }
}

impl TokenAuthenticator for JwtAuthenticators {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        _audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        async move {
            let Some(parsed) = Unverified::parse(token) else { return Ok(None) };
            let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(&parsed.claims) else { return Ok(None) };
            let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
            let current = self.current.load_full();
            let Some(jwt) = current.iter().find(|jwt| jwt.issuer == issuer) else { return Ok(None) };
            let user = jwt.user(&parsed, claims, Timestamp::now()).await.map_err(AuthenticationError)?;
            // The issuer's audiences were checked; to the API server it is the user that counts.
            Ok(Some(TokenIdentity { user, audiences: Vec::new() }))
        }
        .boxed()
    }
}

impl Jwt {
    async fn user(
        &self,
        token: &Unverified<'_>,
        mut claims: Map<String, Value>,
        now: Timestamp,
    ) -> Result<UserInfo, String> {
        check_bounds(&self.audiences, &claims, now).map_err(|why| format!("oidc: verify token: {why}"))?;
        signed_by(&self.keys, token, &self.algorithms).await.map_err(|why| format!("oidc: verify token: {why}"))?;
        if let Some(resolver) = &self.resolver {
            resolver.expand(&mut claims).await?;
        }
        self.compiled.user(&claims)
    }
}

/// Whether one of the keys has signed the token, with an algorithm that is allowed.
async fn signed_by(keys: &RemoteKeys, token: &Unverified<'_>, allowed: &[Algorithm]) -> Result<(), String> {
    if token.algorithm.is_none_or(|algorithm| !allowed.contains(&algorithm)) {
        let expected: Vec<&str> = allowed.iter().map(|algorithm| algorithm.name()).collect();
        return Err(format!(
            "oidc: id token signed with unsupported algorithm, expected {expected:?} got {:?}",
            token.algorithm_name
        ));
    }
    if keys.has_signed(token, allowed).await? {
        Ok(())
    } else {
        Err("failed to verify signature: no key of the issuer has signed it".to_owned())
    }
}

/// Times and audiences.
fn check_bounds(audiences: &[String], claims: &Map<String, Value>, now: Timestamp) -> Result<(), String> {
    let of_token: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| of_token.contains(&audience.as_str())) {
        return Err(format!("oidc: expected audience in {audiences:?} got {of_token:?}"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds with a fraction; what is beyond is far away")]
    let seconds = |name: &str| {
        let value = claims.get(name)?;
        value.as_i64().or_else(|| value.as_f64().map(|value| value as i64))
    };
    let now = now.as_second();
    let end = seconds("exp").ok_or("oidc: token has no expiry")?;
    if end < now {
        return Err("oidc: token is expired".to_owned());
    }
    if seconds("nbf").is_some_and(|begin| now + LEEWAY < begin) {
        return Err("oidc: current time before the nbf (not before) time".to_owned());
    }
    Ok(())
}

impl Compiled {
    /// Whom the claims stand for, if they are what they have to be.
    fn user(&self, claims: &Map<String, Value>) -> Result<UserInfo, String> {
        let whole = Value::Object(claims.clone());
        let name = match &self.username {
            Mapping::Claim { name, prefix } => {
                let value = claims.get(name).and_then(Value::as_str);
                let value = value.ok_or_else(|| format!("oidc: parse username claims {name:?}: claim not present"))?;
                if name == "email"
                    && let Some(verified) = claims.get("email_verified")
                {
                    match verified {
                        Value::Bool(true) => {}
                        Value::Bool(false) => return Err("oidc: email not verified".to_owned()),
                        _ => return Err("oidc: parse 'email_verified' claim: not a boolean".to_owned()),
                    }
                }
                format!("{prefix}{value}")
            }
            Mapping::Expression(expression) => {
                let what = "oidc: error evaluating username claim expression";
                let value = expression.evaluate("claims", &whole).map_err(|why| format!("{what}: {why}"))?;
                let Value::String(name) = value else {
                    return Err(format!("{what}: username claim expression must return a string"));
                };
                if name.is_empty() {
                    return Err("oidc: empty username via CEL expression is not allowed".to_owned());
                }
                name
            }
            Mapping::Nothing => return Err("oidc: no username".to_owned()),
        };
        let groups = match &self.groups {
            Mapping::Claim { name, prefix } => match claims.get(name) {
                None => Vec::new(),
                Some(value) => texts(value)
                    .ok_or_else(|| format!("oidc: parse groups claim {name:?}: not a string or list of strings"))?
                    .into_iter()
                    .map(|group| format!("{prefix}{group}"))
                    .collect(),
            },
            Mapping::Expression(expression) => expression
                .texts(&whole)
                .map_err(|why| format!("oidc: error evaluating group claim expression: {why}"))?,
            Mapping::Nothing => Vec::new(),
        };
        let uid = match &self.uid {
            Mapping::Claim { name, .. } => {
                let value = claims.get(name).and_then(Value::as_str);
                value.ok_or_else(|| format!("oidc: parse uid claim {name:?}: claim not present"))?.to_owned()
            }
            Mapping::Expression(expression) => {
                let what = "oidc: error evaluating uid claim expression";
                match expression.evaluate("claims", &whole).map_err(|why| format!("{what}: {why}"))? {
                    Value::String(uid) => uid,
                    _ => return Err(format!("{what}: uid claim expression must return a string")),
                }
            }
            Mapping::Nothing => String::new(),
        };
        let mut extra = BTreeMap::new();
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, expression) in &self.extra {
            let values = expression
                .texts(&whole)
                .map_err(|why| format!("oidc: error evaluating extra claim expression: {}: {why}", expression.text))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        let user = UserInfo { name, uid, groups, extra };
        self.check(claims, &whole, &user)?;
        Ok(user)
    }

    fn check(&self, claims: &Map<String, Value>, whole: &Value, user: &UserInfo) -> Result<(), String> {
        for (claim, wanted) in &self.required {
            match claims.get(claim) {
                None => return Err(format!("oidc: required claim {claim} not present in ID token")),
                Some(Value::String(got)) if got == wanted => {}
                Some(Value::String(got)) => {
                    return Err(format!(
                        "oidc: required claim {claim} value does not match. Got = {got}, want = {wanted}"
                    ));
                }
                Some(_) => return Err(format!("oidc: parse claim {claim}: not a string")),
            }
        }
        rules(&self.claim_rules, "claims", whole)
            .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        rules(&self.user_rules, "user", &user_value(user))
            .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))
    }
}

fn rules(rules: &[(Expression, String)], variable: &str, value: &Value) -> Result<(), String> {
    for (expression, message) in rules {
        match expression.evaluate(variable, value)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                return Err(format!("validation expression '{}' failed: {message}", expression.text));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

impl Expression {
    fn evaluate(&self, variable: &str, value: &Value) -> Result<Value, String> {
        let variables = [(variable, CelValue::json(value))];
        let outcome = self.program.eval(&variables.as_slice(), PER_CALL_LIMIT);
        let value = outcome.result.map_err(|error| error.to_string())?;
        value.to_json().ok_or_else(|| "the expression's value cannot be used".to_owned())
    }

    fn texts(&self, claims: &Value) -> Result<Vec<String>, String> {
        let value = self.evaluate("claims", claims)?;
        let mut all = match &value {
            Value::Null => Vec::new(),
            value => texts(value).ok_or("expression must return a string or a list of strings")?,
        };
        all.retain(|text| !text.is_empty());
        Ok(all)
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The flags `--oidc-*`, as one issuer of a configuration.
#[derive(Clone, Debug, Default)]
pub struct OidcFlags {
    pub issuer_url: String,
    pub client_id: String,
    /// PEM.
    pub authority: String,
    pub username_claim: String,
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    pub required_claims: HashMap<String, String>,
}

impl OidcFlags {
    /// Upstream: `BuiltInAuthenticationOptions.ToAuthenticationConfig`.
    pub fn configuration(&self) -> JwtConfig {
        let prefix = match self.username_prefix.as_str() {
            "-" => String::new(),
            "" if self.username_claim != "email" => format!("{}#", self.issuer_url),
            given => given.to_owned(),
        };
        let claim = |claim: &str, prefix: &str| MappingConfig {
            claim: claim.to_owned(),
            prefix: Some(prefix.to_owned()),
            expression: String::new(),
        };
        let rules = self.required_claims.iter().map(|(name, value)| ClaimRule {
            claim: name.clone(),
            required_value: value.clone(),
            ..ClaimRule::default()
        });
        JwtConfig {
            issuer: Issuer {
                url: self.issuer_url.clone(),
                audiences: vec![self.client_id.clone()],
                certificate_authority: self.authority.clone(),
                ..Issuer::default()
            },
            claim_validation_rules: rules.collect(),
            claim_mappings: Mappings {
                username: claim(&self.username_claim, &prefix),
                groups: if self.groups_claim.is_empty() {
                    MappingConfig::default()
                } else {
                    claim(&self.groups_claim, &self.groups_prefix)
                },
                ..Mappings::default()
            },
            user_validation_rules: Vec::new(),
        }
    }
}
