//! Names, columns, subresources, selectable fields and deprecations.

use apimachinery::{
    field::{Error, ErrorList, Path},
    names as rules,
};
use schema::structural::{JsonType, Structural};
use serde_json::Value;

use super::super::fields;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
pub(super) const MAX_SELECTABLE: usize = 8;

pub(super) fn names(names: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["plural", "singular"] {
        let value = fields::text(names, name);
        let found = rules::is_dns1035_label(value);
        if !value.is_empty() && !found.is_empty() {
            errors.push(Error::invalid(&path.child(name), value, found.join(",")));
        }
    }
    for name in ["kind", "listKind"] {
        let value = fields::text(names, name);
        let found = rules::is_dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !found.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", found.join(","));
            errors.push(Error::invalid(&path.child(name), value, why));
        }
    }
    let mut each = |name: &str| {
        for (index, value) in fields::texts(names, name).into_iter().enumerate() {
            let found = rules::is_dns1035_label(value);
            if !found.is_empty() {
                errors.push(Error::invalid(&path.child(name).index(index), value, found.join(",")));
            }
        }
    };
    each("shortNames");
    each("categories");
    let (kind, list_kind) = (fields::text(names, "kind"), fields::text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.push(Error::invalid(&path.child("listKind"), list_kind, "kind and listKind may not be the same"));
    }
    errors
}

pub(super) fn deprecation(version: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(warning) = fields::there(version, "deprecationWarning").and_then(Value::as_str) else { return errors };
    let mut refuse = |why: &str| errors.push(Error::invalid(&path.child("deprecationWarning"), warning, why));
    if !fields::flag(version, "deprecated") {
        refuse("can only be set for deprecated versions");
        return errors;
    }
    if warning.len() > 256 {
        refuse("must be <= 256 characters long");
    }
    if warning.is_empty() {
        refuse("must not be an empty string");
    }
    // Go's `unicode.IsPrint` knows no other white space than the space.
    let bad = warning.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' '));
    if let Some((index, _)) = bad {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
    errors
}

pub(super) fn columns(version: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, column) in fields::list(version, "additionalPrinterColumns").iter().enumerate() {
        let place = path.index(index);
        if fields::text(column, "name").is_empty() {
            errors.push(Error::required(&place.child("name"), ""));
        }
        let why = format!("must be one of {}", COLUMN_TYPES.join(","));
        match fields::text(column, "type") {
            "" => errors.push(Error::required(&place.child("type"), why)),
            known if COLUMN_TYPES.contains(&known) => {}
            other => errors.push(Error::invalid(&place.child("type"), other, why)),
        }
        let format = fields::text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(Error::invalid(&place.child("format"), format, why));
        }
        match fields::text(column, "jsonPath") {
            "" => errors.push(Error::required(&place.child("JSONPath"), "")),
            json_path => errors.append(simple_path(json_path, &place.child("JSONPath"))),
        }
    }
    errors
}

fn simple_path(text: &str, path: &Path) -> ErrorList {
    if text.starts_with('.') {
        ErrorList::new()
    } else {
        Error::invalid(path, text, "must be a simple json path starting with .").into()
    }
}

pub(super) fn subresources(subresources: Option<&Value>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(scale) = subresources.and_then(|subresources| fields::there(subresources, "scale")) else {
        return errors;
    };
    for (name, prefix, words) in [
        ("specReplicasPath", ".spec.", "should be a json path under .spec"),
        ("statusReplicasPath", ".status.", "should be a json path under .status"),
    ] {
        let place = path.child(&format!("scale.{name}"));
        match fields::text(scale, name) {
            "" => errors.push(Error::required(&place, "")),
            value if !value.starts_with('.') => errors.append(simple_path(value, &place)),
            value if !value.starts_with(prefix) => errors.push(Error::invalid(&place, value, words)),
            _ => {}
        }
    }
    let selector = fields::text(scale, "labelSelectorPath");
    let place = path.child("scale.labelSelectorPath");
    if selector.is_empty() {
        return errors;
    }
    if !selector.starts_with('.') {
        errors.append(simple_path(selector, &place));
    } else if !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
        errors.push(Error::invalid(&place, selector, "should be a json path under either .spec or .status"));
    }
    errors
}

pub(super) fn selectable(version: &Value, schema: Option<&Value>, allow_more: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let selectable = fields::list(version, "selectableFields");
    if selectable.is_empty() {
        return errors;
    }
    let Some(schema) = schema else {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        return Error::invalid(path, "", why).into();
    };
    let Ok(tree) = Structural::new(schema) else { return errors };
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in selectable.iter().enumerate() {
        let place = path.index(index).child("jsonPath");
        let json_path = fields::text(field, "jsonPath");
        if json_path.is_empty() {
            errors.push(Error::required(&place, ""));
            continue;
        }
        let node = match field_path(json_path, &tree) {
            Ok(node) => node,
            Err(why) => {
                errors.push(Error::invalid(&place, json_path, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if json_path.split('.').nth(1) == Some("metadata") {
            errors.push(Error::invalid(&place, json_path, "must not point to fields in metadata"));
        }
        if !matches!(node.json_type, Some(JsonType::String | JsonType::Boolean | JsonType::Integer)) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&place, json_path, why));
        }
        if seen.contains(&json_path) {
            errors.push(Error::duplicate(&place, json_path));
        } else {
            seen.push(json_path);
        }
    }
    if seen.len() > MAX_SELECTABLE && !allow_more {
        errors.push(Error::too_many(path, seen.len(), MAX_SELECTABLE));
    }
    errors
}

/// The schema of a dotted path, or why there is none. Upstream: `cel.ValidFieldPath` without array notation.
fn field_path<'a>(text: &str, tree: &'a Structural) -> Result<&'a Structural, String> {
    let Some(rest) = text.strip_prefix('.') else {
        return Err(format!("expected [ or . but got: {text}"));
    };
    let mut node = tree;
    for name in rest.split('.') {
        if name.contains('[') {
            return Err("array notation is not allowed in field path".to_owned());
        }
        if name.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        node = match node.properties.get(name) {
            Some(property) => property,
            None => return Err("does not refer to a valid field".to_owned()),
        };
    }
    Ok(node)
}
