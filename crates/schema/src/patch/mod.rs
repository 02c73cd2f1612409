//! Strategic merge patch: a merge patch that knows which lists are merged by which key.
//!
//! Directives: `$patch` (`replace`, `delete`, and `merge` where upstream refuses it), `$deleteFromPrimitiveList/…`,
//! `$setElementOrder/…` and `$retainKeys`. The patch may come from anybody: every step is linear in the sizes of both
//! documents. It must not validate what it makes. Upstream: `apimachinery/pkg/util/strategicpatch`.

mod error;
mod lists;
mod meta;

use serde_json::{Map, Value};

pub use error::{PatchError, go_format};

use crate::table::Type;
use meta::Meta;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

/// Applies a patch to an object of this type.
pub fn strategic(kind: Type<'_>, original: Value, patch: Value) -> Result<Value, PatchError> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            Ok(Value::Object(merge_map(original, patch, Meta::of(kind))?))
        }
        _ => Err(PatchError::BadDocument),
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    meta: Meta<'_>,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(PatchError::bad_patch_type(directive, &patch)),
        };
    }
    apply_retain_keys(&mut original, &mut patch)?;
    apply_element_orders(&mut original, &mut patch, meta)?;
    for (key, value) in patch {
        let (key, delete_list) = match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => (rest.strip_prefix('/').ok_or(PatchError::PrimitiveList)?.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        merge_member(&mut original, key, value, delete_list, meta)?;
    }
    Ok(original)
}

fn merge_member(
    original: &mut Map<String, Value>,
    key: String,
    value: Value,
    delete_list: bool,
    meta: Meta<'_>,
) -> Result<(), PatchError> {
    let Some(slot) = original.get_mut(&key) else {
        if !delete_list {
            put(original, key, value);
        }
        return Ok(());
    };
    match (slot, value) {
        (Value::Object(current), Value::Object(patch)) => {
            let (inner, strategy) = meta.of_struct(&key)?;
            *current = if strategy.replace { patch } else { merge_map(std::mem::take(current), patch, inner)? };
        }
        (Value::Array(current), Value::Array(patch)) => {
            let (inner, strategy) = meta.of_list(&key)?;
            *current = lists::merge_field(std::mem::take(current), patch, inner, strategy, delete_list)?;
        }
        (current, value) => {
            let same = error::go_type(current) == error::go_type(&value);
            if same || !delete_list {
                put(original, key, value);
            }
        }
    }
    Ok(())
}

/// Takes the patch's value as it is, without nulls and directives.
fn put(original: &mut Map<String, Value>, key: String, mut value: Value) {
    discard_nulls(&mut value);
    match remove_directives(value) {
        Some(value) => {
            original.insert(key, value);
        }
        None => {
            original.remove(&key);
        }
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// The value without maps that are directives; nothing when it is one itself.
fn remove_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(members) if members.contains_key(DIRECTIVE) => return None,
        Value::Object(members) => Value::Object(
            members.into_iter().filter_map(|(key, value)| Some((key, remove_directives(value)?))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().filter_map(remove_directives).collect()),
        other => other,
    })
}

/// `$retainKeys`: what the list does not name is dropped, so that a union can change its member.
fn apply_retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(PatchError::RetainKeys) };
    let keys: std::collections::HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    for (key, value) in &*patch {
        let exempt = value.is_null() || key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER);
        if !exempt && !keys.contains(key.as_str()) {
            return Err(PatchError::RetainKeys);
        }
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

/// `$setElementOrder/list`: the list is merged with its patch and then put into the order that the client saw.
fn apply_element_orders(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    meta: Meta<'_>,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Value::Array(order) = order else { return Err(PatchError::bad_argument("[]interface {}", &order)) };
        let key = directive
            .strip_prefix(ELEMENT_ORDER)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(PatchError::ElementOrder)?;
        let list = |members: &Map<String, Value>| match members.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(PatchError::bad_argument("[]interface {}", other)),
        };
        let (current, patched) = (list(original)?, list(patch)?);
        let (inner, strategy) = meta.of_list(key)?;
        if let Some(ordered) = lists::merge_ordered(current, patched, &order, inner, strategy)? {
            original.insert(key.to_owned(), Value::Array(ordered));
            patch.remove(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
