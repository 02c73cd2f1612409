//! Which authorizers are asked, in which order: `--authorization-mode` or an `AuthorizationConfiguration`.
//! Upstream: `pkg/kubeapiserver/authorizer`, `k8s.io/apiserver/pkg/apis/apiserver/validation`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use apimachinery::{
    field::{Error, ErrorList, Path as FieldPath},
    time::parse_go_duration,
};
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    UserInfo,
    auth::{AlwaysAllow, Attributes, Authorizer, Decision, Rules},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Abac, NodeAuthorizer, Rbac, WebhookAuthorizer, WebhookSettings, counted::Counted, webhook};
use crate::outgoing;

const MODES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const MAX_CONDITIONS: usize = 64;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("authorization: {0}")]
pub struct AuthorizationConfigError(String);

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationConfiguration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default)]
    authorizers: Vec<AuthorizerConfig>,
    /// Of the mode `ABAC`, which only flags can ask for.
    #[serde(skip)]
    policy_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizerConfig {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    webhook: Option<WebhookConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookConfig {
    #[serde(default, rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    #[serde(default)]
    cache_authorized_requests: Option<bool>,
    #[serde(default, rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    #[serde(default)]
    cache_unauthorized_requests: Option<bool>,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    #[serde(default)]
    failure_policy: String,
    #[serde(default)]
    connection_info: ConnectionInfo,
    #[serde(default)]
    match_conditions: Vec<MatchCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    kube_config_file: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchCondition {
    #[serde(default)]
    expression: String,
}

/// The flags of the webhook of `--authorization-mode=Webhook`.
#[derive(Clone, Debug)]
pub struct WebhookFlags {
    pub config_file: String,
    /// `v1beta1` or `v1`.
    pub version: String,
    pub authorized: Duration,
    pub unauthorized: Duration,
}

impl AuthorizationConfiguration {
    /// From YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, AuthorizationConfigError> {
        let failed = |error: &dyn std::fmt::Display| AuthorizationConfigError(error.to_string());
        let value: Value = serde_saphyr::from_str(text).map_err(|error| failed(&error))?;
        let parsed: Self = serde_json::from_value(value).map_err(|error| failed(&error))?;
        let known =
            ["v1", "v1beta1", "v1alpha1"].iter().any(|v| parsed.api_version == format!("apiserver.config.k8s.io/{v}"));
        if !known || parsed.kind != "AuthorizationConfiguration" {
            return Err(AuthorizationConfigError(format!(
                "expected AuthorizationConfiguration of apiserver.config.k8s.io/v1, got {} of {}",
                parsed.kind, parsed.api_version
            )));
        }
        Ok(parsed)
    }

    /// As the flags say: modes, the webhook and the file of policies where they are among them.
    /// Upstream: `BuiltInAuthorizationOptions.Validate`.
    pub fn of_modes(
        modes: &[String],
        webhook: Option<&WebhookFlags>,
        policy_file: Option<&Path>,
    ) -> Result<Self, AuthorizationConfigError> {
        let mut authorizers = Vec::new();
        let has = |wanted: &str| modes.iter().any(|mode| mode == wanted);
        let wrong = |why: &str| Err(AuthorizationConfigError(why.to_owned()));
        if let Some(unknown) = modes.iter().find(|mode| !MODES.contains(&mode.as_str())) {
            return wrong(&format!("authorization-mode {unknown:?} is not a valid mode"));
        }
        match (has("ABAC"), policy_file) {
            (true, None) => return wrong("authorization-mode ABAC's authorization policy file not passed"),
            (false, Some(_)) => return wrong("cannot specify --authorization-policy-file without mode ABAC"),
            _ => {}
        }
        if webhook.is_some() && !has("Webhook") {
            return wrong("cannot specify --authorization-webhook-config-file without mode Webhook");
        }
        for mode in modes {
            let mut config = AuthorizerConfig { kind: mode.clone(), name: mode.to_lowercase(), webhook: None };
            if mode == "Webhook" {
                let flags = webhook.ok_or_else(|| {
                    let why = "authorization-mode Webhook's authorization config file not passed";
                    AuthorizationConfigError(why.to_owned())
                })?;
                let seconds = |time: Duration| Some(format!("{}ms", time.as_millis().max(1)));
                config.name = "default".to_owned();
                config.webhook = Some(WebhookConfig {
                    authorized_ttl: seconds(flags.authorized),
                    cache_authorized_requests: Some(!flags.authorized.is_zero()),
                    unauthorized_ttl: seconds(flags.unauthorized),
                    cache_unauthorized_requests: Some(!flags.unauthorized.is_zero()),
                    timeout: Some("30s".to_owned()),
                    subject_access_review_version: flags.version.clone(),
                    failure_policy: "NoOpinion".to_owned(),
                    connection_info: ConnectionInfo {
                        kind: "KubeConfigFile".to_owned(),
                        kube_config_file: Some(flags.config_file.clone()),
                    },
                    ..WebhookConfig::default()
                });
            }
            authorizers.push(config);
        }
        let (api_version, kind) = ("apiserver.config.k8s.io/v1", "AuthorizationConfiguration");
        let policy_file = policy_file.map(Path::to_owned);
        Ok(Self { api_version: api_version.to_owned(), kind: kind.to_owned(), authorizers, policy_file })
    }

    /// The authorizers in the order in which they are asked.
    pub fn build(
        &self,
        rbac: &Arc<Rbac>,
        nodes: &Arc<NodeAuthorizer>,
    ) -> Result<Vec<Arc<dyn Authorizer>>, AuthorizationConfigError> {
        let mut errors = ErrorList::default();
        let root = FieldPath::new("authorizers");
        if self.authorizers.is_empty() {
            errors.push(Error::required(&root, "at least one authorization mode must be defined"));
        }
        let (mut all, mut kinds, mut names): (Vec<Arc<dyn Authorizer>>, _, _) =
            (Vec::new(), HashSet::new(), HashSet::new());
        for (index, config) in self.authorizers.iter().enumerate() {
            let path = root.index(index);
            let (kind, kind_path) = (config.kind.as_str(), path.child("type"));
            if kind.is_empty() {
                errors.push(Error::required(&kind_path, ""));
                continue;
            }
            if !MODES.contains(&kind) || (kind == "ABAC" && self.policy_file.is_none()) {
                let known: Vec<&str> = MODES.into_iter().filter(|mode| *mode != "ABAC").collect();
                errors.push(Error::not_supported(&kind_path, kind, &known));
                continue;
            }
            if !kinds.insert(kind) && kind != "Webhook" {
                errors.push(Error::duplicate(&kind_path, kind));
                continue;
            }
            check_name(&config.name, &mut names, &path.child("name"), &mut errors);
            let mut add = |authorizer| all.push(Arc::new(Counted::new(kind, &config.name, authorizer)));
            match (kind, &config.webhook) {
                ("Webhook", Some(webhook)) => {
                    if let Some(authorizer) = webhook.build(&config.name, &path, &mut errors) {
                        add(Arc::new(authorizer));
                    }
                }
                ("Webhook", None) => errors.push(Error::required(&path.child("webhook"), "required when type=Webhook")),
                (_, Some(_)) => {
                    let why = "may only be specified when type=Webhook";
                    errors.push(Error::invalid(&path.child("webhook"), "non-null", why));
                }
                ("Node", None) => add(nodes.clone()),
                ("RBAC", None) => add(rbac.clone()),
                ("AlwaysAllow", None) => add(Arc::new(AlwaysAllow)),
                ("ABAC", None) => {
                    let file = self.policy_file.as_deref().unwrap_or(Path::new(""));
                    add(Arc::new(Abac::read(file).map_err(|error| AuthorizationConfigError(chain(&error)))?));
                }
                _ => add(Arc::new(AlwaysDeny)),
            }
        }
        if errors.is_empty() { Ok(all) } else { Err(AuthorizationConfigError(errors.aggregate())) }
    }
}

/// An error with its causes: who reads it sees no more of it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn check_name<'a>(name: &'a str, seen: &mut HashSet<&'a str>, path: &FieldPath, errors: &mut ErrorList) {
    let wrong = apimachinery::names::is_dns1123_subdomain(name);
    if name.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !seen.insert(name) {
        errors.push(Error::duplicate(path, name));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(path, name, format!("authorizer name is invalid: {}", wrong.join(", "))));
    }
}

