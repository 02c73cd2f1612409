//! Validation of webhook configurations, of both kinds. Upstream: `validateValidatingWebhook`, `validateMutatingWebhook`.
//!
//! What a stored configuration does wrong already, its update may go on doing: [`Leniency`] says what.

use std::collections::BTreeSet;

use apimachinery::field::{Error, ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ServiceReference, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{expressions, rules};
use crate::check::{self, Report};
use crate::optional::Items;

const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const NO_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
/// Seconds.
const TIMEOUT: std::ops::RangeInclusive<i32> = 1..=30;
const FORM: &str = "; desired format: https://host[/path]";

/// The parts that webhooks of both kinds have.
pub(super) struct Webhook<'a> {
    name: &'a str,
    review_versions: &'a [String],
    rules: &'a [RuleWithOperations],
    failure_policy: Option<&'a str>,
    match_policy: Option<&'a str>,
    side_effects: &'a str,
    timeout: Option<i32>,
    namespace_selector: Option<&'a LabelSelector>,
    object_selector: Option<&'a LabelSelector>,
    reinvocation_policy: Option<&'a str>,
    client: &'a WebhookClientConfig,
    conditions: &'a [MatchCondition],
}

macro_rules! common_parts {
    ($hook:expr, $reinvocation:expr) => {
        Webhook {
            name: &$hook.name,
            review_versions: &$hook.admission_review_versions,
            rules: $hook.rules.items(),
            failure_policy: $hook.failure_policy.as_deref(),
            match_policy: $hook.match_policy.as_deref(),
            side_effects: &$hook.side_effects,
            timeout: $hook.timeout_seconds,
            namespace_selector: $hook.namespace_selector.as_ref(),
            object_selector: $hook.object_selector.as_ref(),
            reinvocation_policy: $reinvocation,
            client: &$hook.client_config,
            conditions: $hook.match_conditions.items(),
        }
    };
}

impl<'a> From<&'a ValidatingWebhook> for Webhook<'a> {
    fn from(hook: &'a ValidatingWebhook) -> Self {
        common_parts!(hook, None)
    }
}

impl<'a> From<&'a MutatingWebhook> for Webhook<'a> {
    fn from(hook: &'a MutatingWebhook) -> Self {
        common_parts!(hook, hook.reinvocation_policy.as_deref())
    }
}

/// What an update may keep doing wrong.
#[derive(Default)]
struct Leniency {
    side_effects: bool,
    review_versions: bool,
    duplicate_names: bool,
    selectors: bool,
    conditions: bool,
}

pub(super) fn validate<'a, T>(hooks: &'a [T], old: Option<&'a [T]>) -> ErrorList
where
    Webhook<'a>: From<&'a T>,
{
    let new: Vec<Webhook<'a>> = hooks.iter().map(Webhook::from).collect();
    let old: Option<Vec<Webhook<'a>>> = old.map(|old| old.iter().map(Webhook::from).collect());
    let lenient = old.map_or_else(Leniency::default, |old| Leniency::towards(&new, &old));
    all(&new, &lenient)
}

impl Leniency {
    fn towards(new: &[Webhook<'_>], old: &[Webhook<'_>]) -> Self {
        let mut names = BTreeSet::new();
        Self {
            side_effects: old.iter().any(|hook| !NO_SIDE_EFFECTS.contains(&hook.side_effects)),
            review_versions: old.iter().any(|hook| !hook.review_versions.is_empty() && !hook.has_known_version()),
            duplicate_names: old.iter().any(|hook| !names.insert(hook.name)),
            selectors: old.iter().any(|hook| {
                let mut errors = ErrorList::default();
                hook.selectors(&Path::root(), &mut errors);
                !errors.is_empty()
            }),
            conditions: new.len() == old.len()
                && new.iter().zip(old).all(|(new, old)| new.conditions == old.conditions),
        }
    }
}

fn all(hooks: &[Webhook<'_>], lenient: &Leniency) -> ErrorList {
    let mut errors = ErrorList::default();
    let mut names = BTreeSet::new();
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        hook.validate(lenient, &path, &mut errors);
        hook.versions(lenient, &path.child("admissionReviewVersions"), &mut errors);
        if !lenient.duplicate_names && !hook.name.is_empty() && !names.insert(hook.name) {
            errors.duplicate(&path.child("name"), hook.name);
        }
    }
    errors
}

