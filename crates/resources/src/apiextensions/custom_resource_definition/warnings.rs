//! Warnings of definitions. Upstream: `WarningsOnCreate`, `WarningsOnUpdate`.

use std::collections::BTreeSet;

use registry::DynamicObject;
use schema::structural::Format;

use super::{fields, validation};

pub(super) fn all(new: &DynamicObject, old: Option<&DynamicObject>) -> Vec<String> {
    let known: Vec<String> = old.map(formats).unwrap_or_default();
    let mut out: Vec<String> = formats(new)
        .into_iter()
        .filter(|format| !known.contains(format))
        .map(|format| format!("unrecognized format {}", apimachinery::field::go_quote(&format)))
        .collect();
    let known = old.map(sets).unwrap_or_default();
    out.extend(sets(new).into_iter().filter(|warning| !known.contains(warning)));
    out
}

/// Formats that nobody checks.
fn formats(definition: &DynamicObject) -> Vec<String> {
    let mut out = Vec::new();
    for schema in fields::versions(definition).iter().filter_map(fields::schema) {
        validation::visit(schema, &mut |node| {
            let format = fields::text(node, "format");
            if !format.is_empty() && !Format::is_known(format, fields::text(node, "type")) {
                out.push(format.to_owned());
            }
            false
        });
    }
    out
}

fn sets(definition: &DynamicObject) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for schema in fields::versions(definition).iter().filter_map(fields::schema) {
        validation::visit(schema, &mut |node| {
            let items = node.get("items").map_or("", |items| fields::text(items, "type"));
            if fields::text(node, "x-kubernetes-list-type") == "set" && matches!(items, "object" | "array") {
                out.insert(format!(
                    "x-kubernetes-list-type: set for items of type \"{items}\" is not supported by server-side apply or CEL validation rules"
                ));
            }
            false
        });
    }
    out
}
