//! `ABAC`: a file of who may do what, one policy a line. Upstream: `pkg/auth/authorizer/abac`, `pkg/apis/abac`.
//!
//! Read once, at the start; nothing of it is kept in the cluster.

use std::path::Path;

use futures::future::{BoxFuture, FutureExt as _, ready};
use k8s_openapi::api::authorization::v1::{NonResourceRule, ResourceRule};
use registry::{
    UserInfo,
    auth::{Attributes, Authorizer, Decision, Rules},
};
use serde::Deserialize;
use serde_json::Value;

use crate::reload;

const API_VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const ALL: &str = "*";

/// A file that is no list of policies.
#[derive(Debug, thiserror::Error)]
pub enum AbacError {
    #[error("read {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("error reading policy file {path}, line {line}: {why}")]
    Line { path: String, line: usize, why: String },
}

/// The authorizer `ABAC`.
pub struct Abac(Vec<Policy>);

/// What one line allows. Empty texts match nothing, `*` everything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    readonly: bool,
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    non_resource_path: String,
}

impl Abac {
    /// `--authorization-policy-file`.
    pub fn read(path: &Path) -> Result<Self, AbacError> {
        let shown = || path.display().to_string();
        let text = reload::read(path).map_err(|source| AbacError::Read { path: shown(), source })?;
        let mut policies = Vec::new();
        let mut unversioned = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |why: String| AbacError::Line { path: shown(), line: index + 1, why };
            let (policy, is_versioned) = Policy::parse(line).map_err(failed)?;
            unversioned |= !is_versioned;
            policies.push(policy);
        }
        if unversioned {
            tracing::warn!(path = %path.display(), "the policy file has rules without a version");
        }
        Ok(Self(policies))
    }
}

impl Policy {
    /// One line, and whether it says its version.
    fn parse(line: &str) -> Result<(Self, bool), String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let (version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
        match (version, kind) {
            (Some(API_VERSION), Some("Policy")) => {
                let mut policy: Self =
                    serde_json::from_value(value["spec"].clone()).map_err(|error| error.to_string())?;
                policy.everybody_known();
                Ok((policy, true))
            }
            (None | Some(""), None | Some("")) => {
                let policy: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
                Ok((policy.of_old(), false))
            }
            _ => Err(format!(
                "no kind {:?} is registered for version {:?}",
                kind.unwrap_or_default(),
                version.unwrap_or_default()
            )),
        }
    }

    fn everybody_known(&mut self) {
        if self.user == ALL || self.group == ALL {
            self.user.clear();
            UserInfo::AUTHENTICATED_GROUP.clone_into(&mut self.group);
        }
    }

    /// Lines without a version: what they leave out is everything. Upstream: `Convert_v0_Policy_To_abac_Policy`.
    fn of_old(mut self) -> Self {
        if self.user.is_empty() && self.group.is_empty() {
            UserInfo::AUTHENTICATED_GROUP.clone_into(&mut self.group);
        }
        self.everybody_known();
        if self.namespace.is_empty() && self.resource.is_empty() {
            ALL.clone_into(&mut self.non_resource_path);
        }
        for text in [&mut self.namespace, &mut self.resource] {
            if text.is_empty() {
                ALL.clone_into(text);
            }
        }
        ALL.clone_into(&mut self.api_group);
        self
    }

    fn allows(&self, attributes: &Attributes) -> bool {
        let reads = matches!(attributes.verb.as_str(), "get" | "list" | "watch");
        if !self.is_about(&attributes.user) || (self.readonly && !reads) {
            return false;
        }
        if attributes.is_resource_request {
            let is = |rule: &str, asked: &str| rule == ALL || rule == asked;
            return is(&self.namespace, &attributes.namespace)
                && is(&self.resource, &attributes.resource)
                && is(&self.api_group, &attributes.api_group);
        }
        match self.non_resource_path.strip_suffix('*') {
            Some(prefix) => attributes.path.starts_with(prefix),
            None => self.non_resource_path == attributes.path,
        }
    }

    /// Both the user and the group have to be those that are said.
    fn is_about(&self, user: &UserInfo) -> bool {
        let named = self.user.is_empty() || self.user == user.name;
        let grouped = self.group.is_empty() || user.in_group(&self.group);
        named && grouped && !(self.user.is_empty() && self.group.is_empty())
    }

    fn verbs(&self) -> Vec<String> {
        let verbs: &[&str] = if self.readonly { &["get", "list", "watch"] } else { &[ALL] };
        verbs.iter().map(ToString::to_string).collect()
    }
}

