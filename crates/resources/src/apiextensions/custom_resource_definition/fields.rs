//! Reading a definition's fields. Absent ones read as empty, as upstream's typed objects do.

use registry::DynamicObject;
use serde_json::{Map, Value};

/// Members of an object, empty for anything else.
pub fn members(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    list(value, name).iter().filter_map(Value::as_str).collect()
}

/// A member that is there and not null.
pub fn there<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

pub fn spec(definition: &DynamicObject) -> &Value {
    definition.fields.get("spec").unwrap_or(&Value::Null)
}

pub fn status(definition: &DynamicObject) -> &Value {
    definition.fields.get("status").unwrap_or(&Value::Null)
}

pub fn versions(definition: &DynamicObject) -> &[Value] {
    list(spec(definition), "versions")
}

pub fn storage_version(definition: &DynamicObject) -> Option<&str> {
    versions(definition).iter().find(|version| flag(version, "storage")).map(|version| text(version, "name"))
}

/// `openAPIV3Schema` of one of `spec.versions`.
pub fn schema(version: &Value) -> Option<&Value> {
    there(version.get("schema")?, "openAPIV3Schema")
}

/// `subresources.status` or `.scale` of one of `spec.versions`.
pub fn subresource<'a>(version: &'a Value, name: &str) -> Option<&'a Value> {
    there(there(version, "subresources")?, name)
}