impl WebhookConfig {
    fn build(&self, name: &str, path: &FieldPath, errors: &mut ErrorList) -> Option<WebhookAuthorizer> {
        let before = errors.len();
        let longest = Duration::from_secs(30);
        let timeout = duration(self.timeout.as_deref(), "3s", Some(longest), &path.child("timeout"), errors);
        let authorized = duration(self.authorized_ttl.as_deref(), "5m", None, &path.child("authorizedTTL"), errors);
        let unauthorized =
            duration(self.unauthorized_ttl.as_deref(), "30s", None, &path.child("unauthorizedTTL"), errors);
        let one_of = |value: &str, known: &[&str], field: &str, errors: &mut ErrorList| {
            let path = path.child(field);
            match value {
                "" => errors.push(Error::required(&path, "")),
                value if known.contains(&value) => {}
                value => errors.push(Error::not_supported(&path, value, known)),
            }
        };
        one_of(&self.subject_access_review_version, &["v1", "v1beta1"], "subjectAccessReviewVersion", errors);
        one_of(&self.failure_policy, &["NoOpinion", "Deny"], "failurePolicy", errors);
        let version = &self.match_condition_subject_access_review_version;
        let version_path = path.child("matchConditionSubjectAccessReviewVersion");
        if version.is_empty() && !self.match_conditions.is_empty() {
            errors.push(Error::required(&version_path, "required if match conditions are specified"));
        } else if !matches!(version.as_str(), "" | "v1") {
            errors.push(Error::not_supported(&version_path, version.as_str(), &["v1"]));
        }
        let conditions = self.conditions(&path.child("matchConditions"), errors);
        let client = self.connection_info.client(&path.child("connectionInfo"), errors)?;
        if errors.len() > before {
            return None;
        }
        let settings = WebhookSettings {
            name: name.to_owned(),
            version: self.subject_access_review_version.clone(),
            timeout,
            authorized: self.cache_authorized_requests.unwrap_or(true).then_some(authorized),
            unauthorized: self.cache_unauthorized_requests.unwrap_or(true).then_some(unauthorized),
            fail_closed: self.failure_policy == "Deny",
        };
        Some(WebhookAuthorizer::new(client, settings, conditions))
    }

