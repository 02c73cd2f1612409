//! Lists: merged by key or as sets, then ordered as the client and the server had them.
//!
//! Upstream searches lists in lists; here the places of keys are looked up, so that a large patch stays cheap. The
//! result is the same.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::error::{PatchError, go_format_list, go_type};
use super::{DIRECTIVE, ELEMENT_ORDER, Meta, merge_map, remove_directives};
use crate::table::PatchStrategy;

type Items = Vec<Value>;

/// Merges a list that is on both sides.
pub(super) fn merge_field(
    original: Items,
    patch: Items,
    meta: Meta<'_>,
    strategy: &PatchStrategy,
    delete_list: bool,
) -> Result<Items, PatchError> {
    if strategy.merge || delete_list {
        merge(original, patch, meta, strategy.merge_key.as_deref().unwrap_or(""), delete_list)
    } else {
        Ok(patch)
    }
}

/// Merges a list and puts it into the order of a `$setElementOrder`. Nothing when there is no list at all.
pub(super) fn merge_ordered(
    original: Option<Items>,
    patch: Option<Items>,
    order: &[Value],
    meta: Meta<'_>,
    strategy: &PatchStrategy,
) -> Result<Option<Items>, PatchError> {
    let key = strategy.merge_key.as_deref().unwrap_or("");
    check_order(patch.as_deref().unwrap_or_default(), order, key)?;
    let kind = element_type(&[original.as_deref().unwrap_or_default(), patch.as_deref().unwrap_or_default()]);
    let server_order = original.clone().unwrap_or_default();
    let merged = match (original, patch) {
        (None, None) => return Ok(None),
        (Some(original), None) => original,
        (None, Some(patch)) => match remove_directives(Value::Array(patch)) {
            Some(Value::Array(items)) => items,
            _ => return Ok(None),
        },
        (Some(original), Some(patch)) => merge_field(original, patch, meta, strategy, false)?,
    };
    let (patched, server_only) = partition(merged, order, key)?;
    let maps = kind? == go_type(&Value::Object(Map::new()));
    normalize(patched, server_only, order, &server_order, key, maps).map(Some)
}

fn merge(original: Items, patch: Items, meta: Meta<'_>, key: &str, delete_list: bool) -> Result<Items, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let maps = element_type(&[&original, &patch])? == go_type(&Value::Object(Map::new()));
    if !maps {
        if delete_list {
            let gone: HashSet<String> = patch.iter().map(Value::to_string).collect();
            return Ok(original.into_iter().filter(|item| !gone.contains(&item.to_string())).collect());
        }
        let mut seen = HashSet::new();
        let both = original.iter().chain(&patch).filter(|item| seen.insert(item.to_string())).cloned().collect();
        let (patched, server_only) = partition(both, &patch, key)?;
        return normalize(patched, server_only, &patch, &original, key, false);
    }
    if key.is_empty() {
        return Err(PatchError::Other(format!("cannot merge lists without merge key for {}", meta.name())));
    }
    let (original, patch) = apply_element_directives(original, patch, key)?;
    let server_order = original.clone();
    let merged = merge_elements(original, &patch, key, meta)?;
    let (patched, server_only) = partition(merged, &patch, key)?;
    normalize(patched, server_only, &patch, &server_order, key, true)
}

/// Elements that are directives: `$patch: delete` by key, `$patch: replace` for the whole list.
fn apply_element_directives(mut original: Items, patch: Items, key: &str) -> Result<(Items, Items), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut deleted = HashSet::new();
    let mut replace = false;
    for item in patch {
        let members = as_map(&item)?;
        match members.get(DIRECTIVE) {
            None => plain.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    deleted.insert(key_of(members, key)?);
                }
                Some("replace") => replace = true,
                Some("merge") => {
                    return Err(PatchError::Other("merging lists cannot yet be specified in the patch".to_owned()));
                }
                _ => return Err(PatchError::bad_patch_type(directive, members)),
            },
        }
    }
    if replace {
        return Ok((plain, Vec::new()));
    }
    if !deleted.is_empty() {
        original.retain(|item| item.get(key).is_none_or(|value| !deleted.contains(&value.to_string())));
    }
    Ok((original, plain))
}

fn merge_elements(mut original: Items, patch: &[Value], key: &str, meta: Meta<'_>) -> Result<Items, PatchError> {
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, item) in original.iter().enumerate() {
        if let Some(value) = item.get(key) {
            places.entry(value.to_string()).or_insert(place);
        }
    }
    for item in patch {
        let members = as_map(item)?;
        let value = key_of(members, key)?;
        match places.get(&value).and_then(|place| original.get_mut(*place)) {
            Some(slot) => {
                let Value::Object(current) = slot else {
                    return Err(PatchError::bad_argument("map[string]interface {}", slot));
                };
                *slot = Value::Object(merge_map(std::mem::take(current), members.clone(), meta)?);
            }
            None => {
                places.insert(value, original.len());
                original.push(item.clone());
            }
        }
    }
    Ok(original)
}

