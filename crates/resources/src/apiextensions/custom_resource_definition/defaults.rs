//! Defaults of a definition. Upstream: `apis/apiextensions/v1/defaults.go`.

use registry::DynamicObject;
use serde_json::{Value, json};

pub(super) fn definition(object: &mut DynamicObject) {
    let storage = super::fields::storage_version(object).map(str::to_owned);
    if let Some(spec) = object.fields.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            let is_empty = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().is_empty();
            if is_empty(names.get("singular")) && !kind.is_empty() {
                names.insert("singular".to_owned(), kind.to_lowercase().into());
            }
            if is_empty(names.get("listKind")) && !kind.is_empty() {
                names.insert("listKind".to_owned(), format!("{kind}List").into());
            }
        }
        if spec.get("conversion").is_none_or(Value::is_null) {
            spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
        }
        let service = spec
            .get_mut("conversion")
            .and_then(|conversion| conversion.pointer_mut("/webhook/clientConfig/service"))
            .and_then(Value::as_object_mut);
        if let Some(service) = service
            && service.get("port").is_none_or(Value::is_null)
        {
            service.insert("port".to_owned(), 443.into());
        }
    }
    let Some(storage) = storage else { return };
    let status = object.fields.entry("status").or_insert_with(super::empty_status);
    if let Some(status) = status.as_object_mut() {
        let stored = status.entry("storedVersions").or_insert(Value::Null);
        if stored.as_array().is_none_or(Vec::is_empty) {
            *stored = json!([storage]);
        }
    }
}