impl Webhook<'_> {
    fn has_known_version(&self) -> bool {
        self.review_versions.iter().any(|version| REVIEW_VERSIONS.contains(&version.as_str()))
    }

    fn versions(&self, lenient: &Leniency, path: &Path, errors: &mut ErrorList) {
        if self.review_versions.is_empty() {
            errors.required(path, format!("must specify one of {}", REVIEW_VERSIONS.join(", ")));
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, version) in self.review_versions.iter().enumerate() {
            if seen.insert(version) {
                check::all_invalid(names::is_dns1035_label(version), version, &path.index(index), errors);
            } else {
                errors.invalid(&path.index(index), version, "duplicate version");
            }
        }
        if !lenient.review_versions && !self.has_known_version() {
            let message = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
            errors.invalid(path, self.review_versions, message);
        }
    }

    fn selectors(&self, path: &Path, errors: &mut ErrorList) {
        for (selector, field) in
            [(self.namespace_selector, "namespaceSelector"), (self.object_selector, "objectSelector")]
        {
            if let Some(selector) = selector {
                check::label_selector(selector, &path.child(field), errors);
            }
        }
    }

    fn validate(&self, lenient: &Leniency, path: &Path, errors: &mut ErrorList) {
        fully_qualified(self.name, &path.child("name"), errors);
        for (index, rule) in self.rules.iter().enumerate() {
            rules::rule(rule, &path.child("rules").index(index), errors);
        }
        if let Some(policy) = self.failure_policy.filter(|policy| !FAILURE_POLICIES.contains(policy)) {
            errors.not_supported(&path.child("failurePolicy"), policy, FAILURE_POLICIES);
        }
        rules::match_policy(self.match_policy, path, errors);
        let allowed = if lenient.side_effects { SIDE_EFFECTS } else { NO_SIDE_EFFECTS };
        let effects_path = path.child("sideEffects");
        if self.side_effects.is_empty() {
            errors.required(&effects_path, format!("must specify one of {}", allowed.join(", ")));
        } else if !allowed.contains(&self.side_effects) {
            errors.not_supported(&effects_path, self.side_effects, allowed);
        }
        if let Some(seconds) = self.timeout.filter(|seconds| !TIMEOUT.contains(seconds)) {
            let message = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&path.child("timeoutSeconds"), seconds, message);
        }
        if !lenient.selectors {
            self.selectors(path, errors);
        }
        if let Some(policy) = self.reinvocation_policy.filter(|policy| !REINVOCATION_POLICIES.contains(policy)) {
            errors.not_supported(&path.child("reinvocationPolicy"), policy, REINVOCATION_POLICIES);
        }
        client(self.client, &path.child("clientConfig"), errors);
        if !lenient.conditions {
            expressions::match_conditions(self.conditions, false, &path.child("matchConditions"), errors);
        }
    }
}

