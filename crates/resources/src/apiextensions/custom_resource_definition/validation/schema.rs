//! What a schema may say. Upstream: `ValidateCustomResourceDefinitionOpenAPISchema` and what surrounds it.

use apimachinery::field::{Error, ErrorList, Path};
use schema::structural::Structural;
use serde_json::Value;

use super::super::fields::{flag, list, members, text, texts, there};
use super::{defaults, old::Forgiven, rules, structural};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Beside these a root may say nothing, when the status is validated by itself.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
const AT_ROOT_WORDS: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";

/// Errors of one version's schema, or of the one that all versions share.
pub(super) fn validation(
    schema: &Value,
    version: &str,
    has_status: bool,
    structural_required: bool,
    forgiven: &Forgiven,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let place = path.child("openAPIV3Schema");
    if has_status {
        if !text(schema, "type").is_empty() && text(schema, "type") != "object" {
            let why =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            errors.push(Error::invalid(&path.child("openAPIV3Schema.type"), text(schema, "type"), why));
        } else if members(schema).iter().any(|(name, value)| !AT_ROOT.contains(&name.as_str()) && !is_zero(value)) {
            let why = format!(
                "only {AT_ROOT_WORDS} fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.push(Error::invalid(&place, schema.clone(), why));
        }
    }
    if flag(schema, "nullable") {
        errors.push(Error::forbidden(&path.child("openAPIV3Schema.nullable"), "nullable cannot be true at the root"));
    }
    let mut not_a_tree = None;
    let mut is_tree = false;
    if structural_required {
        match Structural::new(schema) {
            Err(why) => not_a_tree = Some(why),
            Ok(found) => {
                let mut wrong = structural::errors(schema, &place);
                if wrong.is_empty() {
                    wrong = defaults::errors(schema, &found, !forgiven.unpruned_defaults, &place);
                    is_tree = wrong.is_empty();
                }
                errors.append(wrong);
            }
        }
    }
    let mut walker = Walker { forgiven, schema_errors: ErrorList::new() };
    walker.node(schema, &place, &Place { is_root: true, ..Place::default() });
    let Walker { schema_errors, .. } = walker;
    let is_sound = schema_errors.is_empty();
    errors.append(schema_errors);
    if errors.is_empty()
        && let Some(why) = not_a_tree
    {
        errors.push(Error::invalid(&place, "", why));
    }
    if is_tree && is_sound {
        errors.append(rules::errors(schema, forgiven, forgiven.costs(version), &place));
    }
    errors
}

/// Where a node stands.
#[derive(Clone, Default)]
struct Place {
    is_root: bool,
    /// Why there may be no default here.
    no_default: Option<String>,
    inside_meta: bool,
}

struct Walker<'a> {
    forgiven: &'a Forgiven,
    schema_errors: ErrorList,
}

