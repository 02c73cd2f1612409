//! Which requests a policy or binding is about. Upstream: `policy/matching`.

use apimachinery::{ApiError, Selector};
use registry::admission::AdmissionRequest;
use serde_json::Value;

use crate::webhook::{self, Invocation, Rule};

/// `MatchResources`.
pub(crate) struct MatchResources {
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
    rules: Vec<NamedRule>,
    excluded: Vec<NamedRule>,
    is_equivalent: bool,
}

struct NamedRule {
    rule: Rule,
    /// Empty: whatever the name.
    names: Vec<String>,
}

impl NamedRule {
    fn parse(rules: &Value) -> Vec<Self> {
        let rules = rules.as_array().into_iter().flatten().map(|rule| Self {
            rule: Rule::parse(rule),
            names: rule["resourceNames"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        });
        rules.collect()
    }

    fn matches(&self, request: &AdmissionRequest<'_>, resource: &registry::Info) -> bool {
        self.rule.matches(request, resource)
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }
}

impl MatchResources {
    pub(crate) fn parse(value: &Value) -> Self {
        Self {
            namespaces: webhook::selector(&value["namespaceSelector"]),
            objects: webhook::selector(&value["objectSelector"]),
            rules: NamedRule::parse(&value["resourceRules"]),
            excluded: NamedRule::parse(&value["excludeResourceRules"]),
            is_equivalent: value["matchPolicy"] != "Exact",
        }
    }

    /// As what the request matches, if it does.
    pub(crate) fn matches(&self, request: &AdmissionRequest<'_>) -> Result<Option<Invocation>, ApiError> {
        if webhook::is_effect_of_action(request) {
            return Ok(None);
        }
        // Rules are the cheapest to ask, and what does not match has no errors.
        let Some(invocation) = self.of_rules(request) else { return Ok(None) };
        let namespace = webhook::in_namespace(&self.namespaces, request);
        if matches!(namespace, Ok(false)) {
            return Ok(None);
        }
        let object = webhook::of_object(&self.objects, request);
        if matches!(object, Ok(false)) {
            return Ok(None);
        }
        if self.matched(&self.excluded, request).is_some() {
            return Ok(None);
        }
        namespace?;
        object?;
        Ok(Some(invocation))
    }

    fn of_rules(&self, request: &AdmissionRequest<'_>) -> Option<Invocation> {
        if self.rules.is_empty() { Some(as_asked(request)) } else { self.matched(&self.rules, request) }
    }

    fn matched(&self, rules: &[NamedRule], request: &AdmissionRequest<'_>) -> Option<Invocation> {
        if rules.iter().any(|rule| rule.matches(request, request.info)) {
            return Some(as_asked(request));
        }
        let place = request.place.filter(|_| self.is_equivalent && !rules.is_empty())?;
        let others = place.registry.equivalents(place.kind);
        let other = rules.iter().find_map(|rule| others.iter().find(|other| rule.matches(request, other.info())))?;
        Some(webhook::as_equivalent(other, request))
    }
}

fn as_asked(request: &AdmissionRequest<'_>) -> Invocation {
    Invocation { resource: request.resource(), kind: request.kind(), equivalent: None }
}
