//! Lists whose elements, or their keys, must be unique. Upstream: `schema/listtype`.

use std::collections::HashMap;

use apimachinery::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::{Additional, Structural};
use crate::table::ListType;

/// Errors of lists of type `set` and `map`.
pub fn check(value: &Value, schema: &Structural, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    node(value, schema, path, &mut errors);
    errors
}

fn node(value: &Value, schema: &Structural, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if !matches!(member, Value::Object(_) | Value::Array(_)) {
                    continue;
                }
                if let Some(property) = schema.properties.get(name) {
                    node(member, property, &path.child(name), errors);
                } else if let Some(Additional::Schema(additional)) = &schema.additional {
                    node(member, additional, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list {
                Some(ListType::Set) => {
                    for index in repeated(items.iter()) {
                        errors.push(Error::duplicate(&path.index(index), items[index].clone()));
                    }
                }
                Some(ListType::Map { keys }) => map(items, keys, path, errors),
                Some(ListType::Atomic) | None => {}
            }
            let Some(below) = schema.items.as_deref() else { return };
            for (index, item) in items.iter().enumerate() {
                if matches!(item, Value::Object(_) | Value::Array(_)) {
                    node(item, below, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn map(items: &[Value], keys: &[crate::table::Name], path: &Path, errors: &mut ErrorList) {
    if let Some((index, item)) =
        items.iter().enumerate().find(|(_, item)| !matches!(item, Value::Object(_) | Value::Null))
    {
        let why = "must be an object for an array of list-type map";
        errors.push(Error::invalid(&path.index(index), item.clone(), why));
        return;
    }
    let found: Vec<Value> = items
        .iter()
        .map(|item| {
            let member = |key: &crate::table::Name| Some((key.to_string(), item.get(key.as_ref())?.clone()));
            Value::Object(keys.iter().filter_map(member).collect::<Map<_, _>>())
        })
        .collect();
    for index in repeated(found.iter()) {
        errors.push(Error::duplicate(&path.index(index), found[index].clone()));
    }
}

/// Where a value is met for the second time; later repetitions are not told again.
fn repeated<'a>(values: impl ExactSizeIterator<Item = &'a Value>) -> Vec<usize> {
    if values.len() < 2 {
        return Vec::new();
    }
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(values.len());
    let mut out = Vec::new();
    for (index, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            out.push(index);
        }
    }
    out
}
