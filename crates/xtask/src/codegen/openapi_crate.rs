//! Reads the definitions of `k8s-openapi`: JSON names, required fields, list types and descriptions of v1.36.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// One OpenAPI definition.
#[derive(Default)]
pub(super) struct Definition {
    /// E.g. `io.k8s.api.core.v1.PodSpec`.
    pub(super) name: String,
    pub(super) description: String,
    pub(super) fields: Vec<OpenApiField>,
    /// Group, version, kind when the definition is a kind.
    pub(super) kind: Option<(String, String, String)>,
    pub(super) list_kind: Option<String>,
}

#[derive(Default)]
pub(super) struct OpenApiField {
    pub(super) rust_name: String,
    pub(super) json_name: String,
    pub(super) description: String,
    pub(super) required: bool,
    pub(super) list: Option<ListType>,
    /// The Rust type, for fields that `k8s-pb` does not know.
    pub(super) rust_type: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ListType {
    Set,
    /// Keys as Rust spells them.
    Map(Vec<String>),
}

/// Every definition below the folder, by name.
pub(super) fn read(source: &Path) -> Result<BTreeMap<String, Definition>> {
    let mut definitions = BTreeMap::new();
    walk(source, &mut definitions)?;
    Ok(definitions)
}

fn walk(folder: &Path, definitions: &mut BTreeMap<String, Definition>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, definitions)?;
        } else {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            if let Some(name) = text.lines().next().and_then(|line| line.strip_prefix("// Generated from definition "))
            {
                definitions.insert(name.to_owned(), read_file(name, &text));
            }
        }
    }
    Ok(())
}

fn read_file(name: &str, text: &str) -> Definition {
    let mut definition = Definition { name: name.to_owned(), ..Definition::default() };
    let mut lines =
        text.lines().skip(1).skip_while(|line| !line.starts_with("pub struct ") && !line.starts_with("pub enum "));
    // Only structs with named fields have fields in JSON.
    if lines.next().is_some_and(|line| line.starts_with("pub struct ") && line.ends_with('{')) {
        for line in lines.take_while(|line| *line != "}") {
            let field = line.strip_prefix("    pub ").and_then(|field| field.split_once(": "));
            let Some((rust_name, rust_type)) = field else { continue };
            let rust_type = rust_type.trim_end_matches(',');
            definition.fields.push(OpenApiField {
                rust_name: rust_name.to_owned(),
                required: !rust_type.starts_with("Option<"),
                rust_type: rust_type.to_owned(),
                ..OpenApiField::default()
            });
        }
    }
    read_merges(text, &mut definition.fields);
    read_json_names(text, &mut definition.fields);
    read_descriptions(text, &mut definition);
    let constant = |key: &str| {
        let (_, rest) = text.split_once(&format!("const {key}: &'static str = \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    if let (Some(group), Some(version), Some(kind)) = (constant("GROUP"), constant("VERSION"), constant("KIND")) {
        definition.kind = Some((group, version, kind));
    }
    definition.list_kind = constant("LIST_KIND");
    definition
}

/// `merge_strategies::list::…(&mut self.field, …, &[|lhs, rhs| lhs.key == rhs.key], …)`.
fn read_merges(text: &str, fields: &mut [OpenApiField]) {
    for call in text.split("merge_strategies::list::").skip(1) {
        let Some((strategy, rest)) = call.split_once('(') else { continue };
        let Some(rest) = rest.trim_start().strip_prefix("&mut self.") else { continue };
        let Some((name, rest)) = rest.split_once(',') else { continue };
        let list = match strategy {
            "set" => ListType::Set,
            "map" => {
                let keys =
                    rest.split_once("&[").and_then(|(_, keys)| keys.split_once(']')).map_or("", |(keys, _)| keys);
                ListType::Map(
                    keys.split("lhs.").skip(1).filter_map(|key| Some(key.split_once(" ==")?.0.to_owned())).collect(),
                )
            }
            _ => continue,
        };
        if let Some(field) = fields.iter_mut().find(|field| field.rust_name == name) {
            field.list = Some(list);
        }
    }
}

/// The texts of the JSON schema: unlike the documentation they are verbatim.
fn read_descriptions(text: &str, definition: &mut Definition) {
    let Some((_, body)) = text.split_once("json_schema!({") else { return };
    let mut current: Option<&str> = None;
    for line in body.lines() {
        if let Some(name) = line.strip_prefix("                \"").and_then(|rest| rest.split('"').next()) {
            current = Some(name);
        }
        let Some(text) = literal(line) else { continue };
        match current {
            None => definition.description = text,
            Some(name) => {
                let field = definition.fields.iter_mut().find(|field| field.json_name == name);
                // The first text is the field's own, later ones are those of its parts.
                if let Some(field) = field.filter(|field| field.description.is_empty()) {
                    field.description = text;
                }
            }
        }
    }
}

/// The string literal after `"description"`, unescaped.
fn literal(line: &str) -> Option<String> {
    let rest = line.trim_start();
    let rest =
        rest.strip_prefix("\"description\": \"").or_else(|| Some(rest.split_once("\"description\".into(), \"")?.1))?;
    let mut text = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// The name that `Serialize` writes right after it mentioned the field.
fn read_json_names(text: &str, fields: &mut [OpenApiField]) {
    let Some((_, body)) = text.split_once("fn serialize<S>") else { return };
    let mut pending: Option<&str> = None;
    for line in body.lines() {
        let line = line.trim();
        let mentioned = line.split_once("&self.").map(|(_, rest)| rest.trim_end_matches([')', '?', ';', '{', ' ']));
        if let Some((_, rest)) = line.split_once("serialize_field(&mut state, \"") {
            let Some((json, _)) = rest.split_once('"') else { continue };
            let name = mentioned.or(pending.take());
            if let Some(field) = fields.iter_mut().find(|field| Some(field.rust_name.as_str()) == name) {
                field.json_name = json.to_owned();
            }
        } else if line.starts_with("if let Some(value)") {
            pending = mentioned;
        } else if line.starts_with("#[cfg(feature") {
            return;
        }
    }
}