    fn conditions(&self, path: &FieldPath, errors: &mut ErrorList) -> Vec<(String, cel::Program)> {
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        if self.match_conditions.len() > MAX_CONDITIONS {
            let why = format!("must have at most {MAX_CONDITIONS} items");
            errors.push(Error::invalid(path, self.match_conditions.len(), why));
            return all;
        }
        for (index, condition) in self.match_conditions.iter().enumerate() {
            let (path, text) = (path.index(index).child("expression"), condition.expression.as_str());
            if text.trim().is_empty() {
                errors.push(Error::required(&path, ""));
            } else if !seen.insert(text) {
                errors.push(Error::duplicate(&path, text));
            } else {
                match webhook::compile_condition(text) {
                    Ok(program) => all.push((text.to_owned(), program)),
                    Err(why) => errors.push(Error::invalid(&path, text, why)),
                }
            }
        }
        all
    }
}

impl ConnectionInfo {
    fn client(&self, path: &FieldPath, errors: &mut ErrorList) -> Option<outbound::Client> {
        let file_path = path.child("kubeConfigFile");
        let file = self.kube_config_file.as_deref().unwrap_or_default();
        match (self.kind.as_str(), file) {
            ("", _) => errors.push(Error::required(&path.child("type"), "")),
            ("KubeConfigFile", "") => errors.push(Error::required(&file_path, "")),
            ("KubeConfigFile", file) if !Path::new(file).is_absolute() => {
                errors.push(Error::invalid(&file_path, file, "must be an absolute path"));
            }
            ("KubeConfigFile", file) => match outgoing::client(Path::new(file)) {
                Ok(client) => return Some(client),
                Err(error) => {
                    errors.push(Error::invalid(&file_path, file, format!("error loading file: {error}")));
                }
            },
            ("InClusterConfig", "") => {
                let why = "this API server does not run in a cluster whose webhooks it could call by its own identity";
                errors.push(Error::invalid(&path.child("type"), "InClusterConfig", why));
            }
            ("InClusterConfig", file) => {
                errors.push(Error::invalid(&file_path, file, "can only be set when type=KubeConfigFile"));
            }
            (other, _) => {
                errors.push(Error::not_supported(&path.child("type"), other, &["InClusterConfig", "KubeConfigFile"]));
            }
        }
        None
    }
}

