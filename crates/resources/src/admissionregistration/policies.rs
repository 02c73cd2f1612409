//! What admission policies and their bindings share: defaults of matching, and cells about parameters.

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::admissionregistration::v1::{MatchCondition, MatchResources, ParamKind, ParamRef, Variable};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{expressions, rules};
use crate::check::{self, Report};
use crate::optional::{Items, Text, default_text};

pub(super) fn default_match(resources: &mut MatchResources) {
    default_text(&mut resources.match_policy, "Equivalent");
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let excluded = resources.exclude_resource_rules.items_mut().iter_mut();
    for rule in resources.resource_rules.items_mut().iter_mut().chain(excluded) {
        default_text(&mut rule.scope, "*");
    }
}

pub(super) fn default_param_ref(reference: &mut ParamRef) {
    default_text(&mut reference.parameter_not_found_action, "Deny");
}

pub(super) fn param_kind(kind: Option<&ParamKind>) -> String {
    kind.map_or_else(|| "<unset>".to_owned(), |kind| format!("{}/{}", kind.api_version.text(), kind.kind.text()))
}

pub(super) fn param_ref(reference: Option<&ParamRef>) -> String {
    let Some(reference) = reference else { return "<unset>".to_owned() };
    let (namespace, name) = (reference.namespace.text(), reference.name.text());
    match (name, &reference.selector) {
        // Whether parameters have a namespace is not known here.
        (name, _) if !name.is_empty() => format!("{}/{name}", if namespace.is_empty() { "*" } else { namespace }),
        (_, Some(selector)) => spelled_out(selector),
        _ => "<unset>".to_owned(),
    }
}

/// A selector with the names of its fields, as upstream's `String` of it.
fn spelled_out(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let expressions = selector.match_expressions.items().iter().map(|requirement| {
        let values = requirement.values.items().join(" ");
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
            requirement.key, requirement.operator
        )
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        expressions.collect::<String>()
    )
}

const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];

/// What policies of both kinds say.
pub(super) struct Common<'a> {
    pub(super) failure_policy: Option<&'a str>,
    pub(super) param_kind: Option<&'a ParamKind>,
    pub(super) constraints: Option<&'a MatchResources>,
    pub(super) conditions: &'a [MatchCondition],
    pub(super) variables: &'a [Variable],
}

/// `same_conditions`: the conditions and their parameters are those that are stored.
pub(super) fn common(
    policy: &Common<'_>,
    same_conditions: bool,
    path: &Path,
    errors: &mut ErrorList,
) -> expressions::Environments {
    match policy.failure_policy {
        None => errors.required(&path.child("failurePolicy"), ""),
        Some(name) if !FAILURE_POLICIES.contains(&name) => {
            errors.not_supported(&path.child("failurePolicy"), name, FAILURE_POLICIES);
        }
        Some(_) => {}
    }
    if let Some(kind) = policy.param_kind {
        check_param_kind(kind, &path.child("paramKind"), errors);
    }
    let constraints_path = path.child("matchConstraints");
    match policy.constraints {
        None => errors.required(&constraints_path, ""),
        Some(constraints) => {
            rules::match_resources(constraints, &constraints_path, errors);
            // Types come from the rules.
            if constraints.resource_rules.items().is_empty() {
                errors.required(&constraints_path.child("resourceRules"), "");
            }
        }
    }
    if !same_conditions {
        let has_params = policy.param_kind.is_some();
        expressions::match_conditions(policy.conditions, has_params, &path.child("matchConditions"), errors);
    }
    expressions::variables(policy.variables, policy.param_kind.is_some(), path, errors)
}

fn check_param_kind(kind: &ParamKind, path: &Path, errors: &mut ErrorList) {
    let (version_path, text) = (path.child("apiVersion"), kind.api_version.text());
    let (group, version) = match text.split_once('/') {
        _ if text == "/" => ("", ""),
        None => ("", text),
        Some(parts) => parts,
    };
    if text.is_empty() {
        errors.required(&version_path, "");
    } else if version.contains('/') {
        errors.invalid(&version_path, text, format!("unexpected GroupVersion string: {text}"));
    } else {
        let messages = if group.is_empty() { Vec::new() } else { names::is_dns1123_subdomain(group) };
        if !messages.is_empty() {
            errors.invalid(&version_path, group, messages.join(","));
        }
        let messages = names::is_dns1035_label(version);
        if version.is_empty() {
            errors.invalid(&version_path, text, "version must be specified");
        } else if !messages.is_empty() {
            errors.invalid(&version_path, version, messages.join(","));
        }
    }
    let (name, kind_path) = (kind.kind.text(), path.child("kind"));
    let messages = names::is_dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&kind_path, "");
    } else if !messages.is_empty() {
        let message = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
        errors.invalid(&kind_path, name, message);
    }
}

/// Which policy with which parameters, for what.
pub(super) fn binding(
    policy: &str,
    reference: Option<&ParamRef>,
    resources: Option<&MatchResources>,
    path: &Path,
    errors: &mut ErrorList,
) {
    if policy.is_empty() {
        errors.required(&path.child("policyName"), "");
    } else {
        check::dns_subdomain(policy, &path.child("policyName"), errors);
    }
    if let Some(reference) = reference {
        check_param_ref(reference, &path.child("paramRef"), errors);
    }
    if let Some(resources) = resources {
        rules::match_resources(resources, &path.child("matchResources"), errors);
    }
}

fn check_param_ref(reference: &ParamRef, path: &Path, errors: &mut ErrorList) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    const ACTIONS: &[&str] = &["Deny", "Allow"];
    let name = reference.name.text();
    if !name.is_empty() {
        check::path_segment(name, &path.child("name"), errors);
        if reference.selector.is_some() {
            errors.forbidden(&path.child("name"), EXCLUSIVE);
        }
    }
    if let Some(selector) = &reference.selector {
        check::label_selector(selector, &path.child("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&path.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && reference.selector.is_none() {
        errors.required(path, "one of name or selector must be specified");
    }
    match reference.parameter_not_found_action.text() {
        "" => errors.required(&path.child("parameterNotFoundAction"), ""),
        action if !ACTIONS.contains(&action) => {
            errors.not_supported(&path.child("parameterNotFoundAction"), action, ACTIONS);
        }
        _ => {}
    }
}
