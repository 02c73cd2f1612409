//! Defaults, and nulls where none may be. Upstream: `schema/defaulting`.

use serde_json::Value;

use super::{Additional, Structural};

/// Fills in the defaults of what is absent, or null where null is not allowed.
pub fn apply(value: &mut Value, schema: &Structural) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                match members.get(name) {
                    None => {
                        members.insert(name.clone(), default.clone());
                    }
                    Some(Value::Null) if !property.nullable => {
                        members.insert(name.clone(), default.clone());
                    }
                    Some(_) => {}
                }
            }
            for (name, member) in members.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    apply(member, property);
                } else if let Some(Additional::Schema(additional)) = &schema.additional {
                    replace_null(member, additional);
                    apply(member, additional);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            for item in items {
                replace_null(item, below);
                apply(item, below);
            }
        }
        _ => {}
    }
}

fn replace_null(value: &mut Value, schema: &Structural) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
}

/// Drops members that are null where null is not allowed and no default takes its place.
pub fn drop_nulls(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| {
                !member.is_null()
                    || schema.member(name).is_none_or(|schema| schema.nullable || schema.default.is_some())
            });
            for (name, member) in members.iter_mut() {
                if let Some(schema) = schema.member(name) {
                    drop_nulls(member, schema);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            items.iter_mut().for_each(|item| drop_nulls(item, below));
        }
        _ => {}
    }
}
