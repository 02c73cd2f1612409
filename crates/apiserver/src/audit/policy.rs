//! The audit policy: which requests are told of, and how much. Pure.
//!
//! Upstream: `apis/audit/v1` and `audit/policy/checker.go`.

use apimachinery::ApiError;
use registry::UserInfo;
use serde::Deserialize;

use crate::request_info::RequestInfo;

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// A policy file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Policy {
    api_version: String,
    kind: String,
    #[serde(rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rule {
    level: Level,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    paths: Vec<String>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What the policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) omitted: Vec<Stage>,
    pub(crate) omit_managed_fields: bool,
}

impl Policy {
    /// Of a file in YAML or JSON.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = |why: String| ApiError::bad_request(format!("audit policy: {why}"));
        let value: serde_json::Value = serde_saphyr::from_str(text)
            .map_err(|error| wrong(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
        let policy: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(wrong(format!("no kind {:?} is registered for version {:?}", policy.kind, policy.api_version)));
        }
        if policy.rules.is_empty() {
            return Err(wrong("loaded illegal policy with 0 rules".to_owned()));
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| wrong(format!("rules[{index}]: {why}")))?;
        }
        Ok(policy)
    }

    pub(crate) fn judge(&self, info: &RequestInfo, user: &UserInfo) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(info, user)) else { return Verdict::default() };
        let mut omitted = self.omit_stages.clone();
        omitted.extend(&rule.omit_stages);
        Verdict {
            level: rule.level,
            omitted,
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    /// Upstream: `apis/audit/validation`.
    fn check(&self) -> Result<(), String> {
        if !self.paths.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            return Err("rules cannot apply to both regular resources and non-resource URLs".to_owned());
        }
        for path in &self.paths {
            let stars = path.matches('*').count();
            if path != "*" && (!path.starts_with('/') || stars > 1 || (stars == 1 && !path.ends_with('*'))) {
                return Err(format!("non-resource URL {path:?} must begin with a '/' and may end with a '*'"));
            }
        }
        for resources in &self.resources {
            if resources.group.contains('/') {
                return Err(format!("group {:?} has a version", resources.group));
            }
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                return Err("using resourceNames requires at least one resource".to_owned());
            }
        }
        Ok(())
    }

    fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        let has = |list: &[String], value: &str| list.is_empty() || list.iter().any(|known| known == value);
        if !has(&self.users, &user.name) || !has(&self.verbs, info.verb) {
            return false;
        }
        if !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| user.in_group(group)) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return self.matches_resource(info);
        }
        if !self.paths.is_empty() {
            let path_matches = |rule: &String| match rule.strip_suffix('*') {
                Some(prefix) => info.path.starts_with(prefix),
                None => *rule == info.path,
            };
            return !info.is_resource && self.paths.iter().any(path_matches);
        }
        true
    }

    fn matches_resource(&self, info: &RequestInfo) -> bool {
        if !info.is_resource || (!self.namespaces.is_empty() && !self.namespaces.contains(&info.namespace)) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(info))
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&info.name) {
            return false;
        }
        self.resources.iter().any(|rule| match rule.split_once('/') {
            None => rule == "*" || (info.subresource.is_empty() && *rule == info.resource),
            Some((resource, "*")) => resource == info.resource,
            Some(("*", subresource)) => !subresource.is_empty() && subresource == info.subresource,
            Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", "/version"]
- level: Request
  resources: [{group: "", resources: [configmaps], resourceNames: [wanted]}]
  namespaces: [kube-system]
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: "", resources: [pods]}]
- level: Metadata
  resources: [{group: "", resources: ["pods/*", "*/status"]}]
  omitStages: [ResponseStarted]
"#;

    fn check(user: &str, method: Method, path: &str, level: Level) {
        let policy = Policy::parse(POLICY).unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let info = RequestInfo::parse(&method, path, &crate::request_info::parse_query(Some(query))).unwrap();
        let verdict = policy.judge(&info, &UserInfo::new(user, ["system:authenticated"]));
        assert_eq!(verdict.level, level, "{user} {method} {path}");
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let (proxy, user) = ("system:kube-proxy", "a");
        check(proxy, Method::GET, "/api/v1/services?watch=1", Level::None);
        check(user, Method::GET, "/version", Level::None);
        check(user, Method::GET, "/apis", Level::None);
        let maps = "/api/v1/namespaces/kube-system/configmaps";
        check(user, Method::GET, &format!("{maps}/wanted"), Level::Request);
        check(user, Method::GET, &format!("{maps}/other"), Level::None);
        check(user, Method::GET, "/api/v1/namespaces/default/configmaps/wanted", Level::None);
        check(user, Method::POST, "/api/v1/namespaces/a/pods", Level::RequestResponse);
        check(user, Method::POST, "/api/v1/namespaces/a/pods/b/exec", Level::Metadata);
        check(user, Method::PUT, "/api/v1/nodes/n/status", Level::Metadata);
        check(user, Method::GET, "/apis/apps/v1/deployments", Level::None);
    }

    #[test]
    fn stages_and_fields_are_left_out_as_said() {
        let policy = Policy::parse(POLICY).unwrap();
        let judge =
            |method, path| policy.judge(&RequestInfo::parse(&method, path, &[]).unwrap(), &UserInfo::anonymous());
        let pods = judge(Method::POST, "/api/v1/namespaces/a/pods");
        assert_eq!((pods.omitted.as_slice(), pods.omit_managed_fields), ([Stage::RequestReceived].as_slice(), true));
        let exec = judge(Method::POST, "/api/v1/namespaces/a/pods/b/exec");
        assert_eq!(exec.omitted, [Stage::RequestReceived, Stage::ResponseStarted]);
    }

    #[test]
    fn wrong_policies_are_refused() {
        let refused = |text: &str| Policy::parse(text).unwrap_err().message;
        assert!(refused("kind: Policy").contains("no kind"));
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        assert!(refused(head).contains("0 rules"));
        assert!(refused(&format!("{head}rules: [{{level: Loud}}]")).contains("Loud"));
        assert!(refused(&format!("{head}rules: [{{levle: None}}]")).contains("levle"));
        assert!(
            refused(&format!("{head}rules: [{{level: None, namespaces: [a], nonResourceURLs: ['/a']}}]"))
                .contains("both")
        );
        assert!(refused(&format!("{head}rules: [{{level: None, nonResourceURLs: ['a*b']}}]")).contains("must begin"));
    }
}
