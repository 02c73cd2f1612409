//! `matchConditions`: expressions that all have to hold before a webhook or policy is asked.
//!
//! Upstream: `plugin/webhook/matchconditions/matcher.go`.

use cel::{
    MATCH_CONDITIONS_BUDGET, Mode, Type, Value,
    admission::{Declarations, environment},
};
use serde_json::Value as Json;

use super::{
    Expression, OUT_OF_BUDGET,
    input::{Input, Scope, Variable},
};

/// The conditions of one webhook or policy, in their order.
#[derive(Debug)]
pub(crate) struct MatchConditions {
    conditions: Vec<Expression>,
    /// What cannot be evaluated fails the request; else it does not match.
    fails: bool,
}

impl MatchConditions {
    /// A webhook's: they see the request and the authorizer.
    pub(crate) fn of_webhook(conditions: &Json, fails: bool) -> Self {
        let declarations = Declarations { authorizer: true, ..Declarations::default() };
        Self::compile(&environment(declarations, Mode::StoredExpressions), conditions, fails)
    }

    pub(crate) fn compile(env: &cel::Env, conditions: &Json, fails: bool) -> Self {
        let conditions = conditions.as_array().into_iter().flatten().map(|condition| {
            Expression::compile(env, condition["expression"].as_str().unwrap_or_default(), &[Type::Bool])
        });
        Self { conditions: conditions.collect(), fails }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether all hold. One that does not decides, whatever is wrong with others.
    pub(crate) fn hold<'a>(&'a self, input: &Input<'a>, variables: &'a [Variable]) -> Result<bool, String> {
        let scope = Scope::new(input, variables);
        let mut budget = MATCH_CONDITIONS_BUDGET;
        let mut errors: Vec<String> = Vec::new();
        for condition in &self.conditions {
            match condition.evaluate(&scope, &mut budget) {
                Ok(Ok(Value::Bool(false))) => return Ok(false),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
                Err(_) => {
                    errors = vec![OUT_OF_BUDGET.to_owned()];
                    break;
                }
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            _ if !self.fails => Ok(false),
            [only] => Err(only.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}
