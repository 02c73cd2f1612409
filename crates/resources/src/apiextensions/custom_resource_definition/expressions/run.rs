//! Rules over an object, within one budget.

use apimachinery::field::{Error, ErrorList, ErrorType, Path, go_quote};
use cel::{EvalError, PER_CALL_LIMIT, Program, Value as Cel, schema::DeclType};
use schema::{structural::Rule, table::ListType};
use serde_json::Value;

use super::{Validator, compile::Compiled};

/// Longest message that an expression may give, in bytes. Upstream: `MaxEvaluatedMessageExpressionSizeBytes`.
const MAX_MESSAGE: usize = 5 * 1024;

/// One validation of an object.
#[derive(Debug)]
pub struct Run {
    pub errors: ErrorList,
    /// Errors of parts that did not change: told, but forgiven.
    pub warnings: Vec<String>,
    /// What is left; below zero, nothing more is run.
    budget: i64,
}

/// What a part of the object was before, for forgiving it.
#[derive(Clone, Copy)]
struct Before<'v> {
    /// The old value that is known to be of the same part.
    same: Option<&'v Value>,
    /// Of an uncorrelated part: whether the nearest ancestor that can be compared is what it was.
    unchanged_ancestor: bool,
}

impl Validator {
    /// Runs the rules over an object. With `ratchet`, what did not change is forgiven.
    pub fn validate(&self, value: &Value, old: Option<&Value>, ratchet: bool, path: &Path) -> Run {
        let budget = i64::try_from(cel::OBJECT_BUDGET).unwrap_or(i64::MAX);
        let mut run = Run { errors: ErrorList::new(), warnings: Vec::new(), budget };
        let before = Before { same: old.filter(|_| ratchet), unchanged_ancestor: false };
        self.node(value, old, before, path, true, &mut run);
        run
    }

    fn node(&self, value: &Value, old: Option<&Value>, before: Before<'_>, path: &Path, root: bool, run: &mut Run) {
        if value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        if !self.rules.is_empty() {
            self.rules(value, old, before, path, run);
        }
        let inherited =
            before.same.is_some_and(|same| same == value) || (before.same.is_none() && before.unchanged_ancestor);
        match value {
            Value::Object(members) if !self.properties.is_empty() || self.additional.is_some() => {
                for (name, member) in members {
                    if run.budget < 0 {
                        return;
                    }
                    let (below, place) = match (&self.additional, self.properties.get(name)) {
                        (_, Some(property)) => (property, path.child(name)),
                        (Some(additional), None) => (&**additional, path.key(name)),
                        (None, None) => continue,
                    };
                    let was = old.and_then(|old| old.get(name));
                    let before = if root && matches!(name.as_str(), "apiVersion" | "kind") {
                        Before { same: None, unchanged_ancestor: false }
                    } else {
                        Before { same: before.same.and_then(|same| same.get(name)), unchanged_ancestor: inherited }
                    };
                    below.node(member, was, before, &place, false, run);
                }
            }
            Value::Array(items) => {
                let Some(below) = &self.items else { return };
                for (index, item) in items.iter().enumerate() {
                    if run.budget < 0 {
                        return;
                    }
                    let was = old.and_then(|old| self.correlated(item, old));
                    let same = before.same.and_then(|same| self.correlated(item, same));
                    let before = Before { same, unchanged_ancestor: inherited };
                    below.node(item, was, before, &path.index(index), false, run);
                }
            }
            _ => {}
        }
    }

