//! What makes a schema structural. Upstream: `apiserver/schema/validation.go`.

use apimachinery::field::{Error, ErrorList, Path};
use schema::structural::{Pattern, Structural};
use serde_json::{Value, json};

use super::super::fields::{flag, list, members, text, there};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What is not structural in a schema, sorted by its text.
pub fn errors(schema: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, path, &mut errors);
    let mut told: Vec<(String, Error)> = errors.into_iter().map(|error| (error.to_string(), error)).collect();
    told.sort_by(|left, right| left.0.cmp(&right.0));
    let mut out = ErrorList::new();
    out.extend(told.into_iter().map(|(_, error)| error));
    out
}

pub(super) fn is_non_structural(schema: &Value) -> bool {
    Structural::new(schema).is_err() || !errors(schema, &Path::root()).is_empty()
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Vec<Error>) {
    let json_type = text(schema, "type");
    let items = there(schema, "items");
    if json_type == "array" && items.is_none() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    let properties = members(schema.get("properties").unwrap_or(&Value::Null));
    for (name, property) in properties {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = there(schema, "additionalProperties");
    if let Some(additional) = additional {
        let place = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&place, "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &place, errors);
        }
    }
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    if int_or_string {
        for (is, name) in
            [(preserve, "x-kubernetes-preserve-unknown-fields"), (embedded, "x-kubernetes-embedded-resource")]
        {
            if is {
                let why = "must be false if x-kubernetes-int-or-string is true";
                errors.push(Error::invalid(&path.child(name), true, why));
            }
        }
    }
    let skip = Skip { any_of: is_int_or_string(schema.get("anyOf")), first_all_of: all_of_int_or_string(schema) };
    value_validation(schema, skip, level, path, errors);

    let type_path = path.child("type");
    if embedded && json_type != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match json_type {
            "" => Error::required(&type_path, why),
            other => Error::invalid(&type_path, other, why),
        });
    } else if json_type.is_empty() && !int_or_string && !preserve {
        errors.push(Error::required(
            &type_path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if embedded && additional.is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), why));
    }
    if level == Level::Root && !json_type.is_empty() && json_type != "object" {
        errors.push(Error::invalid(&type_path, json_type, "must be object at the root"));
    }
    let is_resource = level == Level::Root || embedded;
    if is_resource {
        for name in ["kind", "apiVersion"] {
            if let Some(property) = properties.get(name).filter(|property| text(property, "type") != "string") {
                let place = path.child("properties").key(name).child("type");
                errors.push(Error::invalid(&place, text(property, "type"), "must be string"));
            }
        }
    }
    if let Some(metadata) = properties.get("metadata") {
        let place = path.child("properties").key("metadata");
        if is_resource && text(metadata, "type") != "object" {
            errors.push(Error::invalid(&place.child("type"), text(metadata, "type"), "must be object"));
        }
        if level == Level::Root && says_more_than_names(metadata) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(Error::forbidden(&place, why));
        }
    }
    if embedded && !preserve && properties.is_empty() {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), why));
    }
}

/// Whether a root's metadata says more than its type and what names may be.
fn says_more_than_names(metadata: &Value) -> bool {
    members(metadata).iter().any(|(name, value)| match name.as_str() {
        "type" | "default" => false,
        "properties" => members(value).keys().any(|name| !matches!(name.as_str(), "name" | "generateName")),
        _ => !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != &json!([]),
    })
}

fn is_int_or_string(any_of: Option<&Value>) -> bool {
    any_of == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}

fn all_of_int_or_string(schema: &Value) -> bool {
    list(schema, "allOf").first().is_some_and(|first| is_int_or_string(first.get("anyOf")))
}

/// Alternatives of types that are allowed: those of `x-kubernetes-int-or-string`.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

fn value_validation(schema: &Value, skip: Skip, level: Level, path: &Path, errors: &mut Vec<Error>) {
    if !skip.any_of {
        for (index, clause) in list(schema, "anyOf").iter().enumerate() {
            nested(clause, Skip::default(), level, &path.child("anyOf").index(index), errors);
        }
    }
    for (index, clause) in list(schema, "allOf").iter().enumerate() {
        let skip = Skip { any_of: skip.first_all_of && index == 0, first_all_of: false };
        nested(clause, skip, level, &path.child("allOf").index(index), errors);
    }
    for (index, clause) in list(schema, "oneOf").iter().enumerate() {
        nested(clause, Skip::default(), level, &path.child("oneOf").index(index), errors);
    }
    if let Some(not) = there(schema, "not") {
        nested(not, Skip::default(), level, &path.child("not"), errors);
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty()
        && let Err(why) = Pattern::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(Error::invalid(&path.child("pattern"), pattern, why));
    }
}

