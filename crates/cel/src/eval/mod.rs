//! Plans and runs checked expressions.
//!
//! Upstream counterparts: `cel-go/interpreter` (planner, attributes, comprehensions) and its `runtimecost.go`.

mod node;
mod plan;
mod run;

use std::sync::Arc;

use crate::{
    ast::{Expr, Id, Literal},
    check::Checked,
    cost::{self, CostRange, Sizes},
    error::{CompileError, EvalError},
    syntax::operators,
    types::Type,
    value::Value,
};
use node::Node;

/// A compiled expression. It keeps nothing of an evaluation, so one serves all threads.
#[derive(Debug)]
pub struct Program {
    node: Node,
    locals: usize,
    checked: Checked,
    variables: Vec<Arc<str>>,
}

/// Where an evaluation finds its variables.
pub trait Activation<'a> {
    /// A declared variable's value; none for one that has none now.
    fn variable(&self, name: &str) -> Option<Value<'a>>;

    /// A field of an object that is a [`Value::Virtual`] of that name; none when it has no such field.
    fn field(&self, _object: &'static str, _name: &str) -> Option<Result<Value<'a>, EvalError>> {
        None
    }
}

/// Names with values.
impl<'a> Activation<'a> for &[(&str, Value<'a>)] {
    fn variable(&self, name: &str) -> Option<Value<'a>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

/// What an evaluation gave, and what it cost, be it in vain.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub result: Result<Value<'a>, EvalError>,
    pub cost: u64,
}

impl Program {
    pub(crate) fn plan(checked: Checked, source: &str) -> Result<Self, CompileError> {
        let planned = plan::plan(&checked, source)?;
        Ok(Self { node: planned.node, locals: planned.locals, variables: planned.variables, checked })
    }

    /// The type of the value.
    pub fn output_type(&self) -> &Type {
        self.checked.ty(self.checked.ast.root)
    }

    /// Whether the expression mentions a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.iter().any(|name| **name == *variable)
    }

    /// Whether the expression reads a field of a variable: `claims.email`, `claims.?email`, `has(claims.email)`.
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        let ast = &self.checked.ast;
        let is_variable = |id: Id| matches!(ast.get(id), Expr::Ident(name) if **name == *variable);
        ast.nodes().iter().any(|node| match node {
            Expr::Select { operand, field: name, .. } => **name == *field && is_variable(*operand),
            Expr::Call { target: None, function, args } if **function == *operators::OPT_SELECT => {
                matches!(args.as_slice(), [operand, name] if is_variable(*operand)
                    && matches!(ast.get(*name), Expr::Literal(Literal::String(name)) if **name == *field))
            }
            _ => false,
        })
    }

    /// What evaluations will cost at least and at most, when values have the sizes that are declared.
    pub fn estimate(&self, sizes: &dyn Sizes) -> CostRange {
        cost::estimate(&self.checked, sizes)
    }

    /// Evaluates. `limit`: the cost at which to give up ([`crate::PER_CALL_LIMIT`]).
    pub fn eval<'a>(&'a self, activation: &dyn Activation<'a>, limit: u64) -> Outcome<'a> {
        run::run(&self.node, self.locals, activation, limit)
    }
}
