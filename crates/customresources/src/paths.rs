//! Dotted paths into an object, as scale and selectable fields name them: `.spec.replicas`.

use serde_json::{Map, Value};

/// The names of a dotted path.
pub(crate) fn segments(path: &str) -> Vec<&str> {
    path.strip_prefix('.').unwrap_or(path).split('.').collect()
}

/// What stands at a path; none when something on the way is missing. An error when something on the way is no object.
pub(crate) fn at<'a>(members: &'a Map<String, Value>, path: &str) -> Result<Option<&'a Value>, String> {
    let names = segments(path);
    let mut members = members;
    for (index, name) in names.iter().enumerate() {
        let Some(value) = members.get(*name) else { return Ok(None) };
        if index + 1 == names.len() {
            return Ok(Some(value));
        }
        match value {
            Value::Object(below) => members = below,
            Value::Null => return Ok(None),
            other => {
                return Err(format!(
                    "{} accessor error: {other} is of the type {}, expected map[string]interface{{}}",
                    show(&names[..=index]),
                    go_type(other)
                ));
            }
        }
    }
    Ok(None)
}

/// An integer at a path. Upstream: `unstructured.NestedInt64`.
pub(crate) fn integer(members: &Map<String, Value>, path: &str) -> Result<Option<i64>, String> {
    match at(members, path)? {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| {
            format!(
                "{} accessor error: {value} is of the type {}, expected int64",
                show(&segments(path)),
                go_type(value)
            )
        }),
    }
}

/// A text at a path. Upstream: `unstructured.NestedString`.
pub(crate) fn text<'a>(members: &'a Map<String, Value>, path: &str) -> Result<Option<&'a str>, String> {
    match at(members, path)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(format!(
            "{} accessor error: {value} is of the type {}, expected string",
            show(&segments(path)),
            go_type(value)
        )),
    }
}

/// Writes a value at a path, making what is missing on the way.
pub(crate) fn put(members: &mut Map<String, Value>, path: &str, value: Value) {
    let names = segments(path);
    let Some((last, way)) = names.split_last() else { return };
    let mut members = members;
    for name in way {
        let below = members.entry((*name).to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if !below.is_object() {
            *below = Value::Object(Map::new());
        }
        let Value::Object(next) = below else { return };
        members = next;
    }
    members.insert((*last).to_owned(), value);
}

fn show(names: &[&str]) -> String {
    names.iter().map(|name| format!(".{name}")).collect()
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
