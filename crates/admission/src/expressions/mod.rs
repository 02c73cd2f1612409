//! Expressions over admission requests: what policies and match conditions are written in.
//!
//! [`cel::admission`] declares the variables, [`Expression`] is one compiled expression, [`input`] gives the variables their
//! values, [`conditions`] are `matchConditions`. Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/cel`.

pub(crate) mod authorizer;
pub mod conditions;
pub(crate) mod input;

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use cel::{Env, PER_CALL_LIMIT, Program, Type, Value};
use metrics::{Family, Histogram, Stability};

use input::Scope;

/// Of client libraries of Prometheus, where nobody says others.
const DEFAULT_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
static COMPILATIONS: Family<Histogram, 0> = Family::with_bounds(
    "apiserver_cel_compilation_duration_seconds",
    Stability::Beta,
    "CEL compilation time in seconds.",
    [],
    DEFAULT_BOUNDS,
);
static EVALUATIONS: Family<Histogram, 0> = Family::with_bounds(
    "apiserver_cel_evaluation_duration_seconds",
    Stability::Beta,
    "CEL evaluation time in seconds.",
    [],
    DEFAULT_BOUNDS,
);

/// An expression, compiled; or why it could not be.
#[derive(Debug)]
pub struct Expression {
    pub(crate) text: String,
    program: Result<Program, String>,
}

/// Nothing more is evaluated: upstream's message.
pub(crate) const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The budget is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfBudget;

impl Expression {
    /// `returns`: types of which the value has to be exactly one.
    pub(crate) fn compile(env: &Env, text: &str, returns: &[Type]) -> Self {
        let start = Instant::now();
        let program = cel::admission::compile(env, text, returns);
        COMPILATIONS.with([]).observe_duration(start.elapsed());
        Self { text: text.to_owned(), program }
    }

    /// Why it was not compiled.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }

    /// Type of the value, when it was compiled.
    pub(crate) fn output_type(&self) -> Option<&Type> {
        self.program.as_ref().ok().map(Program::output_type)
    }

    pub(crate) fn program(&self) -> Result<&Program, &str> {
        self.program.as_ref().map_err(String::as_str)
    }

    /// What kind of error it was, in the words of metrics. Upstream: `policy/validating/metrics.ErrorType`.
    pub(crate) fn error_type(&self, error: Option<&String>) -> &'static str {
        match error {
            None => "no_error",
            Some(_) if self.fault().is_some() => "compile_error",
            Some(error) if error.contains(OUT_OF_BUDGET) => "out_of_budget",
            Some(_) => "invalid_error",
        }
    }

    /// The value, or why there is none; what it costs comes off the budget.
    pub(crate) fn evaluate<'a>(
        &'a self,
        scope: &Scope<'a, '_>,
        budget: &mut u64,
    ) -> Result<Result<Value<'a>, String>, OutOfBudget> {
        let program = match &self.program {
            Ok(program) => program,
            Err(fault) => return Ok(Err(format!("compilation error: {fault}"))),
        };
        static TIMES: OnceLock<Arc<Histogram>> = OnceLock::new();
        let start = Instant::now();
        let outcome = program.eval(scope, PER_CALL_LIMIT);
        TIMES.get_or_init(|| EVALUATIONS.with([])).observe_duration(start.elapsed());
        let cost = outcome.cost.saturating_add(scope.take_cost());
        *budget = budget.checked_sub(cost).ok_or(OutOfBudget)?;
        Ok(outcome.result.map_err(|error| format!("expression '{}' resulted in error: {error}", self.text)))
    }
}
