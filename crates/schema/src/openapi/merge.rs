//! Documents of other servers beside the own one, in v2: one name may mean different things in each of them.
//!
//! Upstream: `kube-openapi/pkg/aggregator`, `MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// What in a document can be referred to.
const PARTS: [&str; 2] = ["definitions", "parameters"];
const KINDS: &str = "x-kubernetes-group-version-kind";

/// Makes documents fit beside `own`, and beside each other: paths that an earlier one has are left out, and with them
/// what only they refer to; definitions and parameters that an earlier one has otherwise get another name.
pub fn beside(own: &Value, others: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut paths: BTreeSet<String> = names(own, "paths").cloned().collect();
    let mut known: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    for part in PARTS {
        let members = own.get(part).and_then(Value::as_object).into_iter().flatten();
        known.insert(part, members.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    let mut fitting = Vec::new();
    for mut other in others {
        if let Some(members) = other.get_mut("paths").and_then(Value::as_object_mut) {
            members.retain(|path, _| paths.insert(path.clone()));
        }
        let used = used(&other);
        let mut renamed: BTreeMap<String, String> = BTreeMap::new();
        for part in PARTS {
            let Some(Value::Object(members)) = other.get(part) else { continue };
            let known = known.entry(part).or_default();
            for (name, value) in members.iter().filter(|(name, _)| used.contains(&reference(part, name))) {
                if known.get(name).is_none_or(|known| is_same(known, value)) {
                    continue;
                }
                let free = (2..)
                    .map(|number| format!("{name}_v{number}"))
                    .find(|new| !members.contains_key(new) && known.get(new).is_none_or(|known| is_same(known, value)));
                if let Some(new) = free {
                    renamed.insert(reference(part, name), reference(part, &new));
                }
            }
        }
        for part in PARTS {
            let Some(Value::Object(members)) = other.get_mut(part) else { continue };
            let known = known.entry(part).or_default();
            let mut kept = Map::new();
            for (name, value) in std::mem::take(members) {
                let place = reference(part, &name);
                if !used.contains(&place) {
                    continue;
                }
                let name = match renamed.get(&place) {
                    Some(new) => last(new).to_owned(),
                    None => name,
                };
                // As it was written, so that the next document's is compared with what its server says.
                known.entry(name.clone()).or_insert_with(|| value.clone());
                kept.insert(name, value);
            }
            *members = kept;
        }
        point_elsewhere(&mut other, &renamed);
        fitting.push(other);
    }
    fitting
}

fn names<'v>(document: &'v Value, part: &str) -> impl Iterator<Item = &'v String> {
    document.get(part).and_then(Value::as_object).into_iter().flat_map(Map::keys)
}

fn reference(part: &str, name: &str) -> String {
    format!("#/{part}/{name}")
}

fn last(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

/// Whether two definitions are one: what kinds they are of does not count, because each server names its own.
fn is_same(one: &Value, other: &Value) -> bool {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return one == other };
    let without = |members: &Map<String, Value>| members.len() - usize::from(members.contains_key(KINDS));
    without(one) == without(other)
        && one.iter().filter(|(name, _)| *name != KINDS).all(|(name, value)| other.get(name) == Some(value))
}

/// Everything that the paths refer to, and what that refers to in turn.
fn used(document: &Value) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut left = Vec::new();
    let note = |value: &Value, used: &mut BTreeSet<String>, left: &mut Vec<String>| {
        each_reference(value, &mut |reference| {
            if used.insert(reference.to_owned()) {
                left.push(reference.to_owned());
            }
        });
    };
    note(&document["paths"], &mut used, &mut left);
    while let Some(reference) = left.pop() {
        let Some((part, name)) = reference.strip_prefix("#/").and_then(|rest| rest.split_once('/')) else { continue };
        if let Some(value) = document.get(part).and_then(|members| members.get(name)) {
            note(value, &mut used, &mut left);
        }
    }
    used
}

fn each_reference(value: &Value, take: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                take(reference);
            }
            members.values().for_each(|value| each_reference(value, take));
        }
        Value::Array(items) => items.iter().for_each(|value| each_reference(value, take)),
        _ => {}
    }
}

fn point_elsewhere(value: &mut Value, renamed: &BTreeMap<String, String>) {
    if renamed.is_empty() {
        return;
    }
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(new) = renamed.get(reference)
            {
                reference.clone_from(new);
            }
            members.values_mut().for_each(|value| point_elsewhere(value, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| point_elsewhere(value, renamed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refers(name: &str) -> Value {
        json!({"get": {"schema": {"$ref": format!("#/definitions/{name}")}}})
    }

    #[test]
    fn what_is_otherwise_gets_another_name_and_what_nobody_uses_goes() {
        let own = json!({"paths": {"/a": refers("Meta")}, "definitions": {
            "Meta": {"type": "object", "x-kubernetes-group-version-kind": [1]}, "Other": {"type": "object"},
        }});
        let other = json!({"paths": {"/a": refers("Gone"), "/b": refers("Thing")}, "definitions": {
            "Thing": {"properties": {"meta": {"$ref": "#/definitions/Meta"}, "other": {"$ref": "#/definitions/Other"}}},
            "Meta": {"type": "object"}, "Other": {"type": "string"}, "Gone": {"type": "object"},
        }});
        let third = json!({"paths": {"/c": refers("Other")}, "definitions": {"Other": {"type": "string"}}});
        let fourth = json!({"paths": {"/d": refers("Other")}, "definitions": {"Other": {"type": "integer"}}});
        let fitting = beside(&own, [other, third, fourth]);
        assert_eq!(
            fitting,
            [
                json!({"paths": {"/b": refers("Thing")}, "definitions": {
                    "Thing": {"properties": {
                        "meta": {"$ref": "#/definitions/Meta"}, "other": {"$ref": "#/definitions/Other_v2"},
                    }},
                    "Meta": {"type": "object"}, "Other_v2": {"type": "string"},
                }}),
                // The same as an earlier one has: one definition for both.
                json!({"paths": {"/c": refers("Other_v2")}, "definitions": {"Other_v2": {"type": "string"}}}),
                json!({"paths": {"/d": refers("Other_v3")}, "definitions": {"Other_v3": {"type": "integer"}}}),
            ]
        );
    }
}