fn nested(schema: &Value, skip: Skip, level: Level, path: &Path, errors: &mut Vec<Error>) {
    value_validation(schema, skip, level, path, errors);
    if let Some(items) = there(schema, "items") {
        nested(items, Skip::default(), level, &path.child("items"), errors);
    }
    let properties = members(schema.get("properties").unwrap_or(&Value::Null));
    for (name, property) in properties {
        nested(property, Skip::default(), Level::Field, &path.child("properties").key(name), errors);
    }
    let mut forbid = |name: &str, is: bool, why: &str| {
        if is {
            errors.push(Error::forbidden(&path.child(name), why));
        }
    };
    let filled = |name: &str| !text(schema, name).is_empty();
    forbid("type", filled("type"), "must be empty to be structural");
    let additional = there(schema, "additionalProperties").is_some_and(|value| value != &Value::Bool(false));
    forbid("additionalProperties", additional, "must be undefined to be structural");
    forbid("default", there(schema, "default").is_some(), "must be undefined to be structural");
    forbid("title", filled("title"), "must be empty to be structural");
    forbid("description", filled("description"), "must be empty to be structural");
    forbid("nullable", flag(schema, "nullable"), "must be false to be structural");
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"]
    {
        forbid(name, flag(schema, name), "must be false to be structural");
    }
    let keys = !list(schema, "x-kubernetes-list-map-keys").is_empty();
    forbid("x-kubernetes-list-map-keys", keys, "must be empty to be structural");
    for name in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
        forbid(name, there(schema, name).is_some(), "must be undefined to be structural");
    }
    let rules = !list(schema, "x-kubernetes-validations").is_empty();
    forbid("x-kubernetes-validations", rules, "must be empty to be structural");
    if properties.contains_key("metadata") {
        let place = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&place, "must not be specified in a nested context"));
    }
}

// === completeness: what alternatives name stands outside of them too. Upstream: `schema/complete.go`. ===

fn complete(schema: &Value, path: &Path, errors: &mut Vec<Error>) {
    clauses(schema, schema, path, errors);
    if let Some(items) = there(schema, "items") {
        complete(items, &path.child("items"), errors);
    }
    for (name, property) in members(schema.get("properties").unwrap_or(&Value::Null)) {
        complete(property, &path.child("properties").key(name), errors);
    }
    if let Some(additional) = there(schema, "additionalProperties").filter(|value| value.is_object()) {
        complete(additional, &path.child("additionalProperties"), errors);
    }
}

/// `outer` is what stands outside of the alternatives of `schema`.
fn clauses(schema: &Value, outer: &Value, path: &Path, errors: &mut Vec<Error>) {
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, clause) in list(schema, name).iter().enumerate() {
            clause_is_complete(clause, Some(outer), &path.child(name).index(index), path, errors);
        }
    }
    if let Some(not) = there(schema, "not") {
        clause_is_complete(not, Some(outer), &path.child("not"), path, errors);
    }
}

fn clause_is_complete(clause: &Value, outer: Option<&Value>, path: &Path, outer_path: &Path, errors: &mut Vec<Error>) {
    let Some(outer) = outer else {
        let why = format!("because it is defined in {path}");
        errors.push(Error::required(outer_path, why));
        return;
    };
    clauses_of_clause(clause, outer, path, outer_path, errors);
    if let Some(items) = there(clause, "items") {
        let outside = there(outer, "items");
        clause_is_complete(items, outside, &path.child("items"), &outer_path.child("items"), errors);
    }
    for (name, property) in members(clause.get("properties").unwrap_or(&Value::Null)) {
        let place = path.child("properties").key(name);
        let known = outer.get("properties").and_then(|properties| properties.get(name));
        match (known, there(outer, "additionalProperties").filter(|value| value.is_object())) {
            (Some(known), _) => {
                clause_is_complete(property, Some(known), &place, &outer_path.child("properties").key(name), errors);
            }
            (None, Some(additional)) => {
                let outside = outer_path.child("additionalProperties");
                clause_is_complete(property, Some(additional), &place, &outside, errors);
            }
            (None, None) => {
                clause_is_complete(property, None, &place, &outer_path.child("properties").key(name), errors);
            }
        }
    }
}

fn clauses_of_clause(clause: &Value, outer: &Value, path: &Path, outer_path: &Path, errors: &mut Vec<Error>) {
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in list(clause, name).iter().enumerate() {
            clause_is_complete(inner, Some(outer), &path.child(name).index(index), outer_path, errors);
        }
    }
    if let Some(not) = there(clause, "not") {
        clause_is_complete(not, Some(outer), &path.child("not"), outer_path, errors);
    }
}
