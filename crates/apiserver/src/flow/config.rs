//! FlowSchemas and PriorityLevelConfigurations, read from their stored JSON. Pure.
//!
//! Upstream: `apiserver/pkg/apis/flowcontrol/bootstrap` (the mandatory objects) and `util/flowcontrol/rule.go`.

use registry::UserInfo;
use serde_json::Value;

use crate::request_info::RequestInfo;

/// Who matches goes to a priority level.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlowSchema {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) level: String,
    precedence: i64,
    pub(super) distinguisher: Option<Distinguisher>,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distinguisher {
    ByUser,
    ByNamespace,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug, PartialEq)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

#[derive(Clone, Debug, PartialEq)]
struct ResourceRule {
    verbs: Words,
    groups: Words,
    resources: Words,
    cluster_scope: bool,
    namespaces: Words,
}

#[derive(Clone, Debug, PartialEq)]
struct PathRule {
    verbs: Words,
    paths: Vec<String>,
}

/// A list of which `*` alone means all.
#[derive(Clone, Debug, PartialEq)]
struct Words(Vec<String>);

/// How many seats a priority level has, and what happens when they are taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) shares: f64,
    pub(super) lendable_percent: Option<f64>,
    pub(super) borrowing_percent: Option<f64>,
    pub(super) limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Exempt,
    Reject,
    Queue { queues: usize, hand: usize, length: usize },
}

pub(super) const EXEMPT: &str = "exempt";
pub(super) const CATCH_ALL: &str = "catch-all";

// === impl FlowSchema ===

impl FlowSchema {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let (metadata, spec) = (&value["metadata"], &value["spec"]);
        Some(Self {
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            distinguisher: match spec["distinguisherMethod"]["type"].as_str() {
                Some("ByUser") => Some(Distinguisher::ByUser),
                Some("ByNamespace") => Some(Distinguisher::ByNamespace),
                _ => None,
            },
            rules: list(&spec["rules"], Rule::parse),
        })
    }

    /// The two that are there even when they are not stored.
    pub(super) fn mandatory() -> [Self; 2] {
        let any = |groups: &[&str]| Rule {
            subjects: groups.iter().map(|group| Subject::Group((*group).to_owned())).collect(),
            resources: vec![ResourceRule {
                verbs: Words::any(),
                groups: Words::any(),
                resources: Words::any(),
                cluster_scope: true,
                namespaces: Words::any(),
            }],
            paths: vec![PathRule { verbs: Words::any(), paths: vec!["*".to_owned()] }],
        };
        let schema = |name: &str, precedence, distinguisher, rule| Self {
            name: name.to_owned(),
            uid: String::new(),
            level: name.to_owned(),
            precedence,
            distinguisher,
            rules: vec![rule],
        };
        [
            schema(EXEMPT, 1, None, any(&[UserInfo::MASTERS_GROUP])),
            schema(
                CATCH_ALL,
                10_000,
                Some(Distinguisher::ByUser),
                any(&[UserInfo::UNAUTHENTICATED_GROUP, UserInfo::AUTHENTICATED_GROUP]),
            ),
        ]
    }

    /// The order in which they are tried.
    pub(super) fn order(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    pub(super) fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        self.rules.iter().any(|rule| rule.matches(info, user))
    }
}

impl Rule {
    fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            subjects: list(&value["subjects"], Subject::parse),
            resources: list(&value["resourceRules"], |rule| {
                Some(ResourceRule {
                    verbs: Words::parse(&rule["verbs"]),
                    groups: Words::parse(&rule["apiGroups"]),
                    resources: Words::parse(&rule["resources"]),
                    cluster_scope: rule["clusterScope"].as_bool().unwrap_or(false),
                    namespaces: Words::parse(&rule["namespaces"]),
                })
            }),
            paths: list(&value["nonResourceRules"], |rule| {
                Some(PathRule { verbs: Words::parse(&rule["verbs"]), paths: Words::parse(&rule["nonResourceURLs"]).0 })
            }),
        })
    }

    fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        if !self.subjects.iter().any(|subject| subject.matches(user)) {
            return false;
        }
        if info.is_resource {
            return self.resources.iter().any(|rule| rule.matches(info));
        }
        self.paths.iter().any(|rule| rule.matches(info))
    }
}

impl Subject {
    fn parse(value: &Value) -> Option<Self> {
        Some(match value["kind"].as_str()? {
            "User" => Self::User(text(&value["user"]["name"])),
            "Group" => Self::Group(text(&value["group"]["name"])),
            "ServiceAccount" => Self::ServiceAccount {
                namespace: text(&value["serviceAccount"]["namespace"]),
                name: text(&value["serviceAccount"]["name"]),
            },
            _ => return None,
        })
    }

    fn matches(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(group) => group == "*" || user.in_group(group),
            Self::ServiceAccount { namespace, name } => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(its, account)| its == namespace && (name == "*" || name == account)),
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.contain(info.verb)
            && self.resources.contain_resource(&info.resource, &info.subresource)
            && self.groups.contain(&info.group)
            && if info.namespace.is_empty() { self.cluster_scope } else { self.namespaces.contain(&info.namespace) }
    }
}

