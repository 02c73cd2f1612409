//! Rules of roles. Upstream: `pkg/apis/rbac/validation`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::check::Report;
use crate::optional::Items;

pub(super) fn validate_all(rules: &[PolicyRule], namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("rules");
    for (index, rule) in rules.iter().enumerate() {
        validate(rule, namespaced, &path.index(index), &mut errors);
    }
    errors
}

fn validate(rule: &PolicyRule, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    if rule.verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    let (groups, resources, names) = (rule.api_groups.items(), rule.resources.items(), rule.resource_names.items());
    let urls = rule.non_resource_urls.items();
    if !urls.is_empty() {
        let path = path.child("nonResourceURLs");
        if namespaced {
            errors.invalid(&path, urls, "namespaced rules cannot apply to non-resource URLs");
        }
        if !groups.is_empty() || !resources.is_empty() || !names.is_empty() {
            errors.invalid(&path, urls, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.is_empty() {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if resources.is_empty() {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
    if !names.is_empty() && resources.len() > 1 {
        errors.required(&path.child("resourceNames"), "resource names cannot apply to multiple resources");
    }
}
