//! `x-kubernetes-validations` of a schema.

use apimachinery::field::{Error, ErrorList, Path};
use cel::{Mode, schema::DeclType};
use schema::structural::Rule;
use serde_json::Value;

use super::super::{
    expressions::{compile, property_decl, rules_of},
    fields::{flag, list, members, text, there},
};
use super::old::Forgiven;

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
    let Some(steps) = path_steps(path) else { return false };
    let mut node = schema;
    for (name, _) in steps {
        let properties = there(node, "properties").filter(|properties| !members(properties).is_empty());
        let next = match properties {
            Some(properties) => properties.get(&name),
            None => there(node, "additionalProperties").filter(|value| value.is_object()),
        };
        match next {
            Some(next) => node = next,
            None => return false,
        }
    }
    true
}

/// The names of a path, and whether each was in brackets; none when it is no path.
pub(in super::super) fn path_steps(path: &str) -> Option<Vec<(String, bool)>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("['") {
            let mut name = String::new();
            let mut characters = inner.char_indices();
            let end = loop {
                match characters.next()? {
                    (_, '\\') => name.push(match characters.next()?.1 {
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{b}',
                        c @ ('\'' | '\\') => c,
                        _ => return None,
                    }),
                    (at, '\'') => break at + 1,
                    (_, c) => name.push(c),
                }
            };
            rest = inner.get(end..)?.strip_prefix(']')?;
            steps.push((name, true));
        } else {
            let inner = rest.strip_prefix('.')?;
            let end = inner.find(['.', '[', ']']).unwrap_or(inner.len());
            if end == 0 {
                return None;
            }
            steps.push((inner[..end].to_owned(), false));
            rest = &inner[end..];
        }
    }
    Some(steps)
}

/// Largest estimated cost of one expression. Upstream: `StaticEstimatedCostLimit`.
const MOST_EACH: u64 = 10_000_000;
/// Of all expressions of a version's schema together. Upstream: `StaticEstimatedCRDCostLimit`.
const MOST_TOGETHER: u64 = 100_000_000;

