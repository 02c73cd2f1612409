//! From the JSON of `openAPIV3Schema` to the tree. Upstream: `schema/convert.go` `NewStructural`.

use serde_json::{Map, Value};

use super::{Additional, Checks, Format, JsonType, Pattern, Rule, Structural};
use crate::table::ListType;

impl Structural {
    /// The tree of a schema, or why it cannot be one, in upstream's words.
    pub fn new(schema: &Value) -> Result<Self, String> {
        match schema.as_object() {
            Some(schema) => node(schema),
            None => Err("OpenAPIV3Schema must be an object".to_owned()),
        }
    }
}

fn node(schema: &Map<String, Value>) -> Result<Structural, String> {
    refuse_unsupported(schema)?;
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        return Err("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned());
    }
    let mut out = Structural {
        json_type: schema.get("type").and_then(Value::as_str).and_then(JsonType::parse),
        nullable: flag("nullable"),
        // A default of null is no default.
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        list: list_type(schema),
        atomic: schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
        checks: checks(schema)?,
        rules: rules(schema),
        ..Structural::default()
    };
    match schema.get("items") {
        Some(Value::Object(items)) => out.items = Some(Box::new(node(items)?)),
        Some(Value::Array(_)) => return Err("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned()),
        _ => {}
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(property) = property.as_object() {
            out.properties.insert(name.clone(), node(property)?);
        }
    }
    out.additional = match schema.get("additionalProperties") {
        Some(Value::Object(additional)) => Some(Additional::Schema(Box::new(node(additional)?))),
        Some(Value::Bool(allowed)) => Some(Additional::Any(*allowed)),
        _ => None,
    };
    let mut below: Vec<&Structural> = out.properties.values().collect();
    below.extend(out.items.as_deref());
    if let Some(Additional::Schema(additional)) = &out.additional {
        below.push(additional);
    }
    out.has_defaults = out.default.is_some() || below.iter().any(|node| node.has_defaults);
    out.has_rules = !out.rules.is_empty() || below.iter().any(|node| node.has_rules);
    Ok(out)
}

/// Upstream: `validateUnsupportedFields`.
fn refuse_unsupported(schema: &Map<String, Value>) -> Result<(), String> {
    let filled = |name: &str| match schema.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => true,
    };
    for name in ["id", "$schema", "$ref", "patternProperties", "dependencies"] {
        if filled(name) {
            let shown = name.strip_prefix("$schema").map_or(name, |_| "schema");
            return Err(format!("OpenAPIV3Schema '{shown}' is not supported"));
        }
    }
    if schema.get("additionalItems").is_some_and(|value| !value.is_null()) {
        return Err("OpenAPIV3Schema 'additionalItems' is not supported".to_owned());
    }
    if filled("definitions") {
        return Err("OpenAPIV3Schema 'definitions' is not supported".to_owned());
    }
    Ok(())
}

fn list_type(schema: &Map<String, Value>) -> Option<ListType> {
    Some(match schema.get("x-kubernetes-list-type")?.as_str()? {
        "set" => ListType::Set,
        "map" => {
            ListType::Map { keys: strings(schema, "x-kubernetes-list-map-keys").into_iter().map(Into::into).collect() }
        }
        _ => ListType::Atomic,
    })
}

fn strings(schema: &Map<String, Value>, name: &str) -> Vec<String> {
    let values = schema.get(name).and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn rules(schema: &Map<String, Value>) -> Vec<Rule> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    rules
        .map(|rule| {
            let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            Rule {
                rule: text("rule"),
                message: text("message"),
                message_expression: text("messageExpression"),
                reason: text("reason"),
                field_path: text("fieldPath"),
                optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
            }
        })
        .collect()
}

fn checks(schema: &Map<String, Value>) -> Result<Option<Box<Checks>>, String> {
    let number = |name: &str| schema.get(name).and_then(Value::as_f64);
    // A negative limit of upstream's signed integers: nothing is as short, everything is as long.
    let most = |name: &str| schema.get(name).and_then(Value::as_i64).map(|limit| limit.max(0).unsigned_abs());
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
    let text = |name: &str| schema.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let several = |name: &str| -> Result<Vec<Structural>, String> {
        let all = schema.get(name).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_object).map(node).collect()
    };
    let json_type = text("type");
    let format = text("format")
        .filter(|_| matches!(json_type, None | Some("string")))
        .and_then(|name| Some((Format::parse(name)?, name.to_owned())));
    let checks = Checks {
        format,
        maximum: number("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        multiple_of: number("multipleOf"),
        max_length: most("maxLength"),
        min_length: most("minLength"),
        pattern: match text("pattern") {
            // A pattern that is none is refused with the definition; in a stored one it matches nothing to be told.
            Some(pattern) => Pattern::new(pattern).ok(),
            None => None,
        },
        max_items: most("maxItems"),
        min_items: most("minItems"),
        unique_items: flag("uniqueItems"),
        max_properties: most("maxProperties"),
        min_properties: most("minProperties"),
        required: strings(schema, "required"),
        values: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        all_of: several("allOf")?,
        any_of: several("anyOf")?,
        one_of: several("oneOf")?,
        not: schema.get("not").and_then(Value::as_object).map(node).transpose()?,
    };
    Ok((!checks.is_empty()).then(|| Box::new(checks)))
}

impl Checks {
    fn is_empty(&self) -> bool {
        self.format.is_none()
            && self.maximum.is_none()
            && self.minimum.is_none()
            && self.multiple_of.is_none()
            && self.max_length.is_none()
            && self.min_length.is_none()
            && self.pattern.is_none()
            && self.max_items.is_none()
            && self.min_items.is_none()
            && !self.unique_items
            && self.max_properties.is_none()
            && self.min_properties.is_none()
            && self.required.is_empty()
            && self.values.is_empty()
            && self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.not.is_none()
    }
}
