//! What an expression's patch makes of an object. Upstream: `policy/mutating/patch`.

use apimachinery::{field::go_quote, patch::PatchError};
use cel::{Object, Value};
use fieldmanager::{PathElement, TypeRef, TypedValue, typed::Relation};
use registry::admission::AdmissionRequest;
use schema::Node;
use serde_json::Value as Json;

use crate::webhook::Invocation;

/// The object after a list of `JSONPatch` values. A test that fails leaves it as it is.
pub(super) fn json_patch(live: &Json, value: &Value<'_>) -> Result<Json, String> {
    let Value::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let mut operations = Vec::with_capacity(list.len());
    for item in list.iter() {
        let Value::Object(item) = &item else {
            return Err("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch".to_owned());
        };
        operations.push(operation(item)?);
    }
    let mut patched = live.clone();
    match apimachinery::patch::json_patch(&mut patched, &Json::Array(operations)) {
        Ok(()) => Ok(patched),
        Err(PatchError::TestFailed(_)) => Ok(live.clone()),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

fn operation(item: &Object<'_>) -> Result<Json, String> {
    let mut operation = serde_json::Map::new();
    for (name, value) in &item.fields {
        if let Value::Object(object) = value {
            check_types(object)?;
        }
        let member = value.to_json().ok_or_else(|| {
            format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {}", value.type_of())
        })?;
        if &**name != "from" || member.as_str() != Some("") {
            operation.insert(name.to_string(), member);
        }
    }
    for required in ["op", "path"] {
        operation.entry(required).or_insert_with(|| "".into());
    }
    Ok(Json::Object(operation))
}

/// The object with an apply configuration laid over it, as its schema says.
pub(super) fn apply(
    request: &AdmissionRequest<'_>,
    invocation: &Invocation,
    live: &Json,
    value: &Value<'_>,
) -> Result<Json, String> {
    let Value::Object(object) = value else {
        return Err(format!("unsupported return type from ApplyConfiguration expression: {}", value.type_of()));
    };
    check_types(object)?;
    let mut patch = value.to_json().ok_or_else(|| format!("invalid return type: {}", value.type_of()))?;
    patch["apiVersion"] = live["apiVersion"].clone();
    patch["kind"] = live["kind"].clone();
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("error applying patch: {what}: {error}");

    let kind = &invocation.kind;
    let place = invocation.equivalent.as_deref().or(request.place.map(|place| place.kind));
    let ty = schema::builtin()
        .kind(&kind.group, &kind.version, &kind.kind)
        .or_else(|| place.and_then(|place| place.resource.schema_type()))
        .map_or(TypeRef::Deduced, TypeRef::Named);
    let patch = TypedValue::literal(ty, Node::from_value(&patch));
    patch.validate(false).map_err(|error| failed("failed to convert patch object to typed object", &error))?;
    let mut atomics = Vec::new();
    find_atomics(ty, &patch.node, &mut Vec::new(), &mut atomics);
    if !atomics.is_empty() {
        let what = format!("may not mutate atomic arrays, maps or structs: {}", atomics.join(", "));
        return Err(failed("invalid ApplyConfiguration", &what));
    }
    let merged = TypedValue::literal(ty, Node::from_value(live))
        .merge(&patch)
        .map_err(|error| failed("failed to merge patch", &error))?;
    Ok(merged.node.into_owned().into_value())
}

/// Names of constructed types follow the path they are at: `Object.spec{template: Object.spec.template{…}}`.
fn check_types(object: &Object<'_>) -> Result<(), String> {
    let mut faults = Vec::new();
    let mut path = vec![object.ty.to_string()];
    check_object(object, &mut path, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", faults.join("\n"))) }
}

fn check_object(object: &Object<'_>, path: &mut Vec<String>, faults: &mut Vec<String>) {
    let (name, expected) = (object.ty.to_string(), path.join("."));
    if name != expected {
        let (name, expected) = (go_quote(&name), go_quote(&expected));
        faults.push(format!(
            "unexpected type name {name}, expected {expected}, which matches field name path from root Object type"
        ));
    }
    for (field, value) in &object.fields {
        path.push(field.to_string());
        check_value(value, path, faults);
        path.pop();
    }
}

fn check_value(value: &Value<'_>, path: &mut Vec<String>, faults: &mut Vec<String>) {
    match value {
        Value::Object(object) => check_object(object, path, faults),
        Value::List(list) => list.iter().for_each(|item| check_value(&item, path, faults)),
        Value::Map(map) => map.entries().for_each(|(_, value)| check_value(&value, path, faults)),
        _ => {}
    }
}

/// Places of what can only be replaced as a whole: an apply configuration would remove what it does not mention.
fn find_atomics(ty: TypeRef<'_>, node: &Node<'_>, path: &mut Vec<PathElement>, found: &mut Vec<String>) {
    let atom = ty.resolve().deduced(Some(node));
    match node {
        Node::Object(object) => {
            let Some(map) = atom.map else { return };
            if map.atomic {
                found.push(shown(path));
            }
            for (name, value) in &object.0 {
                if let Some(field) = map.field(name) {
                    path.push(PathElement::field(name.to_string()));
                    find_atomics(field, value, path, found);
                    path.pop();
                }
            }
        }
        Node::Array(items) => {
            let Some(list) = atom.list else { return };
            if matches!(list.relation, Relation::Atomic) {
                found.push(shown(path));
            }
            for (index, item) in items.iter().enumerate() {
                path.push(PathElement::Index(i64::try_from(index).unwrap_or(i64::MAX)));
                find_atomics(list.element, item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn shown(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}
