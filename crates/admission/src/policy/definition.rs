//! Policies and bindings as they are written, compiled. Upstream: `compilePolicy` of both plugins.

use cel::{
    Env, Mode, Type,
    admission::{Declarations, Variables, environment, json_patch, object},
};
use serde_json::Value;

use super::matching::MatchResources;
use crate::expressions::{
    Expression,
    conditions::{MatchConditions, Owner},
    input::Variable,
};

/// What a kind of policy adds to what all have.
pub(crate) trait Rules: Send + Sync + Sized + 'static {
    /// `admit` or `validate`.
    const STEP: &'static str;

    fn compile(spec: &Value, variables: &Variables, has_params: bool) -> Self;
}

pub(crate) struct Policy<R> {
    pub(crate) name: String,
    /// Errors refuse the request; else they are ignored.
    pub(crate) fails: bool,
    pub(crate) constraints: MatchResources,
    pub(crate) param_kind: Option<ParamKind>,
    pub(crate) conditions: MatchConditions,
    pub(crate) variables: Vec<Variable>,
    pub(crate) rules: R,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParamKind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) param_ref: Option<ParamRef>,
    pub(crate) matches: Option<MatchResources>,
    /// `Deny`, `Warn`, `Audit`; of validating bindings.
    pub(crate) actions: Vec<String>,
}

pub(crate) struct ParamRef {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) selector: Option<Result<apimachinery::Selector, String>>,
    pub(crate) denies_missing: bool,
}

/// What a `ValidatingAdmissionPolicy` says.
pub(crate) struct Validations {
    pub(crate) validations: Vec<Validation>,
    pub(crate) annotations: Vec<Annotation>,
}

pub(crate) struct Validation {
    pub(crate) expression: Expression,
    pub(crate) message_expression: Option<Expression>,
    pub(crate) message: String,
    pub(crate) reason: String,
}

pub(crate) struct Annotation {
    pub(crate) key: String,
    pub(crate) expression: Expression,
}

/// What a `MutatingAdmissionPolicy` says.
pub(crate) struct Mutations {
    pub(crate) mutations: Vec<Mutation>,
    pub(crate) reinvoke: bool,
}

pub(crate) struct Mutation {
    pub(crate) expression: Expression,
    pub(crate) form: PatchForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchForm {
    ApplyConfiguration,
    JsonPatch,
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl<R: Rules> Policy<R> {
    pub(crate) fn parse(name: &str, policy: &Value) -> Self {
        let spec = &policy["spec"];
        let fails = text(&spec["failurePolicy"]) != "Ignore";
        let param_kind = spec["paramKind"].as_object().map(|kind| {
            let (group, version) =
                apimachinery::key::split_api_version(kind.get("apiVersion").map(text).unwrap_or_default());
            ParamKind {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: kind.get("kind").map(text).unwrap_or_default().to_owned(),
            }
        });
        let has_params = param_kind.is_some();
        let declarations = Declarations { params: has_params, authorizer: true, patches: false };
        let (variables, types) = compile_variables(&spec["variables"], declarations);
        let env = env(declarations, &types);
        Self {
            name: name.to_owned(),
            fails,
            constraints: MatchResources::parse(&spec["matchConstraints"]),
            param_kind,
            conditions: {
                let owner = Owner { kind: "policy", name: name.to_owned(), step: R::STEP };
                MatchConditions::compile(owner, &env, &spec["matchConditions"], fails)
            },
            variables,
            rules: R::compile(spec, &types, has_params),
        }
    }
}

/// The variables, each of which sees those before it; and the types of all.
fn compile_variables(specs: &Value, declarations: Declarations) -> (Vec<Variable>, Variables) {
    let base = environment(declarations, Mode::StoredExpressions);
    let mut types = Variables::default();
    let mut variables = Vec::new();
    for spec in items(specs) {
        let expression = Expression::compile(&types.declare(base.clone()), text(&spec["expression"]), &[]);
        let name = text(&spec["name"]).to_owned();
        types.push(name.clone(), expression.output_type());
        variables.push(Variable { name, expression });
    }
    (variables, types)
}

fn env(declarations: Declarations, variables: &Variables) -> Env {
    variables.declare(environment(declarations, Mode::StoredExpressions))
}

impl Rules for Validations {
    const STEP: &'static str = "validate";

    fn compile(spec: &Value, variables: &Variables, has_params: bool) -> Self {
        let with_authorizer = env(Declarations { params: has_params, authorizer: true, patches: false }, variables);
        let without = env(Declarations { params: has_params, ..Declarations::default() }, variables);
        let validations = items(&spec["validations"]).map(|validation| Validation {
            expression: Expression::compile(&with_authorizer, text(&validation["expression"]), &[Type::Bool]),
            message_expression: Some(text(&validation["messageExpression"]))
                .filter(|message| !message.is_empty())
                .map(|message| Expression::compile(&without, message, &[Type::String])),
            message: text(&validation["message"]).to_owned(),
            reason: text(&validation["reason"]).to_owned(),
        });
        let annotations = items(&spec["auditAnnotations"]).map(|annotation| Annotation {
            key: text(&annotation["key"]).to_owned(),
            expression: Expression::compile(
                &with_authorizer,
                text(&annotation["valueExpression"]),
                &[Type::String, Type::Null],
            ),
        });
        Self { validations: validations.collect(), annotations: annotations.collect() }
    }
}

impl Rules for Mutations {
    const STEP: &'static str = "admit";

    fn compile(spec: &Value, variables: &Variables, has_params: bool) -> Self {
        let env = env(Declarations { params: has_params, authorizer: true, patches: true }, variables);
        let mutations = items(&spec["mutations"]).map(|mutation| match text(&mutation["patchType"]) {
            "JSONPatch" => Mutation {
                expression: Expression::compile(
                    &env,
                    text(&mutation["jsonPatch"]["expression"]),
                    &[Type::list(json_patch())],
                ),
                form: PatchForm::JsonPatch,
            },
            _ => Mutation {
                expression: Expression::compile(
                    &env,
                    text(&mutation["applyConfiguration"]["expression"]),
                    &[object("Object")],
                ),
                form: PatchForm::ApplyConfiguration,
            },
        });
        Self { mutations: mutations.collect(), reinvoke: text(&spec["reinvocationPolicy"]) == "IfNeeded" }
    }
}

impl Binding {
    pub(crate) fn parse(name: &str, binding: &Value) -> Self {
        let spec = &binding["spec"];
        let param_ref = spec["paramRef"].as_object().map(|reference| {
            let member = |key: &str| reference.get(key).map(text).unwrap_or_default().to_owned();
            ParamRef {
                name: member("name"),
                namespace: member("namespace"),
                selector: reference
                    .get("selector")
                    .filter(|selector| !selector.is_null())
                    .map(crate::webhook::selector),
                denies_missing: member("parameterNotFoundAction") == "Deny",
            }
        });
        Self {
            name: name.to_owned(),
            policy: text(&spec["policyName"]).to_owned(),
            param_ref,
            matches: Some(&spec["matchResources"]).filter(|value| !value.is_null()).map(MatchResources::parse),
            actions: items(&spec["validationActions"]).map(|action| text(action).to_owned()).collect(),
        }
    }
}
