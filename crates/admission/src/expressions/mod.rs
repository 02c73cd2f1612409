//! Expressions over admission requests: what policies and match conditions are written in.
//!
//! [`cel::admission`] declares the variables, [`Expression`] is one compiled expression, [`input`] gives the variables their
//! values, [`conditions`] are `matchConditions`. Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/cel`.

pub(crate) mod authorizer;
pub mod conditions;
pub(crate) mod input;

use cel::{Env, PER_CALL_LIMIT, Program, Type, Value};

use input::Scope;

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
        Self { text: text.to_owned(), program: cel::admission::compile(env, text, returns) }
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
        let outcome = program.eval(scope, PER_CALL_LIMIT);
        let cost = outcome.cost.saturating_add(scope.take_cost());
        *budget = budget.checked_sub(cost).ok_or(OutOfBudget)?;
        Ok(outcome.result.map_err(|error| format!("expression '{}' resulted in error: {error}", self.text)))
    }
}
