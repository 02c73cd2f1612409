//! `AuthenticationConfiguration`: what the file says, and whether it may.
//! Upstream: `k8s.io/apiserver/pkg/apis/apiserver/{v1,validation}`.

use std::collections::HashSet;

use apimachinery::field::{Error, ErrorList, Path};
use cel::{Env, Mode, Program, Type};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Anonymous;

/// Most issuers.
const MAX_ISSUERS: usize = 64;

/// A configuration that cannot be used, with all that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default)]
    pub jwt: Vec<JwtConfig>,
    #[serde(default)]
    pub anonymous: Option<Anonymous>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtConfig {
    pub issuer: Issuer,
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    #[serde(default)]
    pub claim_mappings: Mappings,
    #[serde(default)]
    pub user_validation_rules: Vec<UserRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    #[serde(default)]
    pub url: String,
    #[serde(default, rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM; empty: the system's authorities.
    #[serde(default)]
    pub certificate_authority: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    #[serde(default)]
    pub audience_match_policy: String,
    /// Taken and of no effect: everything goes out the same way.
    #[serde(default)]
    pub egress_selector_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRule {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub required_value: String,
    #[serde(default)]
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mappings {
    #[serde(default)]
    pub username: MappingConfig,
    #[serde(default)]
    pub groups: MappingConfig,
    #[serde(default)]
    pub uid: MappingConfig,
    #[serde(default)]
    pub extra: Vec<ExtraConfig>,
}

/// Of `uid`, the prefix is not to be said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingConfig {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    pub expression: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraConfig {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub value_expression: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRule {
    #[serde(default)]
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

/// An expression, ready to be asked.
pub(super) struct Expression {
    pub(super) text: String,
    pub(super) program: Program,
}

/// Where a part of the user comes from.
pub(super) enum Mapping {
    Nothing,
    Claim { name: String, prefix: String },
    Expression(Expression),
}

/// What one issuer's configuration comes to.
pub(super) struct Compiled {
    pub(super) username: Mapping,
    pub(super) groups: Mapping,
    pub(super) uid: Mapping,
    pub(super) extra: Vec<(String, Expression)>,
    pub(super) required: Vec<(String, String)>,
    /// With what to say when it is false.
    pub(super) claim_rules: Vec<(Expression, String)>,
    pub(super) user_rules: Vec<(Expression, String)>,
}

impl AuthenticationConfiguration {
    /// As if a file said these issuers.
    pub fn of_issuers(jwt: Vec<JwtConfig>) -> Self {
        let (api_version, kind) = ("apiserver.config.k8s.io/v1", "AuthenticationConfiguration");
        Self { api_version: api_version.to_owned(), kind: kind.to_owned(), jwt, anonymous: None }
    }

    /// From YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let failed = |error: &dyn std::fmt::Display| ConfigError(error.to_string());
        let value: Value = serde_saphyr::from_str(text).map_err(|error| failed(&error))?;
        let parsed: Self = serde_json::from_value(value).map_err(|error| failed(&error))?;
        let known =
            ["v1", "v1beta1", "v1alpha1"].iter().any(|v| parsed.api_version == format!("apiserver.config.k8s.io/{v}"));
        if !known || parsed.kind != "AuthenticationConfiguration" {
            return Err(ConfigError(format!(
                "expected AuthenticationConfiguration of apiserver.config.k8s.io/v1, got {} of {}",
                parsed.kind, parsed.api_version
            )));
        }
        Ok(parsed)
    }

    /// Compiles all issuers. `disallowed`: issuers whose tokens others know.
    pub(super) fn compile(&self, disallowed: &[String]) -> Result<Vec<Compiled>, ConfigError> {
        let (root, mut errors, mut all) = (Path::new("jwt"), ErrorList::default(), Vec::new());
        if self.jwt.len() > MAX_ISSUERS {
            return Err(ConfigError(format!(
                "jwt: Too many: {}: must have at most {MAX_ISSUERS} items",
                self.jwt.len()
            )));
        }
        let (mut issuers, mut discoveries) = (HashSet::new(), HashSet::new());
        for (index, jwt) in self.jwt.iter().enumerate() {
            let path = root.index(index);
            all.push(jwt.compile(disallowed, &path, &mut errors));
            if !issuers.insert(&jwt.issuer.url) {
                errors.push(Error::duplicate(&path.child("issuer").child("url"), jwt.issuer.url.as_str()));
            }
            if let Some(url) = jwt.issuer.discovery_url.as_ref().filter(|url| !url.is_empty())
                && !discoveries.insert(url)
            {
                errors.push(Error::duplicate(&path.child("issuer").child("discoveryURL"), url.as_str()));
            }
        }
        if let Some(anonymous) = &self.anonymous
            && !anonymous.enabled
            && !anonymous.conditions.is_empty()
        {
            let path = Path::new("anonymous").child("conditions");
            let conditions: Vec<&str> = anonymous.conditions.iter().map(|condition| condition.path.as_str()).collect();
            errors.push(Error::invalid(&path, conditions, "enabled should be set to true when conditions are defined"));
        }
        if errors.is_empty() { Ok(all.into_iter().flatten().collect()) } else { Err(ConfigError(errors.aggregate())) }
    }
}

impl JwtConfig {
    fn compile(&self, disallowed: &[String], path: &Path, errors: &mut ErrorList) -> Option<Compiled> {
        let before = errors.len();
        self.issuer.validate(disallowed, &path.child("issuer"), errors);
        let claims = || Env::new(Mode::StoredExpressions).with("claims", Type::map(Type::String, Type::Dyn));
        let (mut required, mut claim_rules) = (Vec::new(), Vec::new());
        let (mut seen_claims, mut seen) = (HashSet::new(), HashSet::new());
        for (index, rule) in self.claim_validation_rules.iter().enumerate() {
            let path = path.child("claimValidationRules").index(index);
            match (rule.claim.as_str(), rule.expression.as_str()) {
                ("", "") => errors.push(Error::required(&path, "claim or expression is required")),
                (claim, "") => {
                    if !rule.message.is_empty() {
                        let why = "may not be specified when claim is set";
                        errors.push(Error::invalid(&path.child("message"), rule.message.as_str(), why));
                    }
                    if !seen_claims.insert(claim) {
                        errors.push(Error::duplicate(&path.child("claim"), claim));
                    }
                    required.push((claim.to_owned(), rule.required_value.clone()));
                }
                ("", expression) => {
                    if !rule.required_value.is_empty() {
                        let why = "may not be specified when expression is set";
                        errors.push(Error::invalid(&path.child("requiredValue"), rule.required_value.as_str(), why));
                    }
                    let path = path.child("expression");
                    if !seen.insert(expression) {
                        errors.push(Error::duplicate(&path, expression));
                    } else if let Some(compiled) = compile(&claims(), expression, true, &path, errors) {
                        claim_rules.push((compiled, rule.message.clone()));
                    }
                }
                (claim, _) => errors.push(Error::invalid(&path, claim, "claim and expression can't both be set")),
            }
        }
        let mappings = path.child("claimMappings");
        let username = self.claim_mappings.username.compile(&claims(), &mappings.child("username"), Some(true), errors);
        let groups = self.claim_mappings.groups.compile(&claims(), &mappings.child("groups"), Some(false), errors);
        let uid = self.claim_mappings.uid.compile(&claims(), &mappings.child("uid"), None, errors);
        let extra = self.extra(&claims(), &mappings.child("extra"), errors);
        let (mut user_rules, mut seen) = (Vec::new(), HashSet::new());
        for (index, rule) in self.user_validation_rules.iter().enumerate() {
            let path = path.child("userValidationRules").index(index).child("expression");
            if rule.expression.is_empty() {
                errors.push(Error::required(&path, ""));
            } else if !seen.insert(rule.expression.as_str()) {
                errors.push(Error::duplicate(&path, rule.expression.as_str()));
            } else if let Some(compiled) = compile(&user_environment(), &rule.expression, true, &path, errors) {
                user_rules.push((compiled, rule.message.clone()));
            }
        }
        let uses = |expression: &Expression, claim: &str| expression.program.selects("claims", claim);
        if let Mapping::Expression(name) = &username
            && uses(name, "email")
            && !uses(name, "email_verified")
            && !extra.iter().any(|(_, expression)| uses(expression, "email_verified"))
            && !claim_rules.iter().any(|(expression, _)| uses(expression, "email_verified"))
        {
            let why = "claims.email_verified must be used in claimMappings.username.expression or \
                       claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                       used in claimMappings.username.expression";
            errors.push(Error::invalid(&mappings.child("username").child("expression"), name.text.as_str(), why));
        }
        (errors.len() == before).then_some(Compiled { username, groups, uid, extra, required, claim_rules, user_rules })
    }

    fn extra(&self, env: &Env, path: &Path, errors: &mut ErrorList) -> Vec<(String, Expression)> {
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for (index, extra) in self.claim_mappings.extra.iter().enumerate() {
            let (path, key) = (path.index(index), extra.key.as_str());
            let key_path = path.child("key");
            let (domain, rest) = key.split_once('/').unwrap_or((key, ""));
            if key.is_empty() {
                errors.push(Error::required(&key_path, ""));
            } else if rest.is_empty() || !apimachinery::names::is_dns1123_subdomain(domain).is_empty() {
                errors.push(Error::invalid(&key_path, key, "must be a domain-prefixed path (such as \"acme.io/foo\")"));
            }
            if key != key.to_lowercase() {
                errors.push(Error::invalid(&key_path, key, "must be lowercase"));
            }
            let reserved = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
            if !rest.is_empty() && (reserved("kubernetes.io") || reserved("k8s.io")) {
                let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                errors.push(Error::invalid(&key_path, key, why));
            }
            if !seen.insert(key) {
                errors.push(Error::duplicate(&key_path, key));
                continue;
            }
            let path = path.child("valueExpression");
            if extra.value_expression.is_empty() {
                errors.push(Error::required(&path, ""));
            } else if let Some(compiled) = compile(env, &extra.value_expression, false, &path, errors) {
                all.push((key.to_owned(), compiled));
            }
        }
        all
    }
}

impl MappingConfig {
    /// `needed`: whether it has to be said; `None`: it has no prefix.
    fn compile(&self, env: &Env, path: &Path, needed: Option<bool>, errors: &mut ErrorList) -> Mapping {
        match (self.claim.as_str(), self.expression.as_str()) {
            ("", "") => {
                if needed == Some(true) {
                    errors.push(Error::required(path, "claim or expression is required"));
                }
                Mapping::Nothing
            }
            ("", expression) => {
                if let Some(prefix) = &self.prefix {
                    let why = "may not be specified when expression is set";
                    errors.push(Error::invalid(&path.child("prefix"), prefix.as_str(), why));
                }
                compile(env, expression, false, &path.child("expression"), errors)
                    .map_or(Mapping::Nothing, Mapping::Expression)
            }
            (claim, "") => {
                if needed.is_some() && self.prefix.is_none() {
                    let why =
                        "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                    errors.push(Error::required(&path.child("prefix"), why));
                }
                Mapping::Claim { name: claim.to_owned(), prefix: self.prefix.clone().unwrap_or_default() }
            }
            _ => {
                errors.push(Error::invalid(path, "", "claim and expression can't both be set"));
                Mapping::Nothing
            }
        }
    }
}

impl Issuer {
    fn validate(&self, disallowed: &[String], path: &Path, errors: &mut ErrorList) {
        let url = path.child("url");
        if self.url.is_empty() {
            errors.push(Error::required(&url, ""));
        } else {
            if disallowed.contains(&self.url) {
                let why = format!("URL must not overlap with disallowed issuers: [{}]", disallowed.join(" "));
                errors.push(Error::invalid(&url, self.url.as_str(), why));
            }
            validate_url(&self.url, &url, errors);
        }
        if let Some(discovery) = self.discovery_url.as_ref().filter(|discovery| !discovery.is_empty()) {
            let path = path.child("discoveryURL");
            if discovery.trim_end_matches('/') == self.url.trim_end_matches('/') {
                errors.push(Error::invalid(&path, discovery.as_str(), "discoveryURL must be different from URL"));
            }
            validate_url(discovery, &path, errors);
        }
        let audiences = path.child("audiences");
        if self.audiences.is_empty() {
            let why = format!("at least one {audiences} is required");
            errors.push(Error::required(&audiences, why));
        }
        for (index, audience) in self.audiences.iter().enumerate() {
            if audience.is_empty() {
                errors.push(Error::required(&audiences.index(index), ""));
            }
            if self.audiences[..index].contains(audience) {
                errors.push(Error::duplicate(&audiences.index(index), audience.as_str()));
            }
        }
        let policy = path.child("audienceMatchPolicy");
        match (self.audiences.len(), self.audience_match_policy.as_str()) {
            (_, "MatchAny") | (0 | 1, "") => {}
            (0 | 1, other) => errors.push(Error::invalid(
                &policy,
                other,
                "audienceMatchPolicy must be empty or MatchAny for single audience",
            )),
            (_, other) => {
                let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
                errors.push(Error::invalid(&policy, other, why));
            }
        }
        if !self.certificate_authority.is_empty()
            && let Err(error) = pki::trust_roots(&self.certificate_authority)
        {
            errors.push(Error::invalid(&path.child("certificateAuthority"), "<omitted>", error.to_string()));
        }
        if !matches!(self.egress_selector_type.as_str(), "" | "controlplane" | "cluster") {
            let why = "egress selector must be either controlplane or cluster";
            errors.push(Error::invalid(&path.child("egressSelectorType"), self.egress_selector_type.as_str(), why));
        }
    }
}

fn validate_url(url: &str, path: &Path, errors: &mut ErrorList) {
    let mut invalid = |why: &str| errors.push(Error::invalid(path, url, why));
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let Ok(uri) = rest.parse::<http::Uri>() else {
        return invalid("invalid URL");
    };
    if uri.scheme_str() != Some("https") {
        invalid("URL scheme must be https");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        invalid("URL must not contain a username or password");
    }
    if uri.query().is_some_and(|query| !query.is_empty()) {
        invalid("URL must not contain a query");
    }
    if !fragment.is_empty() {
        invalid("URL must not contain a fragment");
    }
}

fn compile(env: &Env, text: &str, is_bool: bool, path: &Path, errors: &mut ErrorList) -> Option<Expression> {
    match env.compile(text) {
        Ok(program) if is_bool && !matches!(program.output_type(), Type::Bool) => {
            errors.push(Error::invalid(path, text, "must evaluate to bool"));
            None
        }
        Ok(program) => Some(Expression { text: text.to_owned(), program }),
        Err(error) => {
            errors.push(Error::invalid(path, text, error.detail()));
            None
        }
    }
}

fn user_environment() -> Env {
    let texts = || Type::list(Type::String);
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    Env::new(Mode::StoredExpressions).with("user", user)
}

/// The user as expressions see it.
pub(super) fn user_value(user: &registry::UserInfo) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}
