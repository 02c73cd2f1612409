//! The expressions of webhooks and policies. Upstream: `validateMatchConditions`, `validateVariable`, `validateValidation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::{AuditAnnotation, MatchCondition, Mutation, Validation, Variable};

use crate::check::{self, Report};
use crate::expressions::is_identifier;
use crate::optional::Text;

const MAX_MATCH_CONDITIONS: usize = 64;
const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_AUDIT_EXPRESSION: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const PATCH_TYPES: &[&str] = &["ApplyConfiguration", "JSONPatch"];
const UNSPECIFIED: &str = "expression is not specified";

pub(super) fn match_conditions(conditions: &[MatchCondition], _params: bool, path: &Path, errors: &mut ErrorList) {
    if conditions.len() > MAX_MATCH_CONDITIONS {
        errors.too_many(path, conditions.len(), MAX_MATCH_CONDITIONS);
    }
    let mut names = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if condition.expression.trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        let name_path = path.child("name");
        if condition.name.is_empty() {
            errors.required(&name_path, "");
        } else {
            check::qualified_name(&condition.name, &name_path, errors);
            if !names.insert(&condition.name) {
                errors.duplicate(&name_path, &condition.name);
            }
        }
    }
}

pub(super) fn variables(variables: &[Variable], path: &Path, errors: &mut ErrorList) {
    for (index, variable) in variables.iter().enumerate() {
        let path = path.child("variables").index(index);
        if variable.name.trim().is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(&variable.name) {
            errors.invalid(&path.child("name"), &variable.name, "name is not a valid CEL identifier");
        }
        if variable.expression.trim().is_empty() {
            errors.required(&path.child("expression"), UNSPECIFIED);
        }
    }
}

pub(super) fn validations(validations: &[Validation], path: &Path, errors: &mut ErrorList) {
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        if validation.expression.trim().is_empty() {
            errors.required(&path.child("expression"), UNSPECIFIED);
        }
        let by_expression = validation.message_expression.text();
        if !by_expression.is_empty() && by_expression.trim().is_empty() {
            let message = "must be non-empty if specified";
            errors.invalid(&path.child("messageExpression"), by_expression, message);
        }
        let (message, message_path) = (validation.message.text(), path.child("message"));
        if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(&message_path, message, "message must be non-empty if specified");
        } else if message.trim().contains(['\n', '\r']) {
            errors.invalid(&message_path, message, "message must not contain line breaks");
        }
        if let Some(reason) = validation.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
            errors.not_supported(&path.child("reason"), reason, REASONS);
        }
    }
}

pub(super) fn audit_annotations(policy: &str, annotations: &[AuditAnnotation], path: &Path, errors: &mut ErrorList) {
    let path = path.child("auditAnnotations");
    if annotations.len() > MAX_AUDIT_ANNOTATIONS {
        let message = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.invalid(&path, annotations, message);
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.index(index);
        if policy.is_empty() {
            errors.invalid(&path.child("key"), &annotation.key, "requires metadata.name be non-empty");
        } else {
            check::qualified_name(&format!("{policy}/{}", annotation.key), &path.child("key"), errors);
        }
        let expression = annotation.value_expression.trim();
        if expression.is_empty() {
            errors.required(&path.child("valueExpression"), "valueExpression is not specified");
        } else if expression.len() > MAX_AUDIT_EXPRESSION {
            let message = format!("must not exceed {MAX_AUDIT_EXPRESSION} bytes in length");
            errors.required(&path.child("valueExpression"), message);
        }
        if !keys.insert(&annotation.key) {
            errors.duplicate(&path.child("key"), &annotation.key);
        }
    }
}

pub(super) fn mutations(mutations: &[Mutation], path: &Path, errors: &mut ErrorList) {
    let path = path.child("mutations");
    if mutations.is_empty() {
        errors.required(&path, "mutations must contain at least one item");
    }
    for (index, mutation) in mutations.iter().enumerate() {
        let path = path.index(index);
        let patch = mutation.json_patch.as_ref().map(|patch| patch.expression.text());
        let apply = mutation.apply_configuration.as_ref().map(|apply| apply.expression.text());
        let (own, field, other, other_field) = match mutation.patch_type.as_str() {
            "JSONPatch" => (patch, "jsonPatch", apply, "applyConfiguration"),
            "ApplyConfiguration" => (apply, "applyConfiguration", patch, "jsonPatch"),
            "" => {
                errors.required(&path.child("patchType"), "");
                continue;
            }
            unknown => {
                errors.not_supported(&path.child("patchType"), unknown, PATCH_TYPES);
                continue;
            }
        };
        let kind = &mutation.patch_type;
        match own {
            None => errors.required(&path.child(field), format!("must be specified when patchType is {kind}")),
            Some(expression) if expression.trim().is_empty() => {
                errors.required(&path.child(field).child("expression"), UNSPECIFIED);
            }
            Some(_) => {}
        }
        if other.is_some() {
            let message = format!("must not be specified when patchType is {kind}");
            errors.invalid(&path.child(other_field), format!("{{{other_field}}}"), message);
        }
    }
}