/// What is wrong with the expressions of a sound schema, and whether they cost too much.
pub(super) fn errors(schema: &Value, forgiven: &Forgiven, costs_are_known: bool, path: &Path) -> ErrorList {
    let mut walker = Walker { forgiven, costs_are_known, errors: ErrorList::new(), total: 0, costly: Vec::new() };
    walker.node(schema, &Site { is_resource: true, decl: None, cardinality: Some(1), uncorrelatable: None }, path);
    let Walker { mut errors, total, costly, .. } = walker;
    if total > MOST_TOGETHER {
        for (place, _) in costly {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(Error::forbidden(&place, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, too_costly(what, total, MOST_TOGETHER)));
    }
    errors
}

/// Upstream: `getCostErrorMessage`.
fn too_costly(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Where a node stands.
struct Site {
    is_resource: bool,
    /// Made from the parent's, once there is a rule above.
    decl: Option<DeclType>,
    /// How often the node can be in one object; none: nothing bounds it.
    cardinality: Option<u64>,
    /// The nearest ancestor whose elements cannot be found again in an older object.
    uncorrelatable: Option<Path>,
}

struct Walker<'a> {
    forgiven: &'a Forgiven,
    costs_are_known: bool,
    errors: ErrorList,
    total: u64,
    costly: Vec<(Path, u64)>,
}

impl Walker<'_> {
    fn node(&mut self, schema: &Value, site: &Site, path: &Path) {
        if !schema.is_object() {
            return;
        }
        let rules = rules_of(schema);
        let decl = match (&site.decl, rules.is_empty()) {
            (Some(decl), _) => Some(decl.clone()),
            (None, false) => DeclType::from_schema("self", schema, site.is_resource),
            (None, true) => None,
        };
        let below = |decl: Option<DeclType>, schema_below: &Value, uncorrelatable: Option<Path>| Site {
            is_resource: flag(schema_below, "x-kubernetes-embedded-resource"),
            decl,
            cardinality: site
                .cardinality
                .and_then(|times| most_elements(schema).map(|most| times.saturating_mul(most))),
            uncorrelatable,
        };
        let element = decl.as_ref().and_then(|decl| decl.element().cloned());
        if let Some(values) = there(schema, "additionalProperties").filter(|values| values.is_object()) {
            let site = below(element.clone(), values, site.uncorrelatable.clone());
            self.node(values, &site, &path.child("additionalProperties"));
        }
        for (name, property) in members(schema.get("properties").unwrap_or(&Value::Null)) {
            let decl = decl.as_ref().and_then(|decl| property_decl(decl, name, property));
            let site = below(decl, property, site.uncorrelatable.clone());
            self.node(property, &site, &path.child("properties").key(name));
        }
        if let Some(items) = there(schema, "items").filter(|items| items.is_object()) {
            let lost = text(schema, "x-kubernetes-list-type") != "map";
            let uncorrelatable = site.uncorrelatable.clone().or_else(|| lost.then(|| path.clone()));
            self.node(items, &below(element, items, uncorrelatable), &path.child("items"));
        }
        if rules.is_empty() {
            return;
        }
        let rules_path = path.child("x-kubernetes-validations");
        let Some(decl) = decl else {
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.push(Error::internal(&rules_path, why));
            return;
        };
        for (index, rule) in rules.iter().enumerate() {
            let shown = list(schema, "x-kubernetes-validations").get(index).cloned().unwrap_or_default();
            self.rule(schema, &decl, rule, shown, site, &rules_path.index(index));
        }
    }

    fn rule(&mut self, schema: &Value, decl: &DeclType, rule: &Rule, shown: Value, site: &Site, path: &Path) {
        let mode = |known: bool| if known { Mode::StoredExpressions } else { Mode::NewExpressions };
        let known = mode(self.forgiven.rules.contains(&rule.rule));
        let known_message = mode(self.forgiven.message_expressions.contains(&rule.message_expression));
        let compiled = compile(schema, decl, rule, known, known_message);
        let times = site.cardinality.unwrap_or_else(|| cel::schema::max_cardinality(decl.min_serialized_size));
        self.cost(&path.child("rule"), compiled.cost.saturating_mul(times), "estimated rule cost");
        if let Some(Err(why)) = &compiled.program {
            self.errors.push(Error::invalid(&path.child("rule"), shown.clone(), why.as_str()));
        }
        match &compiled.message {
            Some(Err(why)) => self.errors.push(Error::invalid(&path.child("messageExpression"), shown, why.as_str())),
            Some(Ok(_)) => {
                let place = path.child("messageExpression");
                self.cost(&place, compiled.message_cost, "estimated messageExpression cost");
            }
            None => {}
        }
        if compiled.uses_old {
            if let Some(ancestor) = &site.uncorrelatable {
                let why =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {ancestor}");
                self.errors.push(Error::invalid(&path.child("rule"), rule.rule.as_str(), why));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, why));
        }
    }

    fn cost(&mut self, path: &Path, cost: u64, what: &str) {
        if !self.costs_are_known && cost > MOST_EACH {
            self.errors.push(Error::forbidden(path, too_costly(what, cost, MOST_EACH)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= MOST_TOGETHER / 100 {
            self.costly.push((path.clone(), cost));
            self.costly.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.costly.truncate(4);
        }
    }
}

/// By how much a node multiplies what is below it; none: nothing bounds it. Upstream: `extractMaxElements`.
fn most_elements(schema: &Value) -> Option<u64> {
    let most = |name: &str| schema.get(name).and_then(Value::as_i64).map(|most| most.max(0).unsigned_abs());
    match text(schema, "type") {
        "object" if there(schema, "additionalProperties").is_some() => most("maxProperties"),
        "array" => most("maxItems"),
        _ => Some(1),
    }
}
