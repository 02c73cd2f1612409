//! From a rule to programs, and what they may cost.

use cel::{Env, Mode, Program, Type, schema::DeclType};
use schema::structural::Rule;
use serde_json::Value;

use super::super::fields::there;

/// A rule, or why it is none.
#[derive(Debug)]
pub(in super::super) struct Compiled {
    pub(in super::super) rule: Rule,
    /// None: the rule is empty.
    pub(in super::super) program: Option<Result<Program, String>>,
    pub(in super::super) message: Option<Result<Program, String>>,
    pub(in super::super) uses_old: bool,
    /// Largest estimated cost of one evaluation.
    pub(in super::super) cost: u64,
    pub(in super::super) message_cost: u64,
    /// The rule's `fieldPath` as paths of errors are written.
    pub(in super::super) field_path: String,
}

/// Compiles one rule of a node. The modes say whether the expressions are new or were stored before.
pub(in super::super) fn compile(
    schema: &Value,
    decl: &DeclType,
    rule: &Rule,
    mode: Mode,
    message_mode: Mode,
) -> Compiled {
    let mut compiled = Compiled {
        rule: rule.clone(),
        program: None,
        message: None,
        uses_old: false,
        cost: 0,
        message_cost: 0,
        field_path: normalised(&rule.field_path, schema),
    };
    if rule.rule.trim().is_empty() {
        return compiled;
    }
    let old = match rule.optional_old_self {
        Some(true) => Type::optional(decl.ty.clone()),
        _ => decl.ty.clone(),
    };
    let env = |mode: Mode| Env::new(mode).with("self", decl.ty.clone()).with("oldSelf", old.clone());
    let program = match env(mode).compile(&rule.rule) {
        Ok(program) if program.output_type() != &Type::Bool => Err("cel expression must evaluate to a bool".to_owned()),
        Ok(program) => {
            compiled.uses_old = program.uses("oldSelf");
            compiled.cost = program.estimate(decl).max;
            Ok(program)
        }
        Err(error) => Err(error.detail()),
    };
    let failed = program.is_err();
    compiled.program = Some(program);
    if failed || rule.message_expression.is_empty() {
        return compiled;
    }
    compiled.message = Some(match env(message_mode).compile(&rule.message_expression) {
        Ok(program) if program.output_type() != &Type::String => {
            Err("messageExpression must evaluate to a string".to_owned())
        }
        Ok(program) => {
            compiled.message_cost = program.estimate(decl).max;
            Ok(program)
        }
        Err(error) => Err(format!("messageExpression {}", error.detail().replacen("program ", "", 1))),
    });
    compiled
}

/// `.a['b']` as `a.b`, and a key of a map in brackets.
fn normalised(field_path: &str, schema: &Value) -> String {
    let mut out = String::new();
    let mut node = Some(schema);
    for (name, _) in super::super::validation::path_steps(field_path).unwrap_or_default() {
        let property = node.and_then(|node| node.get("properties")).filter(|known| known.is_object());
        if property.is_some() {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&name);
            node = property.and_then(|known| known.get(&name));
        } else {
            out.push_str(&format!("[{name}]"));
            node = node.and_then(|node| there(node, "additionalProperties"));
        }
    }
    out
}