    /// The element of an old list that is the same one: known only in lists of type `map`.
    fn correlated<'v>(&self, item: &Value, old: &'v Value) -> Option<&'v Value> {
        let Some(ListType::Map { keys }) = &self.list else { return None };
        let has_keys = |other: &&Value| keys.iter().all(|key| other.get(key.as_ref()) == item.get(key.as_ref()));
        old.as_array()?.iter().find(has_keys)
    }

    fn rules(&self, value: &Value, old: Option<&Value>, before: Before<'_>, path: &Path, run: &mut Run) {
        let invalid = |why: String| Error::invalid(path, self.json_type.as_str(), why);
        if run.budget <= 0 {
            let why = "validation failed due to running out of cost budget, no further validation rules will be run";
            run.errors.push(invalid(why.to_owned()));
            run.budget = -1;
            return;
        }
        let unchanged = match before.same {
            Some(same) => same == value,
            None => before.unchanged_ancestor,
        };
        for compiled in &self.rules {
            let rule = &compiled.rule;
            let program = match &compiled.program {
                None => continue,
                Some(Err(why)) => {
                    run.errors.push(invalid(format!("rule compile error: {why}")));
                    continue;
                }
                Some(Ok(program)) => program,
            };
            let optional = rule.optional_old_self == Some(true);
            if compiled.uses_old && old.is_none() && !optional {
                continue;
            }
            let variables = variables(&self.decl, value, old, optional);
            let outcome = program.eval(&variables.as_slice(), PER_CALL_LIMIT);
            let cost = i64::try_from(outcome.cost).unwrap_or(i64::MAX);
            if cost > run.budget {
                let why =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                run.errors.push(invalid(why.to_owned()));
                run.budget = -1;
                return;
            }
            run.budget -= cost;
            match outcome.result {
                Ok(Cel::Bool(true)) => continue,
                Ok(_) => {}
                Err(EvalError::CostLimit) => {
                    let error = EvalError::CostLimit;
                    run.errors.push(invalid(format!(
                        "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                        words(rule)
                    )));
                    run.budget = -1;
                    return;
                }
                Err(error) if error.to_string().starts_with("no such overload") => {
                    run.errors.push(invalid(format!(
                        "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                        words(rule)
                    )));
                    continue;
                }
                Err(error) => {
                    run.errors.push(invalid(format!("{error} evaluating rule: {}", words(rule))));
                    continue;
                }
            }
            let forgiven = unchanged && !compiled.uses_old;
            if !self.fail(compiled, &variables, value, forgiven, path, run) {
                return;
            }
        }
    }

    /// Tells of a rule that is not held. False when nothing more may be run.
    fn fail(
        &self,
        compiled: &Compiled,
        variables: &[(&str, Cel<'_>)],
        value: &Value,
        forgiven: bool,
        path: &Path,
        run: &mut Run,
    ) -> bool {
        let rule = &compiled.rule;
        let place = if compiled.field_path.is_empty() { path.clone() } else { path.child(&compiled.field_path) };
        let mut detail = None;
        if let Some(Ok(message)) = &compiled.message {
            match self.message(message, rule, variables, run) {
                Ok(text) => detail = text,
                Err(why) => {
                    let error = Error::invalid(&place, self.json_type.as_str(), why);
                    tell(error, forgiven, run);
                    run.budget = -1;
                    return false;
                }
            }
        }
        let detail = detail.unwrap_or_else(|| {
            if rule.message.is_empty() {
                format!("failed rule: {}", words(rule))
            } else {
                rule.message.trim().to_owned()
            }
        });
        let shown = (!matches!(self.json_type.as_str(), "object" | "array")).then(|| value.clone());
        let error = match rule.reason.as_str() {
            "FieldValueForbidden" => Error::forbidden(&place, detail),
            "FieldValueRequired" => Error::required(&place, detail),
            "FieldValueDuplicate" => {
                Error { kind: ErrorType::Duplicate, field: place.to_string(), value: shown, detail: String::new() }
            }
            _ => match shown {
                Some(value) => Error::invalid(&place, value, detail),
                None => Error::invalid_unsaid(&place, detail),
            },
        };
        tell(error, forgiven, run);
        true
    }

    /// The text that a message expression gives; none where it gives none that can be used.
    fn message(
        &self,
        program: &Program,
        rule: &Rule,
        variables: &[(&str, Cel<'_>)],
        run: &mut Run,
    ) -> Result<Option<String>, String> {
        let outcome = program.eval(&variables, PER_CALL_LIMIT);
        let cost = i64::try_from(outcome.cost).unwrap_or(i64::MAX);
        if cost > run.budget {
            let why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            return Err(why.to_owned());
        }
        if let Err(EvalError::CostLimit) = outcome.result {
            return Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                go_quote(&rule.message_expression)
            ));
        }
        run.budget -= cost;
        let text = match &outcome.result {
            Ok(value) => value.as_str().unwrap_or_default().trim().to_owned(),
            Err(error) => {
                tracing::debug!(%error, "messageExpression gives no message");
                return Ok(None);
            }
        };
        let usable = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
        Ok(usable.then_some(text))
    }
}

fn tell(error: Error, forgiven: bool, run: &mut Run) {
    if forgiven {
        run.warnings.push(error.to_string());
    } else {
        run.errors.push(error);
    }
}

/// `self` and `oldSelf`. An absent `oldSelf` is none only where it is optional.
fn variables<'v>(
    decl: &'v DeclType,
    value: &'v Value,
    old: Option<&'v Value>,
    optional: bool,
) -> Vec<(&'static str, Cel<'v>)> {
    let mut out = vec![("self", Cel::typed(value, Some(decl)))];
    let old = old.map(|old| Cel::typed(old, Some(decl)));
    match (optional, old) {
        (true, Some(old)) => out.push(("oldSelf", Cel::some(old))),
        (true, None) => out.push(("oldSelf", Cel::NONE)),
        (false, Some(old)) => out.push(("oldSelf", old)),
        (false, None) => {}
    }
    out
}

/// How messages name a rule.
fn words(rule: &Rule) -> &str {
    if rule.message.is_empty() { rule.rule.trim() } else { rule.message.trim() }
}