impl Authorizer for Abac {
    fn authorize<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Decision> {
        let decision = if self.0.iter().any(|policy| policy.allows(attributes)) {
            Decision::Allow { reason: String::new() }
        } else {
            Decision::NoOpinion { reason: "No policy matched.".to_owned() }
        };
        ready(decision).boxed()
    }

    fn rules_for<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> BoxFuture<'a, Rules> {
        let mut rules = Rules::default();
        let here = |policy: &&Policy| policy.namespace == ALL || policy.namespace == namespace;
        for policy in self.0.iter().filter(|policy| policy.is_about(user)).filter(here) {
            if !policy.resource.is_empty() {
                rules.resource.push(ResourceRule {
                    verbs: policy.verbs(),
                    api_groups: Some(vec![policy.api_group.clone()]),
                    resources: Some(vec![policy.resource.clone()]),
                    resource_names: None,
                });
            }
            if !policy.non_resource_path.is_empty() {
                rules.non_resource.push(NonResourceRule {
                    verbs: policy.verbs(),
                    non_resource_urls: Some(vec![policy.non_resource_path.clone()]),
                });
            }
        }
        ready(rules).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(text: &str) -> Result<Abac, AbacError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.jsonl");
        std::fs::write(&path, text).unwrap();
        Abac::read(&path)
    }

    /// `user[/group] verb [group/]resource namespace`, or a path in place of the last two.
    fn ask(abac: &Abac, question: &str) -> bool {
        let words: Vec<&str> = question.split(' ').collect();
        let (name, group) = words[0].split_once('/').unwrap_or((words[0], "other"));
        let user = Arc::new(UserInfo::new(name, [group, UserInfo::AUTHENTICATED_GROUP]));
        let mut attributes = Attributes { user, verb: words[1].into(), ..Attributes::default() };
        match words[2..] {
            [path] => attributes.path = path.into(),
            [resource, namespace] => {
                let (api_group, resource) = resource.split_once('/').unwrap_or(("", resource));
                attributes.is_resource_request = true;
                attributes.api_group = api_group.into();
                attributes.resource = resource.into();
                attributes.namespace = namespace.into();
            }
            _ => panic!("{question}"),
        }
        abac.authorize(&attributes).now_or_never().unwrap().is_allowed()
    }

    #[test]
    fn lines_allow_what_they_say() {
        let policy = |spec: &str| format!(r#"{{"apiVersion":"{API_VERSION}","kind":"Policy","spec":{spec}}}"#);
        let abac = read(&format!(
            "# who may do what\n\n{}\n{}\n{}\n{}\n{}\n",
            policy(r#"{"user":"ada","namespace":"*","resource":"*","apiGroup":"*"}"#),
            policy(r#"{"user":"bob","namespace":"dev","resource":"pods","readonly":true}"#),
            policy(r#"{"group":"ops","user":"eve","namespace":"*","resource":"deployments","apiGroup":"apps"}"#),
            policy(r#"{"group":"*","readonly":true,"nonResourcePath":"/healthz*"}"#),
            r#"{"user":"old","resource":"pods"}"#,
        ))
        .unwrap();
        for (question, expected) in [
            ("ada delete apps/deployments any", true),
            ("ada get /metrics", false),
            ("bob get pods dev", true),
            ("bob get pods other", false),
            ("bob get secrets dev", false),
            ("bob create pods dev", false),
            ("bob get apps/pods dev", false),
            ("eve/ops create apps/deployments dev", true),
            ("eve create apps/deployments dev", false),
            ("joe/ops create apps/deployments dev", false),
            ("joe get /healthz/etcd", true),
            ("joe post /healthz", false),
            ("joe get /livez", false),
            ("old delete apps/pods any", true),
            ("old get /healthz", true),
            ("old get secrets any", false),
        ] {
            assert_eq!(ask(&abac, question), expected, "{question}");
        }
        let rules = abac.rules_for(&UserInfo::new("bob", ["g"]), "dev").now_or_never().unwrap();
        assert_eq!((rules.resource.len(), rules.resource[0].verbs.len()), (1, 3));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let why = |text: &str| read(text).err().unwrap().to_string();
        assert!(why("\n{x").contains("line 2:"), "{}", why("\n{x"));
        assert!(why(r#"{"apiVersion":"v1","kind":"Policy"}"#).contains("no kind \"Policy\" is registered"));
        assert!(!ask(&read("").unwrap(), "ada get pods any"));
        // Nobody is meant by a line that names nobody.
        let nobody =
            format!(r#"{{"apiVersion":"{API_VERSION}","kind":"Policy","spec":{{"namespace":"*","resource":"*"}}}}"#);
        assert!(!ask(&read(&nobody).unwrap(), "ada get pods any"));
    }
}
