//! What admission policies and their bindings share: defaults of matching, and cells about parameters.

use k8s_openapi::api::admissionregistration::v1::{MatchResources, ParamKind, ParamRef};

use crate::meta::print;
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

pub(super) fn param_kind(kind: Option<&ParamKind>) -> String {
    kind.map_or_else(|| "<unset>".to_owned(), |kind| format!("{}/{}", kind.api_version.text(), kind.kind.text()))
}

pub(super) fn param_ref(reference: Option<&ParamRef>) -> String {
    let Some(reference) = reference else { return "<unset>".to_owned() };
    let (namespace, name) = (reference.namespace.text(), reference.name.text());
    match (name, &reference.selector) {
        // Whether parameters have a namespace is not known here.
        (name, _) if !name.is_empty() => format!("{}/{name}", if namespace.is_empty() { "*" } else { namespace }),
        (_, Some(selector)) => print::selector(Some(selector)),
        _ => "<unset>".to_owned(),
    }
}
