//! `matchConditions`: expressions that all have to hold before a webhook or policy is asked.
//!
//! Upstream: `plugin/webhook/matchconditions/matcher.go`.

use std::time::Instant;

use cel::{
    MATCH_CONDITIONS_BUDGET, Mode, Type, Value,
    admission::{Declarations, environment},
};
use metrics::{Counter, Family, Histogram, Stability};
use registry::admission::Operation;
use serde_json::Value as Json;

use super::{
    Expression, OUT_OF_BUDGET,
    input::{Input, Scope, Variable},
};

const LABELS: [&str; 4] = ["kind", "name", "operation", "type"];
static ERRORS: Family<Counter, 4> = Family::new(
    "apiserver_admission_match_condition_evaluation_errors_total",
    Stability::Alpha,
    "Admission match condition evaluation errors count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
    LABELS,
);
static EXCLUSIONS: Family<Counter, 4> = Family::new(
    "apiserver_admission_match_condition_exclusions_total",
    Stability::Alpha,
    "Admission match condition evaluation exclusions count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
    LABELS,
);
static TIMES: Family<Histogram, 4> = Family::with_bounds(
    "apiserver_admission_match_condition_evaluation_seconds",
    Stability::Alpha,
    "Admission match condition evaluation time in seconds, identified by name and broken out for each kind containing matchConditions (webhook or policy), operation and type (validate or admit).",
    LABELS,
    &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
);

/// Whose conditions they are, for who counts.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// `webhook` or `policy`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `admit` or `validate`.
    pub(crate) step: &'static str,
}

/// The conditions of one webhook or policy, in their order.
#[derive(Debug)]
pub(crate) struct MatchConditions {
    owner: Owner,
    conditions: Vec<Expression>,
    /// What cannot be evaluated fails the request; else it does not match.
    fails: bool,
}

impl MatchConditions {
    /// A webhook's: they see the request and the authorizer.
    pub(crate) fn of_webhook(owner: Owner, conditions: &Json, fails: bool) -> Self {
        let declarations = Declarations { authorizer: true, ..Declarations::default() };
        Self::compile(owner, &environment(declarations, Mode::StoredExpressions), conditions, fails)
    }

    pub(crate) fn compile(owner: Owner, env: &cel::Env, conditions: &Json, fails: bool) -> Self {
        let conditions = conditions.as_array().into_iter().flatten().map(|condition| {
            Expression::compile(env, condition["expression"].as_str().unwrap_or_default(), &[Type::Bool])
        });
        Self { owner, conditions: conditions.collect(), fails }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether all hold. One that does not decides, whatever is wrong with others.
    pub(crate) fn hold<'a>(
        &'a self,
        operation: Operation,
        input: &Input<'a>,
        variables: &'a [Variable],
    ) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let Owner { kind, name, step } = &self.owner;
        let (labels, start) = ([*kind, name.as_str(), operation.as_str(), *step], Instant::now());
        let (outcome, has_errors) = self.all_hold(input, variables);
        TIMES.with(labels).observe_duration(start.elapsed());
        if has_errors {
            ERRORS.with(labels).inc();
        }
        if matches!(outcome, Ok(false)) {
            EXCLUSIONS.with(labels).inc();
        }
        outcome
    }

    /// And whether something could not be evaluated that would have decided.
    fn all_hold<'a>(&'a self, input: &Input<'a>, variables: &'a [Variable]) -> (Result<bool, String>, bool) {
        let scope = Scope::new(input, variables);
        let mut budget = MATCH_CONDITIONS_BUDGET;
        let mut errors: Vec<String> = Vec::new();
        for condition in &self.conditions {
            match condition.evaluate(&scope, &mut budget) {
                Ok(Ok(Value::Bool(false))) => return (Ok(false), false),
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
            [] => (Ok(true), false),
            _ if !self.fails => (Ok(false), true),
            [only] => (Err(only.clone()), true),
            several => (Err(format!("[{}]", several.join(", "))), true),
        }
    }
}