impl Walker<'_> {
    fn push(&mut self, error: Error) {
        self.schema_errors.push(error);
    }

    fn node(&mut self, schema: &Value, path: &Path, place: &Place) {
        if !schema.is_object() {
            return;
        }
        self.standard(schema, path, place);
        if flag(schema, "uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.push(Error::forbidden(&path.child("uniqueItems"), why));
        }
        self.additional(schema, path, place);
        self.properties(schema, path, place);
        self.logic(schema, path, place);
        self.items(schema, path, place);
        self.extensions(schema, path);
        if !self.forgiven.list_map_keys {
            self.schema_errors.append(list_map_keys(schema, path));
        }
        let rules = list(schema, "x-kubernetes-validations");
        if !rules.is_empty() {
            self.schema_errors.append(rules::shape(schema, path));
        }
    }

    /// Upstream: `specStandardValidatorV3.validate`.
    fn standard(&mut self, schema: &Value, path: &Path, place: &Place) {
        let json_type = text(schema, "type");
        if !self.forgiven.invalid_types && has_invalid_type(schema) {
            self.push(Error::not_supported(&path.child("type"), json_type, &TYPES));
        }
        if let (Some(_), Some(why)) = (there(schema, "default"), &place.no_default) {
            self.push(Error::forbidden(&path.child("default"), format!("must not be set {why}")));
        }
        for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            if there(schema, name).is_some_and(|value| !is_zero(value) || name == "additionalItems") {
                self.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
            }
        }
        if json_type == "null" {
            let why = "type cannot be set to null, use nullable as an alternative";
            self.push(Error::forbidden(&path.child("type"), why));
        }
        if !list(schema, "items").is_empty() {
            self.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
        }
        if place.inside_meta && flag(schema, "x-kubernetes-embedded-resource") {
            let why = "must not be used inside of resource meta";
            self.push(Error::forbidden(&path.child("x-kubernetes-embedded-resource"), why));
        }
    }

    fn additional(&mut self, schema: &Value, path: &Path, place: &Place) {
        let Some(additional) = there(schema, "additionalProperties") else { return };
        let has_properties = schema.get("properties").is_some_and(|properties| !members(properties).is_empty());
        if has_properties && additional != &Value::Bool(true) {
            let why = "additionalProperties and properties are mutual exclusive";
            self.push(Error::forbidden(&path.child("additionalProperties"), why));
        }
        let mut below = Place { is_root: false, ..place.clone() };
        if place.inside_meta {
            below.no_default = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        self.node(additional, &path.child("additionalProperties"), &below);
    }

    fn properties(&mut self, schema: &Value, path: &Path, place: &Place) {
        let Some(properties) = schema.get("properties") else { return };
        let is_resource = place.is_root || flag(schema, "x-kubernetes-embedded-resource");
        for (name, property) in members(properties) {
            let mut below = Place { is_root: false, ..place.clone() };
            if is_resource && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                below.inside_meta = true;
                if place.is_root {
                    below.no_default = Some(format!("in top-level {name}"));
                }
            }
            self.node(property, &path.child("properties").key(name), &below);
        }
    }

    fn logic(&mut self, schema: &Value, path: &Path, place: &Place) {
        let below = Place { is_root: false, ..place.clone() };
        if let Some(not) = schema.get("not") {
            self.node(not, &path.child("not"), &below);
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            for (index, clause) in list(schema, name).iter().enumerate() {
                self.node(clause, &path.child(name).index(index), &below);
            }
        }
        for name in ["definitions", "dependencies"] {
            if let Some(named) = schema.get(name) {
                for (key, clause) in members(named) {
                    self.node(clause, &path.child(name).key(key), &below);
                }
            }
        }
    }

    fn items(&mut self, schema: &Value, path: &Path, place: &Place) {
        let Some(items) = there(schema, "items") else { return };
        let below = Place { is_root: false, ..place.clone() };
        match items {
            Value::Array(several) => {
                for (index, one) in several.iter().enumerate() {
                    self.node(one, &path.child("items").index(index), &below);
                }
            }
            one => self.node(one, &path.child("items"), &below),
        }
    }

    fn extensions(&mut self, schema: &Value, path: &Path) {
        let json_type = text(schema, "type");
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let place = path.child("x-kubernetes-preserve-unknown-fields");
            self.push(Error::invalid(&place, false, "must be true or undefined"));
        }
        let mut wants = |wanted: &str, extension: &str| {
            let why = format!("must be {wanted} if {extension} is specified");
            let place = path.child("type");
            self.schema_errors.push(match json_type {
                "" => Error::required(&place, why),
                other => Error::invalid(&place, other, why),
            });
        };
        let map_type = there(schema, "x-kubernetes-map-type").and_then(Value::as_str);
        if map_type.is_some() && json_type != "object" {
            wants("object", "x-kubernetes-map-type");
        }
        let list_type = there(schema, "x-kubernetes-list-type").and_then(Value::as_str);
        if list_type.is_some() && json_type != "array" {
            wants("array", "x-kubernetes-list-type");
        } else if !self.forgiven.non_atomic_sets && is_non_atomic_set(schema) {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let name = if text(items, "type") == "array" { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" };
            let value = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            self.push(Error::invalid(&path.child("items").child(name), value, why));
        }
        if let Some(other) = map_type.filter(|known| !matches!(*known, "atomic" | "granular")) {
            self.push(Error::not_supported(&path.child("x-kubernetes-map-type"), other, &["atomic", "granular"]));
        }
        if let Some(other) = list_type.filter(|known| !matches!(*known, "atomic" | "set" | "map")) {
            self.push(Error::not_supported(&path.child("x-kubernetes-list-type"), other, &["atomic", "set", "map"]));
        }
        let keys = texts(schema, "x-kubernetes-list-map-keys");
        if !keys.is_empty() && list_type != Some("map") {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            let place = path.child("x-kubernetes-list-type");
            self.push(match list_type {
                None => Error::required(&place, why),
                Some(other) => Error::invalid(&place, other, why),
            });
        }
        if list_type == Some("map") {
            self.map_list(schema, &keys, path);
        }
    }

    fn map_list(&mut self, schema: &Value, keys: &[&str], path: &Path) {
        let keys_path = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.push(Error::required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
        }
        let items_path = path.child("items");
        let items = match there(schema, "items") {
            None => {
                let why = "must have a schema if x-kubernetes-list-type is map";
                self.push(Error::required(&items_path, why));
                return;
            }
            Some(several @ Value::Array(_)) => {
                let why = "must only have a single schema if x-kubernetes-list-type is map";
                self.push(Error::invalid(&items_path, several.clone(), why));
                return;
            }
            Some(items) => items,
        };
        let json_type = text(items, "type");
        if json_type != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            self.push(Error::invalid(&items_path.child("type"), json_type, why));
            return;
        }
        let all = || schema["x-kubernetes-list-map-keys"].clone();
        for (index, key) in keys.iter().enumerate() {
            match items.get("properties").and_then(|properties| properties.get(*key)) {
                Some(property) if matches!(text(property, "type"), "array" | "object") => {
                    let place = items_path.child("properties").key(key).child("type");
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.push(Error::invalid(&place, json_type, why));
                }
                Some(_) => {}
                None => {
                    self.push(Error::invalid(&keys_path, all(), "entries must all be names of item properties"));
                }
            }
            if keys[..index].contains(key) {
                self.push(Error::invalid(&keys_path, all(), "must not contain duplicate entries"));
            }
        }
    }
}