/// Those that the list names, and the others.
fn partition(items: Items, by: &[Value], key: &str) -> Result<(Items, Items), PatchError> {
    let mut named = HashSet::new();
    for item in by {
        if key.is_empty() {
            named.insert(item.to_string());
        } else if let Some(value) = as_map(item)?.get(key) {
            named.insert(value.to_string());
        }
    }
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for item in items {
        let value = if key.is_empty() { item.to_string() } else { key_of(as_map(&item)?, key)? };
        if named.contains(&value) { inside.push(item) } else { outside.push(item) }
    }
    Ok((inside, outside))
}

/// Sorts both parts by their orders and merges them by the server's.
fn normalize(
    patch: Items,
    server_only: Items,
    patch_order: &[Value],
    server_order: &[Value],
    key: &str,
    maps: bool,
) -> Result<Items, PatchError> {
    let patch = sort(patch, patch_order, key, maps)?;
    let server_only = sort(server_only, server_order, key, maps)?;
    let places = places(server_order, key, maps);
    let place = |item: &Value| places.get(&identity(item, key, maps)).copied();
    let mut all = Vec::with_capacity(patch.len() + server_only.len());
    let mut server_only = server_only.into_iter().peekable();
    for item in patch {
        // An item of the server comes first only when the server had it before.
        while let Some(next) = server_only.peek() {
            match (place(next), place(&item)) {
                (Some(left), Some(right)) if left < right => all.extend(server_only.next()),
                _ => break,
            }
        }
        all.push(item);
    }
    all.extend(server_only);
    Ok(all)
}

fn sort(items: Items, order: &[Value], key: &str, maps: bool) -> Result<Items, PatchError> {
    if maps {
        for item in items.iter().chain(order) {
            key_of(as_map(item)?, key)?;
        }
    }
    let places = places(order, key, maps);
    let (mut items, deleted): (Items, Items) =
        items.into_iter().partition(|item| item.get(DIRECTIVE).is_none_or(|value| value != "delete"));
    items.sort_by_key(|item| places.get(&identity(item, key, maps)).copied());
    items.extend(deleted);
    Ok(items)
}

fn places(order: &[Value], key: &str, maps: bool) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(order.len());
    for (place, item) in order.iter().enumerate() {
        places.entry(identity(item, key, maps)).or_insert(place);
    }
    places
}

fn identity(item: &Value, key: &str, maps: bool) -> String {
    if maps { item.get(key).map(Value::to_string).unwrap_or_default() } else { item.to_string() }
}

/// The items of the patch must stand in the order that they were said to stand in.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch {
        if !key.is_empty() {
            as_map(item)?;
        }
        if item.get(DIRECTIVE).is_some() {
            continue;
        }
        let value = if key.is_empty() { item.to_string() } else { key_of(as_map(item)?, key)? };
        loop {
            let Some(next) = rest.next() else {
                return Err(PatchError::Other(format!(
                    "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
                    go_format_list(patch),
                    go_format_list(order)
                )));
            };
            let other = if key.is_empty() { next.to_string() } else { key_of(as_map(next)?, key)? };
            if other == value {
                break;
            }
        }
    }
    Ok(())
}

/// The one type of all elements.
fn element_type(lists: &[&[Value]]) -> Result<&'static str, PatchError> {
    let mut found = None;
    for item in lists.iter().copied().flatten() {
        let kind = go_type(item);
        match found {
            None if item.is_array() => return Err(PatchError::ListOfLists),
            None => found = Some(kind),
            Some(found) if found != kind => {
                let lists: Vec<String> = lists.iter().map(|list| go_format_list(list)).collect();
                return Err(PatchError::Other(format!("list element types are not identical: [{}]", lists.join(" "))));
            }
            Some(_) => {}
        }
    }
    found.ok_or_else(|| PatchError::Other("no elements in any of the given slices".to_owned()))
}

fn as_map(item: &Value) -> Result<&Map<String, Value>, PatchError> {
    item.as_object().ok_or_else(|| PatchError::bad_argument("map[string]interface {}", item))
}

fn key_of(members: &Map<String, Value>, key: &str) -> Result<String, PatchError> {
    members.get(key).map(Value::to_string).ok_or_else(|| PatchError::no_merge_key(members, key))
}
