//! Validation rules of a schema, compiled: a tree beside the schema's, with nodes only where rules are.
//!
//! Upstream: `apiserver/schema/cel/{compilation,validation}.go`.

mod compile;
mod run;

use std::collections::BTreeMap;

use cel::{Mode, schema::DeclType};
use schema::{structural::Structural, table::ListType};
use serde_json::Value;

pub(super) use compile::{Compiled, compile};
pub use run::Run;

use super::fields::{flag, list, members, text, there};

/// The rules of a node and of what is below it.
#[derive(Debug)]
pub struct Validator {
    rules: Vec<Compiled>,
    decl: DeclType,
    /// As messages name it: `object`, or nothing.
    json_type: String,
    list: Option<ListType>,
    properties: BTreeMap<String, Validator>,
    additional: Option<Box<Validator>>,
    items: Option<Box<Validator>>,
}

impl Validator {
    /// Of a stored schema; none when there is no rule in it. `is_resource`: it is that of a whole resource.
    pub fn new(schema: &Value, is_resource: bool) -> Option<Self> {
        let decl = DeclType::from_schema("self", schema, is_resource)?;
        node(schema, decl)
    }
}

fn node(schema: &Value, decl: DeclType) -> Option<Validator> {
    let rules: Vec<Compiled> = rules_of(schema)
        .iter()
        .map(|rule| compile(schema, &decl, rule, Mode::StoredExpressions, Mode::StoredExpressions))
        .collect();
    let mut properties = BTreeMap::new();
    for (name, property) in members(schema.get("properties").unwrap_or(&Value::Null)) {
        if let Some(below) = property_decl(&decl, name, property).and_then(|decl| node(property, decl)) {
            properties.insert(name.clone(), below);
        }
    }
    let element = |name: &str| {
        let below = there(schema, name).filter(|below| below.is_object())?;
        node(below, decl.element()?.clone()).map(Box::new)
    };
    let (items, additional) = (element("items"), element("additionalProperties"));
    if rules.is_empty() && properties.is_empty() && items.is_none() && additional.is_none() {
        return None;
    }
    let list = match text(schema, "x-kubernetes-list-type") {
        "map" => Structural::new(schema).ok().and_then(|tree| tree.list),
        _ => None,
    };
    let json_type = text(schema, "type").to_owned();
    Some(Validator { rules, decl, json_type, list, properties, additional, items })
}

/// The declared type of a member. One whose name cannot be written in expressions has a type of its own.
pub(super) fn property_decl(decl: &DeclType, name: &str, property: &Value) -> Option<DeclType> {
    match cel::schema::escape(name) {
        Some(escaped) => decl.field(&escaped).cloned(),
        None => DeclType::from_schema("self", property, flag(property, "x-kubernetes-embedded-resource")),
    }
}

pub(super) fn rules_of(schema: &Value) -> Vec<schema::structural::Rule> {
    list(schema, "x-kubernetes-validations")
        .iter()
        .map(|rule| schema::structural::Rule {
            rule: text(rule, "rule").to_owned(),
            message: text(rule, "message").to_owned(),
            message_expression: text(rule, "messageExpression").to_owned(),
            reason: text(rule, "reason").to_owned(),
            field_path: text(rule, "fieldPath").to_owned(),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        })
        .collect()
}

#[cfg(test)]
mod tests;
