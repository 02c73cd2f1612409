//! Metadata of a resource, and of resources inside of it. Upstream: `schema/objectmeta`.

use apimachinery::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::{Structural, is_meta};
use crate::{
    Limits, Node, StrictError, builtin,
    decode::{DecodeError, decode_node},
};

/// Metadata that does not decode.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetaError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of a resource inside of the object.
    #[error("{0}")]
    Field(Error),
}

/// Metadata in its typed form: unknown fields dropped and reported as `metadata.NAME` below `parent`, times and the like
/// in their canonical form.
pub fn metadata(node: Node<'_>, parent: &str, strict: &mut Vec<StrictError>) -> Result<Value, DecodeError> {
    let Some(kind) = builtin().named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") else {
        return Ok(node.into_value());
    };
    let decoded = decode_node(kind, node, &Limits::default())?;
    let dot = if parent.is_empty() { "" } else { "." };
    let place = |path: &String| format!("{parent}{dot}metadata.{path}");
    strict.extend(decoded.strict.iter().map(|error| match error {
        StrictError::Unknown(path) => StrictError::Unknown(place(path)),
        StrictError::Duplicate(path) => StrictError::Duplicate(place(path)),
    }));
    Ok(decoded.object.into_value())
}

/// Gives embedded resources the typed form of their metadata. With `drop`, what does not decode stays as it is, and
/// names that are no strings are dropped: for objects stored before there were such rules.
pub fn coerce(
    value: &mut Value,
    schema: &Structural,
    drop: bool,
    strict: &mut Vec<StrictError>,
) -> Result<(), MetaError> {
    if !has_embedded(schema) {
        return Ok(());
    }
    walk(value, schema, &mut String::new(), drop, strict)
}

/// Whether there is an embedded resource in this schema at all; most have none, and are not walked.
fn has_embedded(schema: &Structural) -> bool {
    schema.embedded
        || schema.items.as_deref().is_some_and(has_embedded)
        || schema.properties.values().any(has_embedded)
        || matches!(&schema.additional, Some(super::Additional::Schema(schema)) if has_embedded(schema))
}

fn walk(
    value: &mut Value,
    schema: &Structural,
    path: &mut String,
    drop: bool,
    strict: &mut Vec<StrictError>,
) -> Result<(), MetaError> {
    match value {
        Value::Object(members) => {
            if schema.embedded {
                for name in ["apiVersion", "kind"] {
                    match members.get(name) {
                        None | Some(Value::String(_)) => {}
                        Some(_) if drop => {
                            members.remove(name);
                        }
                        Some(other) => {
                            let place = Path::new(path).child(name);
                            return Err(MetaError::Field(Error::invalid(&place, other.clone(), "must be a string")));
                        }
                    }
                }
                if let Some(found) = members.get_mut("metadata") {
                    match metadata(Node::from_value(found), path, strict) {
                        Ok(typed) => *found = typed,
                        Err(_) if drop => {}
                        Err(error) => {
                            let place = Path::new(path).child("metadata");
                            let error = Error::invalid(&place, found.clone(), error.to_string());
                            return Err(MetaError::Field(error));
                        }
                    }
                }
            }
            for (name, member) in members.iter_mut() {
                if schema.embedded && is_meta(name) {
                    continue;
                }
                if let Some(below) = schema.member(name) {
                    let length = path.len();
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                    walk(member, below, path, drop, strict)?;
                    path.truncate(length);
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                walk(item, below, path, drop, strict)?;
                path.truncate(length);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Errors of the embedded resources' own types and metadata.
pub fn check(value: &Value, schema: &Structural, path: &Path, is_resource: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if is_resource || has_embedded(schema) {
        check_node(value, schema, path, is_resource, &mut errors);
    }
    errors
}

fn check_node(value: &Value, schema: &Structural, path: &Path, is_resource: bool, errors: &mut ErrorList) {
    match value {
        Value::Object(members) => {
            if schema.embedded || is_resource {
                check_resource(members, path, errors);
            }
            for (name, member) in members {
                if let Some(property) = schema.properties.get(name) {
                    check_node(member, property, &path.child(name), false, errors);
                } else if let Some(super::Additional::Schema(additional)) = &schema.additional {
                    check_node(member, additional, &path.key(name), false, errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for (index, item) in items.iter().enumerate() {
                check_node(item, below, &path.index(index), false, errors);
            }
        }
        _ => {}
    }
}

fn check_resource(members: &serde_json::Map<String, Value>, path: &Path, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        if !members.contains_key(name) {
            errors.push(Error::required(&path.child(name), ""));
        }
    }
    for (name, value) in members {
        let place = path.child(name);
        match (name.as_str(), value) {
            ("apiVersion" | "kind", Value::String(text)) if text.is_empty() => {
                errors.push(Error::invalid(&place, "", "must not be empty"));
            }
            ("apiVersion", Value::String(text)) if text.matches('/').count() > 1 => {
                let why = format!("unexpected GroupVersion string: {text}");
                errors.push(Error::invalid(&place, text.as_str(), why));
            }
            ("apiVersion", Value::String(_)) => {}
            ("kind", Value::String(text)) => {
                let found = names::is_dns1035_label(&text.to_lowercase());
                if !found.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", found.join(","));
                    errors.push(Error::invalid(&place, text.as_str(), why));
                }
            }
            ("apiVersion" | "kind", other) => {
                errors.push(Error::invalid(&place, other.clone(), "must be a string"));
            }
            ("metadata", value) => check_metadata(value, &place, errors),
            _ => {}
        }
    }
}

fn check_metadata(value: &Value, path: &Path, errors: &mut ErrorList) {
    let typed = match metadata(Node::from_value(value), "", &mut Vec::new()) {
        Ok(typed) => typed,
        Err(error) => {
            errors.push(Error::invalid(path, value.clone(), error.to_string()));
            return;
        }
    };
    let text = |name: &str| typed.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    for name in ["generateName", "name"] {
        if let Some(text) = text(name) {
            for message in names::is_path_segment_name(text) {
                errors.push(Error::invalid(&path.child(name), text, message));
            }
        }
    }
    if let Some(namespace) = text("namespace") {
        for message in names::is_dns1123_label(namespace) {
            errors.push(Error::invalid(&path.child("namespace"), namespace, message));
        }
    }
    let map = |name: &str| -> Vec<(String, String)> {
        let members = typed.get(name).and_then(Value::as_object).into_iter().flatten();
        members.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    let (labels, annotations) = (map("labels"), map("annotations"));
    errors.append(names::validate_labels(labels.iter().map(|(key, value)| (key, value)), &path.child("labels")));
    errors.append(names::validate_annotations(
        annotations.iter().map(|(key, value)| (key, value)),
        &path.child("annotations"),
    ));
}