impl PathRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.contain(info.verb)
            && self.paths.iter().any(|rule| {
                if rule == "*" || *rule == info.path {
                    return true;
                }
                let prefix = rule.strip_suffix('*').unwrap_or(rule);
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                info.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

impl Words {
    fn any() -> Self {
        Self(vec!["*".to_owned()])
    }

    fn parse(value: &Value) -> Self {
        Self(list(value, |word| word.as_str().map(str::to_owned)))
    }

    fn is_any(&self) -> bool {
        matches!(self.0.as_slice(), [word] if word == "*")
    }

    fn contain(&self, word: &str) -> bool {
        self.is_any() || self.0.iter().any(|known| known == word)
    }

    fn contain_resource(&self, resource: &str, subresource: &str) -> bool {
        if subresource.is_empty() {
            return self.contain(resource);
        }
        let is_it = |known: &str| known.split_once('/') == Some((resource, subresource));
        self.is_any() || self.0.iter().any(|known| is_it(known))
    }
}

// === impl Level ===

impl Level {
    /// Nothing for what validation would not let in.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let (metadata, spec) = (&value["metadata"], &value["spec"]);
        let name = text(&metadata["name"]);
        let (limit, settings, shares) = match spec["type"].as_str()? {
            "Exempt" if name == EXEMPT => (Limit::Exempt, &spec["exempt"], 0.0),
            "Limited" if name != EXEMPT => {
                let settings = &spec["limited"];
                let response = &settings["limitResponse"];
                let limit = match response["type"].as_str()? {
                    "Reject" => Limit::Reject,
                    "Queue" => {
                        let number = |name: &str, default: u64| -> Option<usize> {
                            usize::try_from(response["queuing"][name].as_u64().unwrap_or(default)).ok()
                        };
                        let (queues, hand) = (number("queues", 64)?, number("handSize", 8)?);
                        let length = number("queueLengthLimit", 50)?;
                        if queues == 0 || hand == 0 || hand > queues || hand > super::dealer::LARGEST_HAND {
                            return None;
                        }
                        Limit::Queue { queues, hand, length }
                    }
                    _ => return None,
                };
                (limit, settings, 30.0)
            }
            _ => return None,
        };
        Some(Self {
            name,
            uid: text(&metadata["uid"]),
            shares: settings["nominalConcurrencyShares"].as_f64().unwrap_or(shares),
            lendable_percent: settings["lendablePercent"].as_f64(),
            borrowing_percent: settings["borrowingLimitPercent"].as_f64(),
            limit,
        })
    }

    pub(super) fn mandatory() -> [Self; 2] {
        let level = |name: &str, shares, limit| Self {
            name: name.to_owned(),
            uid: String::new(),
            shares,
            lendable_percent: Some(0.0),
            borrowing_percent: None,
            limit,
        };
        [level(EXEMPT, 0.0, Limit::Exempt), level(CATCH_ALL, 5.0, Limit::Reject)]
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list<T>(value: &Value, parse: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    value.as_array().into_iter().flatten().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn check(rules: Value, user: &UserInfo, method: Method, path: &str, expected: bool) {
        let schema = json!({"metadata": {"name": "x"}, "spec": {"rules": [rules]}}).to_string();
        let schema = FlowSchema::parse(schema.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, path, &[]).unwrap();
        assert_eq!(schema.matches(&info, user), expected, "{rules} {method} {path}");
    }

    #[test]
    fn rules_match_as_upstream() {
        let account = UserInfo::new("system:serviceaccount:ns:app", ["system:serviceaccounts"]);
        let resources = |verbs: Value, resources: Value, cluster: bool, namespaces: Value| {
            json!({
                "subjects": [{"kind": "Group", "group": {"name": "system:serviceaccounts"}}],
                "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": resources, "clusterScope": cluster, "namespaces": namespaces}],
            })
        };
        let pods = "/api/v1/namespaces/a/pods";
        check(resources(json!(["list"]), json!(["pods"]), false, json!(["*"])), &account, Method::GET, pods, true);
        check(resources(json!(["watch"]), json!(["pods"]), false, json!(["*"])), &account, Method::GET, pods, false);
        check(resources(json!(["*"]), json!(["pods"]), false, json!(["b"])), &account, Method::GET, pods, false);
        check(
            resources(json!(["*"]), json!(["*"]), false, json!(["*"])),
            &account,
            Method::GET,
            "/api/v1/nodes",
            false,
        );
        check(resources(json!(["*"]), json!(["*"]), true, json!([])), &account, Method::GET, "/api/v1/nodes", true);
        let status = "/api/v1/namespaces/a/pods/p/status";
        check(resources(json!(["*"]), json!(["pods"]), false, json!(["*"])), &account, Method::PUT, status, false);
        check(
            resources(json!(["*"]), json!(["pods/status"]), false, json!(["*"])),
            &account,
            Method::PUT,
            status,
            true,
        );
    }

    #[test]
    fn subjects_and_paths_match_as_upstream() {
        let account = UserInfo::new("system:serviceaccount:ns:app", ["g"]);
        let subject = |subject: Value| json!({"subjects": [subject], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/a/*"]}]});
        let of = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}});
        check(subject(of("ns", "app")), &account, Method::GET, "/healthz", true);
        check(subject(of("ns", "*")), &account, Method::GET, "/a/b", true);
        check(subject(of("n", "*")), &account, Method::GET, "/healthz", false);
        check(subject(json!({"kind": "User", "user": {"name": "*"}})), &account, Method::GET, "/healthz/etcd", true);
        check(subject(json!({"kind": "Group", "group": {"name": "g"}})), &account, Method::GET, "/healthzz", false);
        check(subject(json!({"kind": "Group", "group": {"name": "g"}})), &account, Method::POST, "/healthz", false);
    }

    #[test]
    fn broken_levels_are_passed_over() {
        let parse = |spec: Value| Level::parse(json!({"metadata": {"name": "x"}, "spec": spec}).to_string().as_bytes());
        assert!(parse(json!({"type": "Exempt"})).is_none());
        assert!(parse(json!({"type": "Limited"})).is_none());
        let queue = |hand: u64| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": hand, "queueLengthLimit": 5}}}});
        assert!(parse(queue(5)).is_none());
        assert_eq!(parse(queue(2)).unwrap().limit, Limit::Queue { queues: 4, hand: 2, length: 5 });
    }
}
