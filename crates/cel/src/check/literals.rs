//! Literals that cannot mean anything: times, durations and patterns that do not parse.
//!
//! Upstream counterpart: `cel-go/cel/validator.go`; Kubernetes turns these on for expressions from 1.29.

use super::Checked;
use crate::{
    ast::{Ast, Expr, Id, Literal},
    env::Env,
    error::Issues,
    functions::{pattern, time},
};

const SINCE: u32 = 29;

pub(super) fn validate(checked: &Checked, env: &Env, issues: &mut Issues) {
    if env.version() < SINCE {
        return;
    }
    let ast = &checked.ast;
    for index in 0..ast.len() {
        let id = Id(u32::try_from(index).unwrap_or(u32::MAX));
        let Expr::Call { target, function, args } = ast.get(id) else { continue };
        let (name, arg) = match (&**function, target, args.as_slice()) {
            ("duration", None, [arg]) => ("duration", *arg),
            ("timestamp", None, [arg]) => ("timestamp", *arg),
            ("matches", Some(_), [arg]) | ("matches", None, [_, arg]) => ("matches", *arg),
            _ => continue,
        };
        let Some(text) = string(ast, arg) else { continue };
        let good = match name {
            "duration" => time::parse_duration(text).is_ok(),
            "timestamp" => time::parse_timestamp(text).is_ok(),
            _ => pattern::compile(text).is_ok(),
        };
        if !good {
            issues.at(ast.offset(arg), format!("invalid {name} argument"));
        }
    }
}

fn string(ast: &Ast, id: Id) -> Option<&str> {
    match ast.get(id) {
        Expr::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}