fn duration(
    text: Option<&str>,
    default: &str,
    longest: Option<Duration>,
    path: &FieldPath,
    errors: &mut ErrorList,
) -> Duration {
    let text = text.unwrap_or(default);
    let why = match longest {
        Some(_) => "must be > 0s and <= 30s",
        None => "must be > 0s",
    };
    match parse_go_duration(text) {
        Ok(duration) if duration.is_zero() => errors.push(Error::required(path, "")),
        Ok(duration) if longest.is_some_and(|longest| duration > longest) => {
            errors.push(Error::invalid(path, text, why));
        }
        Ok(duration) => return duration,
        Err(_) if text.starts_with('-') => errors.push(Error::invalid(path, text, why)),
        Err(error) => errors.push(Error::invalid(path, text, error)),
    }
    Duration::ZERO
}

/// Refuses everything that nobody before it has allowed. Upstream: `authorizerfactory.NewAlwaysDenyAuthorizer`.
struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize<'a>(&'a self, _attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        ready(Decision::NoOpinion { reason: "Everything is forbidden.".to_owned() }).boxed()
    }

    fn rules_for<'a>(&'a self, _user: &'a UserInfo, _namespace: &'a str) -> BoxFuture<'a, Rules> {
        ready(Rules::default()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(authorizers: &str, expected: Expect) {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n{authorizers}"
        );
        let outcome = AuthorizationConfiguration::parse(&text)
            .and_then(|config| config.build(&Arc::new(Rbac::new()), &Arc::new(NodeAuthorizer::new())));
        let text = match outcome {
            Ok(all) => format!("{} authorizers", all.len()),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn modes() {
        check("- {type: Node, name: node}\n- {type: RBAC, name: rbac}\n", expect!["2 authorizers"]);
        check(
            "- {type: RBAC, name: a}\n- {type: RBAC, name: b}\n",
            expect![[r#"authorization: authorizers[1].type: Duplicate value: "RBAC""#]],
        );
        check(
            "- {type: Magic, name: a}\n",
            expect![[
                r#"authorization: authorizers[0].type: Unsupported value: "Magic": supported values: "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook""#
            ]],
        );
        check(
            "- {type: Node, name: a, webhook: {}}\n",
            expect![[
                r#"authorization: authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook"#
            ]],
        );
        check("- {type: Node}\n", expect!["authorization: authorizers[0].name: Required value"]);
        assert!(AuthorizationConfiguration::parse("kind: Other\napiVersion: v1").is_err());
        assert!(
            AuthorizationConfiguration::parse(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizer: []"
            )
            .is_err()
        );
    }

    #[test]
    fn webhooks() {
        let common = "- type: Webhook\n  name: w\n  webhook: {subjectAccessReviewVersion: v1, failurePolicy: Deny, ";
        check(
            &format!(
                "{common}timeout: 31s, matchConditions: [{{expression: 'request.user'}}], connectionInfo: {{type: KubeConfigFile, kubeConfigFile: relative}}}}\n"
            ),
            expect![[
                r#"authorization: [authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s, authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified, authorizers[0].matchConditions[0].expression: Invalid value: "request.user": must evaluate to bool but got string, authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "relative": must be an absolute path]"#
            ]],
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kubeconfig");
        std::fs::write(&file, "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1/x'}}]\nusers: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: a, user: u}}]\ncurrent-context: c\n").unwrap();
        check(
            &format!("{common}connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}}}\n", file.display()),
            expect!["1 authorizers"],
        );
    }

    #[tokio::test]
    async fn nobody_is_asked_who_denies_everything() {
        let config = AuthorizationConfiguration::of_modes(&["AlwaysDeny".to_owned()], None, None).unwrap();
        let all = config.build(&Arc::new(Rbac::new()), &Arc::new(NodeAuthorizer::new())).unwrap();
        let union = super::super::Union::new(all);
        let ask = async |user: UserInfo| {
            let attributes = Attributes { user: Arc::new(user), verb: "get".into(), ..Attributes::default() };
            union.authorize(&attributes).await.is_allowed()
        };
        assert!(!ask(UserInfo::new("ada", ["dev"])).await);
        assert!(ask(UserInfo::new("root", ["system:masters"])).await);
        for (mode, file, why) in [
            ("Webhook", None, "Webhook's authorization config file not passed"),
            ("ABAC", None, "ABAC's authorization policy file not passed"),
            ("RBAC", Some(Path::new("x")), "cannot specify --authorization-policy-file without mode ABAC"),
            ("Magic", None, "authorization-mode \"Magic\" is not a valid mode"),
        ] {
            let error = AuthorizationConfiguration::of_modes(&[mode.to_owned()], None, file).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