/// What Go's zero values are in JSON.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

pub(super) fn has_invalid_type(schema: &Value) -> bool {
    let json_type = text(schema, "type");
    !json_type.is_empty() && !TYPES.contains(&json_type)
}

/// Upstream: `hasNonAtomicSetType`.
pub(super) fn is_non_atomic_set(schema: &Value) -> bool {
    if text(schema, "x-kubernetes-list-type") != "set" {
        return false;
    }
    let Some(items) = there(schema, "items").filter(|items| items.is_object()) else { return false };
    match text(items, "type") {
        "array" => there(items, "x-kubernetes-list-type").is_some_and(|known| known != "atomic"),
        "object" => text(items, "x-kubernetes-map-type") != "atomic",
        _ => false,
    }
}

/// Upstream: `validateMapListKeysMapSet`.
pub(super) fn list_map_keys(schema: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let list_type = text(schema, "x-kubernetes-list-type");
    let Some(items) = there(schema, "items").filter(|items| items.is_object()) else { return errors };
    if !matches!(list_type, "set" | "map") {
        return errors;
    }
    let items_path = path.child("items");
    if flag(items, "nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&items_path.child("nullable"), why));
    }
    if list_type == "map" {
        let required = texts(items, "required");
        for key in texts(schema, "x-kubernetes-list-map-keys") {
            let Some(property) = items.get("properties").and_then(|properties| properties.get(key)) else { continue };
            let place = items_path.child("properties").key(key);
            if !required.contains(&key) && there(property, "default").is_none() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                errors.push(Error::required(&place.child("default"), why));
            }
            if flag(property, "nullable") {
                let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                errors.push(Error::forbidden(&place.child("nullable"), why));
            }
        }
    }
    errors
}
