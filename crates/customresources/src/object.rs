//! Objects of custom kinds between bytes and their parts.

use apimachinery::json;
use bytes::Bytes;
use registry::DynamicObject;
use serde_json::{Map, Value};

/// Fractions that are none become integers, as they do on their way through upstream's encoder.
pub(crate) fn normalise(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(double) = number.as_f64().filter(|double| double.fract() == 0.0 && double.abs() < 9.0e15) {
                // Exact: it has no fraction and fits.
                *number = (double as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(members) => members.values_mut().for_each(normalise),
        _ => {}
    }
}

/// The whole object as one value, for walkers. Metadata only where somebody looks at it.
pub(crate) fn to_value(object: &DynamicObject, with_metadata: bool) -> Value {
    let mut members = Map::new();
    members.insert("apiVersion".to_owned(), object.api_version.clone().into());
    members.insert("kind".to_owned(), object.kind.clone().into());
    let metadata = if with_metadata { json::to_value(&object.metadata).unwrap_or_default() } else { Value::Null };
    let metadata = if metadata.is_null() { Value::Object(Map::new()) } else { metadata };
    members.insert("metadata".to_owned(), metadata);
    members.extend(object.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(members)
}

/// JSON of an object as this server writes it: what names it first.
pub(crate) fn to_bytes(value: &Value) -> Bytes {
    let Some(members) = value.as_object() else { return Bytes::from(value.to_string()) };
    let mut out = String::with_capacity(256);
    out.push('{');
    let first = ["apiVersion", "kind", "metadata"];
    let named = first.iter().filter_map(|name| Some((*name, members.get(*name)?)));
    let rest = members.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !first.contains(name));
    for (index, (name, value)) in named.chain(rest).enumerate() {
        if index > 0 {
            out.push(',');
        }
        match value {
            Value::Object(metadata) if name == "metadata" => {
                out.push_str("\"metadata\":{");
                // The revision first: selectors and the store find it there.
                let version = metadata.get_key_value("resourceVersion");
                let others = metadata.iter().filter(|(name, _)| *name != "resourceVersion");
                for (index, (name, value)) in version.into_iter().chain(others).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    member(&mut out, name, value);
                }
                out.push('}');
            }
            value => member(&mut out, name, value),
        }
    }
    out.push('}');
    out.into()
}

fn member(out: &mut String, name: &str, value: &Value) {
    out.push_str(&Value::from(name).to_string());
    out.push(':');
    out.push_str(&value.to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_names_an_object_comes_first() {
        let value = json!({"a": 1, "kind": "K", "metadata": {"annotations": {"a": "b"}, "resourceVersion": "5"}, "apiVersion": "g/v1"});
        assert_eq!(
            to_bytes(&value),
            r#"{"apiVersion":"g/v1","kind":"K","metadata":{"resourceVersion":"5","annotations":{"a":"b"}},"a":1}"#
        );
    }

    #[test]
    fn whole_doubles_are_integers() {
        let mut value = json!({"a": 1.0, "b": [2.5, -3.0], "c": 1e300});
        normalise(&mut value);
        assert_eq!(value, json!({"a": 1, "b": [2.5, -3], "c": 1e300}));
    }
}
