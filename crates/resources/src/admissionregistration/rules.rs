//! Which requests a webhook or policy is about. Upstream: `validateRuleWithOperations`, `validateMatchResources`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::{MatchResources, RuleWithOperations};

use crate::check::{self, Report};
use crate::optional::Items;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];

pub(super) fn match_policy(policy: Option<&str>, path: &Path, errors: &mut ErrorList) {
    if let Some(policy) = policy.filter(|policy| !MATCH_POLICIES.contains(policy)) {
        errors.not_supported(&path.child("matchPolicy"), policy, MATCH_POLICIES);
    }
}

pub(super) fn match_resources(resources: &MatchResources, path: &Path, errors: &mut ErrorList) {
    match resources.match_policy.as_deref() {
        None => errors.required(&path.child("matchPolicy"), ""),
        policy => match_policy(policy, path, errors),
    }
    for (selector, field) in
        [(&resources.namespace_selector, "namespaceSelector"), (&resources.object_selector, "objectSelector")]
    {
        match selector {
            None => errors.required(&path.child(field), ""),
            Some(selector) => check::label_selector(selector, &path.child(field), errors),
        }
    }
    for (rules, field) in
        [(&resources.resource_rules, "resourceRules"), (&resources.exclude_resource_rules, "excludeResourceRules")]
    {
        for (index, named) in rules.items().iter().enumerate() {
            let path = path.child(field).index(index);
            let mut seen = BTreeSet::new();
            for (index, name) in named.resource_names.items().iter().enumerate() {
                let path = path.child("resourceNames").index(index);
                check::path_segment(name, &path, errors);
                if !seen.insert(name) {
                    errors.duplicate(&path, name);
                }
            }
            let plain = RuleWithOperations {
                api_groups: named.api_groups.clone(),
                api_versions: named.api_versions.clone(),
                operations: named.operations.clone(),
                resources: named.resources.clone(),
                scope: named.scope.clone(),
            };
            rule(&plain, &path, errors);
        }
    }
}

pub(super) fn rule(rule: &RuleWithOperations, path: &Path, errors: &mut ErrorList) {
    let (operations, operations_path) = (rule.operations.items(), path.child("operations"));
    if operations.is_empty() {
        errors.required(&operations_path, "");
    }
    if operations.len() > 1 && has_wildcard(operations) {
        errors.invalid(&operations_path, operations, "if '*' is present, must not specify other operations");
    }
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(&operation.as_str()) {
            errors.not_supported(&operations_path.index(index), operation, OPERATIONS);
        }
    }
    for (items, field, what) in
        [(&rule.api_groups, "apiGroups", "API groups"), (&rule.api_versions, "apiVersions", "API versions")]
    {
        let (items, path) = (items.items(), path.child(field));
        if items.is_empty() {
            errors.required(&path, "");
        }
        if items.len() > 1 && has_wildcard(items) {
            errors.invalid(&path, items, format!("if '*' is present, must not specify other {what}"));
        }
        // The group may be empty: the oldest one is.
        for (index, _) in items.iter().enumerate().filter(|(_, item)| field == "apiVersions" && item.is_empty()) {
            errors.required(&path.index(index), "");
        }
    }
    resources(rule.resources.items(), &path.child("resources"), errors);
    if let Some(scope) = rule.scope.as_deref().filter(|scope| !SCOPES.contains(scope)) {
        errors.not_supported(&path.child("scope"), scope, SCOPES);
    }
}

fn has_wildcard(items: &[String]) -> bool {
    items.iter().any(|item| item == "*")
}

fn resources(resources: &[String], path: &Path, errors: &mut ErrorList) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    let (mut of_any, mut of_all) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (index, item) in resources.iter().enumerate() {
        let path = path.index(index);
        let Some((resource, sub)) = item.split_once('/') else {
            if item.is_empty() {
                errors.required(&path, "");
            } else {
                plain = item != "*";
            }
            continue;
        };
        if of_all.contains(resource) {
            errors.invalid(&path, item, format!("if '{resource}/*' is present, must not specify {item}"));
        }
        if of_any.contains(sub) {
            errors.invalid(&path, item, format!("if '*/{sub}' is present, must not specify {item}"));
        }
        if sub == "*" {
            of_all.insert(resource);
        }
        if resource == "*" {
            of_any.insert(sub);
        }
    }
    if resources.len() > 1 && resources.iter().any(|item| item == "*/*") {
        errors.invalid(path, resources, "if '*/*' is present, must not specify other resources");
    }
    if plain && has_wildcard(resources) {
        let message = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, resources, message);
    }
}
