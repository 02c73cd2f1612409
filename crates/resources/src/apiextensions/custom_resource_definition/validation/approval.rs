//! Groups of the Kubernetes community need an approval. Upstream: `pkg/apihelpers`.

use apimachinery::field::{Error, ErrorList, Path, go_quote};
use registry::DynamicObject;

use super::super::{
    conditions::{APPROVED, Condition},
    fields,
};

const ANNOTATION: &str = "api-approved.kubernetes.io";

pub fn is_protected_group(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

/// The condition that tells of the approval; none for groups that need none.
pub fn state(definition: &DynamicObject) -> Option<Condition> {
    if !is_protected_group(fields::text(fields::spec(definition), "group")) {
        return None;
    }
    let (state, reason) = read(definition);
    let (status, word) = match state {
        State::Invalid => ("False", "InvalidAnnotation"),
        State::Missing => ("False", "MissingAnnotation"),
        State::Approved => ("True", "ApprovedAnnotation"),
        State::Bypassed => ("False", "UnapprovedAnnotation"),
    };
    Some(Condition::new(APPROVED, status, word, reason))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Invalid,
    Missing,
    Approved,
    Bypassed,
}

fn annotation(definition: &DynamicObject) -> &str {
    definition.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION)).map_or("", String::as_str)
}

fn read(definition: &DynamicObject) -> (State, String) {
    let text = annotation(definition);
    let absolute = text
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/'));
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    if text.is_empty() {
        (State::Missing, format!("protected groups must have approval annotation \"{ANNOTATION}\", {SEE}"))
    } else if text.starts_with("unapproved") {
        (State::Bypassed, format!("not approved: {}", go_quote(text)))
    } else if absolute {
        (State::Approved, format!("approved in {text}"))
    } else {
        let why = format!(
            "protected groups must have approval annotation \"{ANNOTATION}\" with either a URL or a reason starting with \"unapproved\", {SEE}"
        );
        (State::Invalid, why)
    }
}

pub(super) fn check(definition: &DynamicObject, old: Option<&DynamicObject>) -> ErrorList {
    if !is_protected_group(fields::text(fields::spec(definition), "group")) {
        return ErrorList::new();
    }
    let (state, reason) = read(definition);
    if old.is_some_and(|old| read(old).0 == state) {
        return ErrorList::new();
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    match state {
        State::Invalid => Error::invalid(&path, annotation(definition), reason).into(),
        State::Missing => Error::required(&path, reason).into(),
        State::Approved | State::Bypassed => ErrorList::new(),
    }
}
