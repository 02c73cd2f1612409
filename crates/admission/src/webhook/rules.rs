//! Which requests a rule is about. Upstream: `predicates/rules`.

use registry::{
    Info,
    admission::{AdmissionRequest, Operation},
};
use serde_json::Value;

/// A `RuleWithOperations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource, either of which may be `*`.
    resources: Vec<(String, String)>,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    #[default]
    All,
    Cluster,
    Namespaced,
    /// None that exists.
    Unknown,
}

impl Rule {
    pub(crate) fn parse(rule: &Value) -> Self {
        let texts = |name: &str| -> Vec<String> {
            rule[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let split = |text: String| match text.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            scope: match rule["scope"].as_str().unwrap_or("*") {
                "*" => Scope::All,
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::Unknown,
            },
        }
    }

    /// Whether it is about the request, looked at as one for `resource`.
    pub(crate) fn matches(&self, request: &AdmissionRequest<'_>, resource: &Info) -> bool {
        self.in_scope(request, resource)
            && self.operation(request.operation)
            && any(&self.groups, resource.group)
            && any(&self.versions, resource.version)
            && self.resource(resource.plural, request.subresource)
    }

    fn in_scope(&self, request: &AdmissionRequest<'_>, resource: &Info) -> bool {
        // A Namespace is in no namespace, though requests for it name one.
        let is_cluster_wide = is_namespaces(resource) || request.namespace.is_empty();
        match self.scope {
            Scope::All => true,
            Scope::Cluster => is_cluster_wide,
            Scope::Namespaced => !is_cluster_wide,
            Scope::Unknown => false,
        }
    }

    fn operation(&self, operation: Operation) -> bool {
        self.operations.iter().any(|known| known == "*" || known == operation.as_str())
    }

    fn resource(&self, plural: &str, subresource: &str) -> bool {
        let same = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        self.resources.iter().any(|(resource, sub)| same(resource, plural) && same(sub, subresource))
    }
}

fn any(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

pub(crate) fn is_namespaces(resource: &Info) -> bool {
    resource.group.is_empty() && resource.plural == "namespaces"
}
