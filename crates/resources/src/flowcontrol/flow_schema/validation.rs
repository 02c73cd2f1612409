//! Validation of flow schemas. Upstream: `ValidateFlowSchema` in `pkg/apis/flowcontrol/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

use crate::check::{self, Report};
use crate::flowcontrol::bootstrap;
use crate::optional::{Flag, Items, Text};

const MAX_PRECEDENCE: i32 = 10_000;
const DISTINGUISHERS: &[&str] = &["ByNamespace", "ByUser"];
const SUBJECTS: &[&str] = &["Group", "ServiceAccount", "User"];
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(super) fn validate(schema: &FlowSchema) -> ErrorList {
    let mut errors = ErrorList::default();
    let (name, path) = (schema.metadata.name.text(), Path::new("spec"));
    let empty = FlowSchemaSpec::default();
    let own = schema.spec.as_ref().unwrap_or(&empty);
    spec(own, name, &path, &mut errors);
    if bootstrap::mandatory_flow_schema(name).is_some_and(|fixed| fixed != *own) {
        errors.invalid(&path, own, format!("spec of '{name}' must equal the fixed value"));
    }
    errors.append(validate_status(schema));
    errors
}

fn spec(spec: &FlowSchemaSpec, name: &str, path: &Path, errors: &mut ErrorList) {
    let (precedence, precedence_path) = (spec.matching_precedence.unwrap_or(0), path.child("matchingPrecedence"));
    if precedence <= 0 {
        errors.invalid(&precedence_path, precedence, "must be a positive value");
    }
    if precedence > MAX_PRECEDENCE {
        errors.invalid(&precedence_path, precedence, format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence == 1 && name != "exempt" {
        let message = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.invalid(&precedence_path, precedence, message);
    }
    if let Some(method) = &spec.distinguisher_method
        && !DISTINGUISHERS.contains(&method.type_.as_str())
    {
        errors.not_supported(&path.child("distinguisherMethod").child("type"), &method.type_, DISTINGUISHERS);
    }
    let (level, level_path) = (&spec.priority_level_configuration.name, path.child("priorityLevelConfiguration"));
    if level.is_empty() {
        errors.required(&level_path.child("name"), "must reference a priority level");
    } else {
        check::dns_subdomain(level, &level_path.child("name"), errors);
    }
    for (index, rule) in spec.rules.items().iter().enumerate() {
        self::rule(rule, &path.child("rules").index(index), errors);
    }
}

fn rule(rule: &PolicyRulesWithSubjects, path: &Path, errors: &mut ErrorList) {
    if rule.subjects.is_empty() {
        errors.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (index, each) in rule.subjects.iter().enumerate() {
        subject(each, &path.child("subjects").index(index), errors);
    }
    if rule.resource_rules.items().is_empty() && rule.non_resource_rules.items().is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (index, each) in rule.resource_rules.items().iter().enumerate() {
        resource_rule(each, &path.child("resourceRules").index(index), errors);
    }
    for (index, each) in rule.non_resource_rules.items().iter().enumerate() {
        non_resource_rule(each, &path.child("nonResourceRules").index(index), errors);
    }
}

fn subject(subject: &Subject, path: &Path, errors: &mut ErrorList) {
    let kinds = [
        ("ServiceAccount", "serviceAccount", subject.service_account.is_some()),
        ("User", "user", subject.user.is_some()),
        ("Group", "group", subject.group.is_some()),
    ];
    let Some((kind, field, set)) = kinds.into_iter().find(|(kind, ..)| *kind == subject.kind) else {
        errors.not_supported(&path.child("kind"), &subject.kind, SUBJECTS);
        return;
    };
    let own = path.child(field);
    if !set {
        errors.required(&own, format!("{field} is required when subject kind is '{kind}'"));
    }
    match kind {
        "ServiceAccount" => subject.service_account.iter().for_each(|account| {
            match account.name.as_str() {
                "" => errors.required(&own.child("name"), ""),
                "*" => {}
                name => check::dns_subdomain(name, &own.child("name"), errors),
            }
            if account.namespace.is_empty() {
                errors.required(&own.child("namespace"), "must specify namespace for service account");
            } else {
                check::dns_label(&account.namespace, &own.child("namespace"), errors);
            }
        }),
        "User" if subject.user.as_ref().is_some_and(|user| user.name.is_empty()) => {
            errors.required(&own.child("name"), "");
        }
        "Group" if subject.group.as_ref().is_some_and(|group| group.name.is_empty()) => {
            errors.required(&own.child("name"), "");
        }
        _ => {}
    }
    for (other, field, set) in kinds {
        if set && other != kind {
            let message = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.forbidden(&path.child(field), message);
        }
    }
}

fn has_wildcard(items: &[String]) -> bool {
    items.iter().any(|item| item == "*")
}

fn verbs(verbs: &[String], path: &Path, errors: &mut ErrorList) {
    let path = path.child("verbs");
    if verbs.is_empty() {
        errors.required(&path, "verbs must contain at least one value");
    } else if has_wildcard(verbs) {
        if verbs.len() > 1 {
            errors.invalid(&path, verbs, "if '*' is present, must not specify other verbs");
        }
    } else if verbs.iter().any(|verb| !VERBS.contains(&verb.as_str())) {
        errors.not_supported(&path, verbs, VERBS);
    }
}

fn resource_rule(rule: &ResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    verbs(&rule.verbs, path, errors);
    for (items, field, required, what) in [
        (&rule.api_groups, "apiGroups", "resource rules must supply at least one api group", "api groups"),
        (&rule.resources, "resources", "resource rules must supply at least one resource", "resources"),
    ] {
        if items.is_empty() {
            errors.required(&path.child(field), required);
        } else if items.len() > 1 && has_wildcard(items) {
            let message = format!("if '*' is present, must not specify other {what}");
            errors.invalid(&path.child(field), items, message);
        }
    }
    let (namespaces, path) = (rule.namespaces.items(), path.child("namespaces"));
    if namespaces.is_empty() && !rule.cluster_scope.is_set() {
        let message = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&path, message);
    } else if has_wildcard(namespaces) {
        if namespaces.len() > 1 {
            errors.invalid(&path, namespaces, "if '*' is present, must not specify other namespaces");
        }
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            for message in apimachinery::names::is_dns1123_label(namespace) {
                let message = format!("each member of this list must be '*' or a DNS-1123 label; {message}");
                errors.invalid(&path.index(index), namespace, message);
            }
        }
    }
}

fn non_resource_rule(rule: &NonResourcePolicyRule, path: &Path, errors: &mut ErrorList) {
    verbs(&rule.verbs, path, errors);
    let (urls, path) = (&rule.non_resource_urls, path.child("nonResourceURLs"));
    if urls.is_empty() {
        errors.required(&path, "nonResourceURLs must contain at least one value");
    } else if has_wildcard(urls) {
        if urls.len() > 1 {
            errors.invalid(&path, urls, "if '*' is present, must not specify other non-resource URLs");
        }
    } else {
        for (index, url) in urls.iter().enumerate() {
            if let Some(message) = url_error(url) {
                errors.invalid(&path.index(index), url, message);
            }
        }
    }
}

fn url_error(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

pub(super) fn validate_status(schema: &FlowSchema) -> ErrorList {
    let conditions = schema.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    let mut errors = ErrorList::default();
    super::super::conditions(conditions.iter().map(|condition| condition.type_.text()), &mut errors);
    errors
}
