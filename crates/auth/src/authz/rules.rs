//! What one rule allows, and whether some rules cover others. Upstream: `pkg/apis/rbac/v1/evaluation_helpers.go` and
//! `k8s.io/component-helpers/auth/rbac/validation`.

use api::rbac::v1::PolicyRule;
use registry::auth::Attributes;

const ALL: &str = "*";

fn has(list: Option<&Vec<String>>, wanted: &str) -> bool {
    list.is_some_and(|list| list.iter().any(|item| item == ALL || item == wanted))
}

/// Whether the rule allows the request.
pub(crate) fn allows(rule: &PolicyRule, attributes: &Attributes) -> bool {
    if !rule.verbs.iter().any(|verb| verb == ALL || *verb == attributes.verb) {
        return false;
    }
    if !attributes.is_resource_request {
        return rule.non_resource_urls.iter().flatten().any(|url| url_matches(url, &attributes.path));
    }
    has(rule.api_groups.as_ref(), &attributes.api_group)
        && resource_matches(rule, &attributes.resource, &attributes.subresource)
        && names_match(rule, &attributes.name)
}

fn resource_matches(rule: &PolicyRule, resource: &str, subresource: &str) -> bool {
    rule.resources.iter().flatten().any(|item| {
        if item == ALL {
            return true;
        }
        match item.split_once('/') {
            None => subresource.is_empty() && item == resource,
            Some((ALL, sub)) => !subresource.is_empty() && sub == subresource,
            Some((main, sub)) => !subresource.is_empty() && main == resource && sub == subresource,
        }
    })
}

fn names_match(rule: &PolicyRule, name: &str) -> bool {
    match &rule.resource_names {
        Some(names) if !names.is_empty() => names.iter().any(|item| item == name),
        _ => true,
    }
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == ALL || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// The parts of `wanted` that `owned` does not cover; each part has one verb, group, resource and name. Empty: all
/// of it is covered. This is what keeps users from granting what they do not have.
pub fn not_covered(owned: &[&PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(break_down).filter(|part| !owned.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule as rules of one verb, group, resource and name each.
fn break_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let part = |name: Option<&String>| PolicyRule {
                    verbs: vec![verb.clone()],
                    api_groups: Some(vec![group.clone()]),
                    resources: Some(vec![resource.clone()]),
                    resource_names: name.map(|name| vec![name.clone()]),
                    ..PolicyRule::default()
                };
                match &rule.resource_names {
                    Some(names) if !names.is_empty() => parts.extend(names.iter().map(|name| part(Some(name)))),
                    _ => parts.push(part(None)),
                }
            }
        }
        for url in rule.non_resource_urls.iter().flatten() {
            parts.push(PolicyRule {
                verbs: vec![verb.clone()],
                non_resource_urls: Some(vec![url.clone()]),
                ..PolicyRule::default()
            });
        }
    }
    parts
}

fn covers(owner: &PolicyRule, part: &PolicyRule) -> bool {
    let first = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| list.first().cloned());
    let Some(verb) = part.verbs.first() else { return true };
    if !owner.verbs.iter().any(|item| item == ALL || item == verb) {
        return false;
    }
    if let Some(url) = first(&part.non_resource_urls) {
        return owner.non_resource_urls.iter().flatten().any(|item| url_covers(item, &url));
    }
    let (Some(group), Some(resource)) = (first(&part.api_groups), first(&part.resources)) else { return true };
    let resource_covered = owner.resources.iter().flatten().any(|item| {
        item == ALL
            || *item == resource
            || resource.split_once('/').is_some_and(|(_, sub)| item.strip_prefix("*/") == Some(sub))
    });
    let name_covered = match (&owner.resource_names, first(&part.resource_names)) {
        (Some(names), Some(name)) if !names.is_empty() => names.contains(&name),
        (Some(names), None) if !names.is_empty() => false,
        _ => true,
    };
    has(owner.api_groups.as_ref(), &group) && resource_covered && name_covered
}

fn url_covers(owner: &str, url: &str) -> bool {
    owner == ALL || owner == url || owner.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::parse_rule;

    #[test]
    fn rules_match_as_upstream() {
        let ask = |rule: &str, verb: &str, resource: &str, subresource: &str, name: &str| {
            allows(
                &parse_rule(rule),
                &Attributes {
                    verb: verb.into(),
                    api_group: "apps".into(),
                    resource: resource.into(),
                    subresource: subresource.into(),
                    name: name.into(),
                    is_resource_request: true,
                    ..Attributes::default()
                },
            )
        };
        assert!(ask("get | apps | deployments", "get", "deployments", "", "x"));
        assert!(!ask("get | apps | deployments", "get", "deployments", "scale", "x"));
        assert!(ask("get | * | */scale", "get", "deployments", "scale", "x"));
        assert!(!ask("get | * | */scale", "get", "deployments", "", "x"));
        assert!(ask("* | * | *", "get", "deployments", "scale", "x"));
        assert!(!ask("get | core | deployments", "get", "deployments", "", "x"));
        assert!(ask("get | apps | deployments | x y", "get", "deployments", "", "y"));
        assert!(!ask("get | apps | deployments | x y", "get", "deployments", "", "z"));
        assert!(!ask("get | apps | deployments | x y", "get", "deployments", "", ""));
    }

    #[test]
    fn urls() {
        for (rule, path, expected) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", false),
            ("/healthz/*", "/healthz/etcd", true),
            ("*", "/x", true),
            ("/api*", "/apis", true),
        ] {
            assert_eq!(url_matches(rule, path), expected, "{rule} {path}");
        }
    }

    #[test]
    fn what_is_not_covered_is_named() {
        let owned = parse_rule("get list | core | pods secrets/*");
        let missing = not_covered(&[&owned], &[parse_rule("get delete | core | pods")]);
        assert_eq!(missing, [parse_rule("delete | core | pods")]);
        assert!(not_covered(&[&parse_rule("* | * | *")], &[parse_rule("get | core | pods | a")]).is_empty());
        assert!(!not_covered(&[&parse_rule("get | core | pods | a")], &[parse_rule("get | core | pods")]).is_empty());
        assert!(not_covered(&[&parse_rule("get | /a*")], &[parse_rule("get | /a/b")]).is_empty());
    }
}
