//! The expressions of webhooks and policies. Upstream: `validateMatchConditions`, `validateVariable`, `validateValidation`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use cel::{
    Env, Mode, Type,
    admission::{self, Declarations, Variables, environment},
};
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

/// Reports an expression that does not compile, or has no value of one of the types. Gives the type of the value.
fn compile(env: &Env, text: &str, returns: &[Type], path: &Path, errors: &mut ErrorList) -> Option<Type> {
    match admission::compile(env, text, returns) {
        Ok(program) => Some(program.output_type().clone()),
        Err(detail) => {
            errors.invalid(path, text, detail);
            None
        }
    }
}

/// The environments of a policy's expressions.
pub(super) struct Environments {
    params: bool,
    variables: Variables,
}

impl Environments {
    fn env(&self, authorizer: bool, patches: bool) -> Env {
        let declarations = Declarations { params: self.params, authorizer, patches };
        self.variables.declare(environment(declarations, Mode::NewExpressions))
    }
}

pub(super) fn match_conditions(conditions: &[MatchCondition], params: bool, path: &Path, errors: &mut ErrorList) {
    let declarations = Declarations { params, authorizer: true, patches: false };
    let env = (!conditions.is_empty()).then(|| environment(declarations, Mode::NewExpressions));
    if conditions.len() > MAX_MATCH_CONDITIONS {
        errors.too_many(path, conditions.len(), MAX_MATCH_CONDITIONS);
    }
    let mut names = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let expression = condition.expression.trim();
        if expression.is_empty() {
            errors.required(&path.child("expression"), "");
        } else if let Some(env) = &env {
            compile(env, expression, &[Type::Bool], &path.child("expression"), errors);
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

/// What the policy's other expressions are compiled in.
pub(super) fn variables(variables: &[Variable], params: bool, path: &Path, errors: &mut ErrorList) -> Environments {
    let mut environments = Environments { params, variables: Variables::default() };
    for (index, variable) in variables.iter().enumerate() {
        let path = path.child("variables").index(index);
        if variable.name.trim().is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(&variable.name) {
            errors.invalid(&path.child("name"), &variable.name, "name is not a valid CEL identifier");
        }
        if variable.expression.trim().is_empty() {
            errors.required(&path.child("expression"), UNSPECIFIED);
            continue;
        }
        let env = environments.env(true, false);
        let ty = compile(&env, &variable.expression, &[], &path.child("expression"), errors);
        environments.variables.push(variable.name.as_str(), ty.as_ref());
    }
    environments
}

pub(super) fn validations(
    validations: &[Validation],
    environments: &Environments,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (env, message_env) = (environments.env(true, false), environments.env(false, false));
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        if validation.expression.trim().is_empty() {
            errors.required(&path.child("expression"), UNSPECIFIED);
        } else {
            compile(&env, &validation.expression, &[Type::Bool], &path.child("expression"), errors);
        }
        let by_expression = validation.message_expression.text();
        if !by_expression.is_empty() && by_expression.trim().is_empty() {
            let message = "must be non-empty if specified";
            errors.invalid(&path.child("messageExpression"), by_expression, message);
        } else if !by_expression.is_empty() {
            compile(&message_env, by_expression, &[Type::String], &path.child("messageExpression"), errors);
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

pub(super) fn audit_annotations(
    policy: &str,
    annotations: &[AuditAnnotation],
    environments: &Environments,
    path: &Path,
    errors: &mut ErrorList,
) {
    let env = environments.env(true, false);
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
        } else {
            let returns = [Type::String, Type::Null];
            compile(&env, &annotation.value_expression, &returns, &path.child("valueExpression"), errors);
        }
        if !keys.insert(&annotation.key) {
            errors.duplicate(&path.child("key"), &annotation.key);
        }
    }
}

pub(super) fn mutations(mutations: &[Mutation], environments: &Environments, path: &Path, errors: &mut ErrorList) {
    let env = environments.env(true, true);
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
            Some(expression) => {
                let returns = match kind.as_str() {
                    "JSONPatch" => Type::list(admission::json_patch()),
                    _ => admission::object("Object"),
                };
                compile(&env, expression, &[returns], &path.child(field).child("expression"), errors);
            }
        }
        if other.is_some() {
            let message = format!("must not be specified when patchType is {kind}");
            errors.invalid(&path.child(other_field), format!("{{{other_field}}}"), message);
        }
    }
}
