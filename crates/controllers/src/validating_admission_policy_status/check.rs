//! The check itself. Upstream: `policy/validating/typechecking.go`.

use api::admissionregistration::v1::ValidatingAdmissionPolicySpec;
use apimachinery::Gvk;
use cel::{
    Mode, Type,
    admission::{Declarations, Variables, environment},
};

/// Something is wrong with an expression for one of the types it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Warning {
    /// `spec.validations[0].expression`
    pub(super) field: String,
    pub(super) text: String,
}

/// `types`: those that the policy's rules name, with what objects of them are. `params`: none when that is not known.
pub(super) fn check(
    spec: &ValidatingAdmissionPolicySpec,
    types: &[(Gvk, Type)],
    params: Option<&Type>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut add = |field: String, expression: &str| {
        let texts: Vec<String> =
            types.iter().filter_map(|(kind, ty)| fault(spec, kind, ty, params, expression)).collect();
        if !texts.is_empty() {
            warnings.push(Warning { field, text: texts.join("\n") });
        }
    };
    for (index, validation) in spec.validations.iter().flatten().enumerate() {
        add(format!("spec.validations[{index}].expression"), &validation.expression);
        if let Some(message) = validation.message_expression.as_deref().filter(|message| !message.is_empty()) {
            add(format!("spec.validations[{index}].messageExpression"), message);
        }
    }
    warnings
}

fn fault(
    spec: &ValidatingAdmissionPolicySpec,
    kind: &Gvk,
    ty: &Type,
    params: Option<&Type>,
    expression: &str,
) -> Option<String> {
    let has_params = spec.param_kind.is_some();
    let declarations = Declarations { params: has_params, authorizer: true, patches: false };
    let mut env =
        environment(declarations, Mode::StoredExpressions).with("object", ty.clone()).with("oldObject", ty.clone());
    if let Some(params) = params.filter(|_| has_params) {
        env = env.with("params", params.clone());
    }
    let mut variables = Variables::default();
    for variable in spec.variables.iter().flatten() {
        let compiled = variables.declare(env.clone()).compile(&variable.expression);
        variables.push(variable.name.as_str(), compiled.as_ref().ok().map(cel::Program::output_type));
    }
    let error = variables.declare(env).compile(expression).err()?;
    let api_version = apimachinery::key::join_api_version(&kind.group, &kind.version);
    let api_version = if kind.group.is_empty() { format!("/{}", kind.version) } else { api_version };
    Some(format!("{api_version}, Kind={}: {error}\n", kind.kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_not_there_is_told() {
        let spec: ValidatingAdmissionPolicySpec = serde_json::from_value(json!({
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.replicas > 1", "messageExpression": "'x' + variables.replicas"},
                {"expression": "variables.replicas > 1"},
            ],
        }))
        .unwrap();
        let ty = Type::object("Deployment", [("spec", Type::object("Deployment.spec", [("replicas", Type::Int)]))]);
        let warnings = check(&spec, &[(Gvk::new("apps", "v1", "Deployment"), ty)], None);
        assert_eq!(
            warnings,
            [
                Warning {
                    field: "spec.validations[0].expression".to_owned(),
                    text: "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"
                        .to_owned(),
                },
                Warning {
                    field: "spec.validations[0].messageExpression".to_owned(),
                    text: "apps/v1, Kind=Deployment: ERROR: <input>:1:5: found no matching overload for '_+_' applied to '(string, int)'\n | 'x' + variables.replicas\n | ....^\n"
                        .to_owned(),
                },
            ]
        );
    }
}
