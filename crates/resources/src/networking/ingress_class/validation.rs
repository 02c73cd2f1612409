//! Validation of ingress classes. Upstream: `ValidateIngressClass` in `pkg/apis/networking/validation`.

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};

use crate::check::{self, Report};
use crate::optional::Text;

const MAX_CONTROLLER: usize = 250;

pub(super) fn validate(class: &IngressClass) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("spec");
    let controller = controller(class);
    if controller.is_empty() {
        errors.required(&path.child("controller"), "");
    } else {
        if controller.len() > MAX_CONTROLLER {
            errors.too_long(&path.child("controller"), MAX_CONTROLLER);
        }
        check::domain_prefixed_path(controller, &path.child("controller"), &mut errors);
    }
    if let Some(parameters) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) {
        validate_parameters(parameters, &path.child("parameters"), &mut errors);
    }
    errors
}

pub(super) fn validate_update(new: &IngressClass, old: &IngressClass) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("spec").child("controller");
    check::unchanged(&controller(new), &controller(old), &path, &mut errors);
    errors.append(validate(new));
    errors
}

fn controller(class: &IngressClass) -> &str {
    class.spec.as_ref().map_or("", |spec| spec.controller.text())
}

fn validate_parameters(parameters: &IngressClassParametersReference, path: &Path, errors: &mut ErrorList) {
    if let Some(group) = &parameters.api_group {
        check::dns_subdomain(group, &path.child("apiGroup"), errors);
    }
    for (field, value) in [("kind", &parameters.kind), ("name", &parameters.name)] {
        let path = path.child(field);
        if value.is_empty() {
            errors.required(&path, "");
        } else {
            check::all_invalid(names::is_path_segment_name(value), value, &path, errors);
        }
    }
    let namespace = path.child("namespace");
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => errors.required(&path.child("scope"), ""),
        (Some("Namespace"), None) => errors.required(&namespace, "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(name)) => check::dns_label(name, &namespace, errors),
        (Some("Cluster"), Some(_)) => errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'"),
        (Some("Cluster"), None) => {}
        (Some(scope), _) => errors.not_supported(&path.child("scope"), scope, &["Cluster", "Namespace"]),
    }
}
