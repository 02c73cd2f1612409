//! What both kinds of bindings share. Upstream: `pkg/apis/rbac/{v1/defaults,validation/validation}.go`.

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::rbac::v1::{RoleRef, Subject};

use super::GROUP;
use crate::check::{self, Report};
use crate::optional::{Text, default_text};

pub(super) fn set_defaults(role: &mut RoleRef, subjects: &mut [Subject]) {
    default_text(&mut role.api_group, GROUP);
    for subject in subjects {
        if matches!(subject.kind.as_str(), "User" | "Group") {
            default_text(&mut subject.api_group, GROUP);
        }
    }
}

pub(super) fn validate(role: &RoleRef, subjects: &[Subject], namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("roleRef");
    if role.api_group.text() != GROUP {
        errors.not_supported(&path.child("apiGroup"), role.api_group.text(), &[GROUP]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(&path.child("kind"), &role.kind, kinds);
    }
    let path = path.child("name");
    if role.name.is_empty() {
        errors.required(&path, "");
    } else {
        check::all_invalid(names::path_segment_name(&role.name, false), &role.name, &path, &mut errors);
    }
    let path = Path::new("subjects");
    for (index, subject) in subjects.iter().enumerate() {
        validate_subject(subject, namespaced, &path.index(index), &mut errors);
    }
    errors
}

pub(super) fn validate_change(role: &RoleRef, old: &RoleRef, errors: &mut ErrorList) {
    if role != old {
        errors.invalid(&Path::new("roleRef"), role, "cannot change roleRef");
    }
}

fn validate_subject(subject: &Subject, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    let name = path.child("name");
    if subject.name.is_empty() {
        errors.required(&name, "");
    }
    let group = subject.api_group.text();
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                check::all_invalid(names::subdomain_name(&subject.name, false), &subject.name, &name, errors);
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.namespace.text().is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if subject.name.is_empty() {
                let who = kind.to_lowercase();
                errors.invalid(&name, &subject.name, format!("{who} name cannot be empty"));
            }
            if group != GROUP {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        kind => errors.not_supported(&path.child("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}

pub(super) fn role(role: &RoleRef) -> String {
    format!("{}/{}", role.kind, role.name)
}

/// Names of the subjects of one kind; those of service accounts with their namespaces.
pub(super) fn subjects(subjects: &[Subject], kind: &str) -> String {
    let names = subjects.iter().filter(|subject| subject.kind == kind).map(|subject| match kind {
        "ServiceAccount" => format!("{}/{}", subject.namespace.text(), subject.name),
        _ => subject.name.clone(),
    });
    names.collect::<Vec<_>>().join(", ")
}
