//! Fields that the schema does not name are dropped. Upstream: `schema/pruning`.

use serde_json::Value;

use super::{Additional, Structural, is_meta};

/// Drops what the schema does not know, below `root` too; the members of a resource's metadata are left alone.
/// Gives back the paths of what was dropped, sorted: `spec.foo[0].bar`.
pub fn prune(object: &mut Value, schema: &Structural, is_resource: bool) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
    if schema.preserve_unknown {
        pruner.skip(object, schema, is_resource || schema.embedded);
    } else {
        pruner.node(object, Some(schema), is_resource || schema.embedded);
    }
    pruner.unknown.sort();
    pruner.unknown
}

struct Pruner {
    path: String,
    unknown: Vec<String>,
}

/// More than this a client does not want to read.
const MOST: usize = 100;

impl Pruner {
    fn below(&mut self, name: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        walk(self);
        self.path.truncate(length);
    }

    fn item(&mut self, index: usize, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        walk(self);
        self.path.truncate(length);
    }

    fn report(&mut self, name: &str) {
        if self.unknown.len() < MOST {
            let dot = if self.path.is_empty() { "" } else { "." };
            self.unknown.push(format!("{}{dot}{name}", self.path));
        }
    }

    fn step(&mut self, value: &mut Value, schema: Option<&Structural>) {
        let embedded = schema.is_some_and(|schema| schema.embedded);
        match schema {
            Some(schema) if schema.preserve_unknown => self.skip(value, schema, embedded),
            schema => self.node(value, schema, embedded),
        }
    }

    fn node(&mut self, value: &mut Value, schema: Option<&Structural>, embedded: bool) {
        match value {
            Value::Object(members) => {
                let mut gone = Vec::new();
                for (name, member) in members.iter_mut() {
                    if embedded && is_meta(name) {
                        continue;
                    }
                    match schema.map(|schema| (schema.properties.get(name), &schema.additional)) {
                        Some((Some(property), _)) => self.below(name, |this| this.step(member, Some(property))),
                        Some((None, Some(Additional::Schema(additional)))) => {
                            self.below(name, |this| this.step(member, Some(additional)));
                        }
                        // Upstream walks on without a schema, and so empties what is inside.
                        Some((None, Some(Additional::Any(_)))) => self.below(name, |this| this.step(member, None)),
                        Some((None, None)) | None => gone.push(name.clone()),
                    }
                }
                for name in gone {
                    if !is_meta(&name) || !self.path.is_empty() {
                        self.report(&name);
                    }
                    members.remove(&name);
                }
            }
            Value::Array(items) => {
                let below = schema.and_then(|schema| schema.items.as_deref());
                for (index, item) in items.iter_mut().enumerate() {
                    self.item(index, |this| this.step(item, below));
                }
            }
            _ => {}
        }
    }

    /// Unknown fields stay here, but known ones may have schemas that prune.
    fn skip(&mut self, value: &mut Value, schema: &Structural, embedded: bool) {
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    if embedded && is_meta(name) {
                        continue;
                    }
                    if let Some(property) = schema.member(name) {
                        self.below(name, |this| this.step(member, Some(property)));
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = schema.items.as_deref() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.item(index, |this| this.skip(item, below, below.embedded));
                }
            }
            _ => {}
        }
    }
}
