//! The Common Expression Language as Kubernetes v1.36 has it.
//!
//! ```ignore
//! let env = Env::new(Mode::NewExpressions).with("object", Type::Dyn);
//! let program = env.compile("object.spec.replicas <= 5")?;      // CompileError displays as upstream's
//! let variables = [("object", Value::json(&object))];
//! let outcome = program.eval(&variables.as_slice(), PER_CALL_LIMIT);
//! outcome.result?.as_bool();                                      // outcome.cost goes against a budget
//! ```
//!
//! - [`Env`]: declared variables and the functions of a version; [`Env::compile`] parses, checks and plans.
//! - [`Program`]: evaluated as often as one likes, by many threads; estimates its cost from sizes ([`Program::estimate`]).
//! - [`Value`]: borrows from `serde_json::Value`; [`schema::DeclType`] gives JSON the types a schema declares.
//! - [`Activation`]: where variables come from; it may answer fields lazily.
//! - [`Authorizer`]: answers `authorizer` checks.
//! - [`admission`]: the variables of match conditions and admission policies.
//!
//! Invariants: no I/O but the system's time zones, no clock, no tasks. Nothing that an expression says can panic,
//! recurse without bound or cost more than its limit. An error is absorbed by `||`, `&&`, `all` and `exists` where the
//! other side decides; the cost limit is not.
//!
//! Upstream counterparts: `google/cel-go`, `k8s.io/apiserver/pkg/cel`.

pub mod admission;
mod ast;
mod check;
mod cost;
mod env;
mod error;
mod eval;
mod functions;
mod library;
pub mod schema;
mod syntax;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use cost::{CostRange, NoSizes, PathPart, Sizes};
pub use env::{Env, Mode};
pub use error::{CompileError, EvalError, Issue};
pub use eval::{Activation, Outcome, Program};
pub use types::{StructType, Type, TypeProvider};
pub use value::{
    Authorizer, Checked as AuthorizerAnswer, List, Map, MapBuilder, Object, Opaque, PathCheck, ResourceCheck, Str,
    Timestamp, Value, compare, equal,
};

/// Cost that one evaluation may have. Upstream: `apis/cel.PerCallLimit`.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Cost that all expressions of one policy, or one custom resource, may have together.
/// Upstream: `apis/cel.RuntimeCELCostBudget`.
pub const OBJECT_BUDGET: u64 = 10_000_000;
/// The same for a webhook's match conditions. Upstream: `RuntimeCELCostBudgetMatchConditions`.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;
