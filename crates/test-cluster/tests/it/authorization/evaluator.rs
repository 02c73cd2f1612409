//! The rules of RBAC and of nodes, as their documentation says them, over plain JSON. Slow and simple on purpose.

use std::collections::BTreeSet;

use registry::UserInfo;
use serde_json::Value;

use crate::http::Client;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Of a request that is about no resource.
    pub(crate) path: Option<String>,
}

/// Roles and bindings, as the API shows them.
pub(crate) struct Policy {
    cluster_roles: Vec<Value>,
    roles: Vec<Value>,
    cluster_bindings: Vec<Value>,
    bindings: Vec<Value>,
}

impl Policy {
    pub(crate) async fn read(admin: &Client) -> Self {
        let items = async |plural: &str| -> Vec<Value> {
            let list = admin.get(&format!("/apis/rbac.authorization.k8s.io/v1/{plural}")).await.json();
            list["items"].as_array().unwrap().clone()
        };
        Self {
            cluster_roles: items("clusterroles").await,
            roles: items("roles").await,
            cluster_bindings: items("clusterrolebindings").await,
            bindings: items("rolebindings").await,
        }
    }

    /// All rules that a user has for a namespace.
    fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Value> {
        let mut rules = Vec::new();
        for binding in &self.cluster_bindings {
            if subjects(binding).iter().any(|subject| is_subject(subject, user, "")) {
                rules.extend(self.role_rules(&binding["roleRef"], ""));
            }
        }
        for binding in &self.bindings {
            let own = binding["metadata"]["namespace"].as_str().unwrap();
            if own == namespace && subjects(binding).iter().any(|subject| is_subject(subject, user, own)) {
                rules.extend(self.role_rules(&binding["roleRef"], own));
            }
        }
        rules
    }

    pub(crate) fn role_rules(&self, reference: &Value, namespace: &str) -> Vec<Value> {
        let found = if reference["kind"] == "ClusterRole" {
            self.cluster_roles.iter().find(|role| role["metadata"]["name"] == reference["name"])
        } else {
            self.roles.iter().find(|role| {
                role["metadata"]["name"] == reference["name"] && role["metadata"]["namespace"] == namespace
            })
        };
        found.and_then(|role| role["rules"].as_array().cloned()).unwrap_or_default()
    }

    pub(crate) fn allows(&self, user: &UserInfo, question: &Question) -> bool {
        if user.groups.iter().any(|group| group == "system:masters") {
            return true;
        }
        self.rules(user, &question.namespace).iter().any(|rule| rule_allows(rule, question))
    }

    /// Whether every single thing that the rules grant is one that the user has, be it as a `*` where a `*` is granted.
    pub(crate) fn holds(&self, user: &UserInfo, namespace: &str, wanted: &[Value]) -> bool {
        let own = self.rules(user, namespace);
        atoms(wanted).iter().all(|atom| own.iter().any(|rule| rule_allows(rule, atom)))
    }
}

/// Each verb on each resource of each group by each name, as a question of its own.
fn atoms(rules: &[Value]) -> Vec<Question> {
    let mut all = Vec::new();
    for rule in rules {
        for verb in texts(&rule["verbs"]) {
            for path in texts(&rule["nonResourceURLs"]) {
                all.push(Question { verb: verb.clone(), path: Some(path), ..Question::default() });
            }
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let names = texts(&rule["resourceNames"]);
                    // No name stands for all of them: an owner that is limited to some does not have that.
                    let names = if names.is_empty() { vec![String::new()] } else { names };
                    for name in names {
                        let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
                        all.push(Question {
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.to_owned(),
                            subresource: subresource.to_owned(),
                            name,
                            ..Question::default()
                        });
                    }
                }
            }
        }
    }
    all
}

fn subjects(binding: &Value) -> Vec<Value> {
    binding["subjects"].as_array().cloned().unwrap_or_default()
}

fn is_subject(subject: &Value, user: &UserInfo, namespace: &str) -> bool {
    let name = subject["name"].as_str().unwrap();
    match subject["kind"].as_str().unwrap() {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        _ => {
            let namespace = subject["namespace"].as_str().unwrap_or(namespace);
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn rule_allows(rule: &Value, question: &Question) -> bool {
    let set = |name: &str| -> BTreeSet<String> { texts(&rule[name]).into_iter().collect() };
    let verbs = set("verbs");
    if !verbs.contains("*") && !verbs.contains(&question.verb) {
        return false;
    }
    if let Some(path) = &question.path {
        return set("nonResourceURLs").iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => url == path,
        });
    }
    let (groups, resources, names) = (set("apiGroups"), set("resources"), set("resourceNames"));
    if !groups.contains("*") && !groups.contains(&question.group) {
        return false;
    }
    let full = match question.subresource.as_str() {
        "" => question.resource.clone(),
        subresource => format!("{}/{subresource}", question.resource),
    };
    let any_with_subresource = format!("*/{}", question.subresource);
    let resource = resources.contains("*")
        || resources.contains(&full)
        || (!question.subresource.is_empty() && resources.contains(&any_with_subresource));
    resource && (names.is_empty() || names.contains(&question.name))
}