/// A domain of at least three segments (`IsFullyQualifiedName`).
fn fully_qualified(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let messages = check::is_dns_subdomain(name);
    if !messages.is_empty() {
        errors.invalid(path, name, messages.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn client(client: &WebhookClientConfig, path: &Path, errors: &mut ErrorList) {
    match (&client.url, &client.service) {
        (Some(url), None) => self::url(url, &path.child("url"), errors),
        (None, Some(reference)) => service(reference, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// `https`, a host, a path, and nothing else (`ValidateWebhookURL`).
fn url(url: &str, path: &Path, errors: &mut ErrorList) {
    let invalid = |what: &str, why: &str| Error::invalid(path, what, format!("{why}{FORM}"));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let well_formed = scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !url.chars().any(|c| c.is_control() || c == ' ');
    if !well_formed {
        errors.required(path, format!("url must be a valid URL: parse {url:?}: invalid URL{FORM}"));
        return;
    }
    if !scheme.eq_ignore_ascii_case("https") {
        errors.push(invalid(scheme, "'https' is the only allowed URL scheme"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        errors.push(invalid("", "host must be specified"));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (Some(fragment).filter(|text| !text.is_empty()), "fragments are not permitted in the URL"),
        (Some(query).filter(|text| !text.is_empty()), "query parameters are not permitted in the URL"),
    ] {
        if let Some(part) = part {
            errors.invalid(path, part, why);
        }
    }
}

/// Upstream: `ValidateWebhookService`.
pub(super) fn service(service: &ServiceReference, path: &Path, errors: &mut ErrorList) {
    if service.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    if service.namespace.is_empty() {
        errors.required(&path.child("namespace"), "");
    }
    let port = service.port.unwrap_or(443);
    let messages = names::is_valid_port_number(i64::from(port));
    if !messages.is_empty() {
        errors.invalid(&path.child("port"), port, format!("port is not valid: {}", messages.join(", ")));
    }
    let Some(url_path) = service.path.as_deref().filter(|path| !matches!(*path, "" | "/")) else { return };
    let path = path.child("path");
    if url_path == "//" {
        errors.invalid(&path, url_path, "segment[0] may not be empty");
        return;
    }
    if !url_path.starts_with('/') {
        errors.invalid(&path, url_path, "must start with a '/'");
    }
    let mut rest = url_path.chars();
    rest.next();
    let rest = rest.as_str();
    for (index, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(&path, url_path, format!("segment[{index}] may not be empty"));
            continue;
        }
        for message in check::is_dns_subdomain(segment) {
            errors.invalid(&path, url_path, format!("segment[{index}]: {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;
    use serde_json::{Value, json};

    fn hooks(changes: &[Value]) -> Vec<ValidatingWebhook> {
        let hook = |change: &Value| {
            let mut value = json!({
                "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://example.com/hook"},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            });
            apimachinery::patch::merge_patch(&mut value, change.clone());
            serde_json::from_value(value).expect("a webhook")
        };
        changes.iter().map(hook).collect()
    }

    fn check(new: &[Value], old: Option<&[Value]>, expected: &Expect) {
        let (new, old) = (hooks(new), old.map(hooks));
        let errors = super::validate(&new, old.as_deref());
        expected.assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
    }

    #[test]
    fn a_webhook_is_complete() {
        check(&[json!({})], None, &expect![""]);
        check(
            &[
                json!({"name": "a.b", "sideEffects": "Some", "admissionReviewVersions": ["v2", "v2"], "timeoutSeconds": 31,
                "clientConfig": {"url": "http://u@/x?q#f"}, "failurePolicy": "x", "matchPolicy": "y"}),
            ],
            None,
            &expect![[r#"
                webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots
                webhooks[0].failurePolicy: Unsupported value: "x": supported values: "Fail", "Ignore"
                webhooks[0].matchPolicy: Unsupported value: "y": supported values: "Equivalent", "Exact"
                webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"
                webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds
                webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
                webhooks[0].clientConfig.url: Invalid value: "": host must be specified; desired format: https://host[/path]
                webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL
                webhooks[0].clientConfig.url: Invalid value: "f": fragments are not permitted in the URL
                webhooks[0].clientConfig.url: Invalid value: "q": query parameters are not permitted in the URL
                webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version
                webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1
            "#]],
        );
    }

    #[test]
    fn rules_name_things_once() {
        check(
            &[
                json!({"rules": [{"operations": ["*", "x"], "apiGroups": [], "apiVersions": [""], "resources": ["a/*", "a/b", "*", "b"]}]}),
            ],
            None,
            &expect![[r#"
                webhooks[0].rules[0].operations: Invalid value: ["*","x"]: if '*' is present, must not specify other operations
                webhooks[0].rules[0].operations[1]: Unsupported value: "x": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"
                webhooks[0].rules[0].apiGroups: Required value
                webhooks[0].rules[0].apiVersions[0]: Required value
                webhooks[0].rules[0].resources[1]: Invalid value: "a/b": if 'a/*' is present, must not specify a/b
                webhooks[0].rules[0].resources: Invalid value: ["a/*","a/b","*","b"]: if '*' is present, must not specify other resources without subresources
            "#]],
        );
    }

    #[test]
    fn what_was_wrong_may_stay_wrong() {
        let some = json!({"sideEffects": "Some"});
        check(std::slice::from_ref(&some), Some(std::slice::from_ref(&some)), &expect![""]);
        check(&[json!({}), json!({})], Some(&[json!({}), json!({})]), &expect![""]);
        check(
            &[json!({}), json!({})],
            Some(&[json!({})]),
            &expect![[r#"
                webhooks[1].name: Duplicate value: "a.example.com"
            "#]],
        );
    }
}
