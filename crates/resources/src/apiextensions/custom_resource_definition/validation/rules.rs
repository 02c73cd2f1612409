//! `x-kubernetes-validations` of a schema.

use apimachinery::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::super::fields::{list, text, there};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What can be said of rules without reading their expressions.
pub(super) fn shape(schema: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let place = path.child("x-kubernetes-validations").index(index);
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        let trimmed = message.trim();
        if expression.is_empty() {
            errors.push(Error::required(&place.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && trimmed.is_empty() {
            errors.push(Error::invalid(&place.child("message"), message, "must be non-empty if specified"));
        } else if breaks(trimmed) {
            errors.push(Error::invalid(&place.child("message"), message, "must not contain line breaks"));
        } else if breaks(expression) && trimmed.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(Error::required(&place.child("message"), why));
        }
        let message_expression = text(rule, "messageExpression");
        if !message_expression.is_empty() && message_expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(Error::required(&place.child("messageExpression"), why));
        }
        if let Some(reason) = there(rule, "reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason)) {
            errors.push(Error::not_supported(&place.child("reason"), reason, &REASONS));
        }
        let field_path = text(rule, "fieldPath");
        if field_path.is_empty() {
            continue;
        }
        let place = place.child("fieldPath");
        if field_path.trim().is_empty() {
            errors.push(Error::invalid(&place, field_path, "must be non-empty if specified"));
        }
        if breaks(field_path) {
            errors.push(Error::invalid(&place, field_path, "must not contain line breaks"));
        }
        if !names_a_field(field_path, schema) {
            errors.push(Error::invalid(&place, field_path, "must be a valid path"));
        }
    }
    errors
}

/// Whether a path of `.name` and `['name']` steps leads somewhere in the schema. Upstream: `cel.ValidFieldPath`.
fn names_a_field(path: &str, schema: &Value) -> bool {
    let mut node = schema;
    let mut rest = path.trim();
    while !rest.is_empty() {
        let (name, quoted, after) = if let Some(inner) = rest.strip_prefix("['") {
            match inner.split_once("']") {
                Some((name, after)) => (name, true, after),
                None => return false,
            }
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            (&inner[..end], false, &inner[end..])
        } else {
            return false;
        };
        if name.is_empty() {
            return false;
        }
        let property = node.get("properties").and_then(|properties| properties.get(name));
        let additional = there(node, "additionalProperties").filter(|value| value.is_object() && quoted);
        node = match property.or(additional) {
            Some(next) => next,
            None => return false,
        };
        rest = after;
    }
    true
}
