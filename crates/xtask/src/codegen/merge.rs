//! Joins what the two packages and the supplement say into one table, and refuses to guess: a field of v1.36 without a
//! protobuf number is an error that names it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::openapi_crate::{Definition, ListType, OpenApiField};
use super::proto_crate::{Message, ProtoField, Shape};
use super::supplement::{NewField, Supplement};

/// A type of the table.
pub(super) struct TableType {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) kinds: Vec<(String, String, String)>,
    /// `apiVersion` and `kind` are read and written although no protobuf field carries them.
    pub(super) type_meta: bool,
    pub(super) special: Option<&'static str>,
    pub(super) atomic: bool,
    pub(super) fields: Vec<TableField>,
}

#[derive(Clone)]
pub(super) struct TableField {
    pub(super) name: String,
    /// Numbers of the messages that the field is inlined from, the outermost first.
    pub(super) outer: Vec<u32>,
    pub(super) number: u32,
    pub(super) shape: Shape,
    pub(super) presence: Presence,
    pub(super) required: bool,
    pub(super) description: String,
    pub(super) markers: BTreeMap<String, Vec<String>>,
}

/// When a field is printed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Presence {
    /// Always.
    Always,
    /// When it is not its type's zero value.
    NonZero,
    /// When it was set.
    Set,
    /// Always, as null when it was not set.
    Nullable,
}

/// Types with a JSON form of their own.
const SPECIAL: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "int-or-string"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "micro-time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "duration"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "raw"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "raw"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "raw"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "schema-or-array"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "schema-or-bool"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", "schema-or-strings"),
];
/// Messages that exist only to hold a list of strings: in JSON they are the list.
const STRINGS: &[&str] = &[
    "io.k8s.api.authentication.v1.ExtraValue",
    "io.k8s.api.authorization.v1.ExtraValue",
    "io.k8s.api.certificates.v1.ExtraValue",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Verbs",
];

struct Merger<'s> {
    messages: BTreeMap<(String, String), &'s Message>,
    openapi: &'s BTreeMap<String, Definition>,
    supplement: &'s Supplement,
    /// Package and lower-case name to the true name.
    spelling: BTreeMap<(String, String), String>,
    missing: Vec<String>,
}

pub(super) fn merge(
    proto: Vec<Message>,
    openapi: &BTreeMap<String, Definition>,
    supplement: &Supplement,
) -> Result<Vec<TableType>> {
    let mut merger = Merger {
        messages: proto
            .iter()
            .map(|message| ((message.package.clone(), message.name.to_lowercase()), message))
            .collect(),
        openapi,
        supplement,
        spelling: BTreeMap::new(),
        missing: Vec::new(),
    };
    for name in openapi.keys().chain(supplement.types.values()).chain(supplement.kinds.iter().map(|kind| &kind.0)) {
        let (package, short) = split(name)?;
        merger.spelling.insert((package.to_owned(), short.to_lowercase()), short.to_owned());
    }
    for (name, spelled) in &supplement.types {
        let (package, short) = split(name)?;
        merger.spelling.insert((package.to_owned(), short.to_lowercase()), spelled.clone());
    }

    let mut kinds: BTreeMap<String, Vec<(String, String, String)>> = BTreeMap::new();
    for definition in openapi.values() {
        let Some((group, version, kind)) = &definition.kind else { continue };
        let (package, _) = split(&definition.name)?;
        if !wanted(package) {
            continue;
        }
        kinds.entry(definition.name.clone()).or_default().push((group.clone(), version.clone(), kind.clone()));
        if let Some(list) = &definition.list_kind {
            merger.spelling.insert((package.to_owned(), list.to_lowercase()), list.clone());
            kinds.entry(format!("{package}.{list}")).or_default().push((group.clone(), version.clone(), list.clone()));
        }
    }
    for (name, group, version) in &supplement.kinds {
        let (_, kind) = split(name)?;
        let entry = (group.clone(), version.clone(), kind.to_owned());
        let known = kinds.entry(name.clone()).or_default();
        if !known.contains(&entry) {
            known.push(entry);
        }
    }

    let mut queue: Vec<String> = kinds.keys().cloned().collect();
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let mut table = BTreeMap::new();
    while let Some(name) = queue.pop() {
        let mut kind = merger.table_type(&name)?;
        kind.kinds = kinds.get(&name).cloned().unwrap_or_default();
        for field in &mut kind.fields {
            if let Some(values) = supplement.enums.get(&(name.clone(), field.name.clone())) {
                field.markers.insert("enum".to_owned(), vec![values.clone()]);
            }
        }
        // Frames of a watch have no type of their own to tell.
        kind.type_meta = !kind.kinds.is_empty() && !name.ends_with(".WatchEvent");
        for field in &kind.fields {
            if let Some(next) = referenced(&field.shape)
                && seen.insert(next.clone())
            {
                queue.push(next);
            }
        }
        table.insert(name, kind);
    }
    if !merger.missing.is_empty() {
        merger.missing.sort();
        bail!("facts are missing, add them to supplement.txt:\n{}", merger.missing.join("\n"));
    }
    Ok(table.into_values().collect())
}

/// The fields of every list: lists of the newest kinds are in neither package.
fn list_fields(package: &str, element: &str) -> Vec<TableField> {
    let field = |name: &str, number, shape, presence, required| TableField {
        name: name.to_owned(),
        outer: Vec::new(),
        number,
        shape,
        presence,
        required,
        description: String::new(),
        markers: BTreeMap::new(),
    };
    let meta = Shape::Message("io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(), "ListMeta".to_owned());
    let items = Shape::List(Box::new(Shape::Message(package.to_owned(), element.to_owned())));
    vec![field("metadata", 1, meta, Presence::NonZero, false), field("items", 2, items, Presence::Always, true)]
}

/// Alpha versions are not served, and thus not described.
fn wanted(package: &str) -> bool {
    let version = package.rsplit('.').next().unwrap_or_default();
    !version.contains("alpha")
}

fn split(name: &str) -> Result<(&str, &str)> {
    name.rsplit_once('.').with_context(|| format!("{name} has a package"))
}

fn referenced(shape: &Shape) -> Option<String> {
    match shape {
        Shape::Message(package, name) => Some(format!("{package}.{name}")),
        Shape::List(inner) | Shape::Map(inner) => referenced(inner),
        _ => None,
    }
}

fn rehome(shape: &mut Shape, from: &str, to: &str) {
    match shape {
        Shape::Message(package, _) if package == from => to.clone_into(package),
        Shape::List(inner) | Shape::Map(inner) => rehome(inner, from, to),
        _ => {}
    }
}

fn normal(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

// === impl Merger ===

impl<'s> Merger<'s> {
    fn table_type(&mut self, name: &str) -> Result<TableType> {
        let mut kind = TableType {
            name: name.to_owned(),
            description: String::new(),
            kinds: Vec::new(),
            type_meta: false,
            special: None,
            atomic: false,
            fields: Vec::new(),
        };
        let (package, short) = split(name)?;
        let definition = self.openapi.get(name);
        let message = self.message(package, short);
        kind.description = match (definition, &message) {
            (Some(definition), _) => definition.description.clone(),
            (None, Some((_, message))) => prose(&message.docs),
            (None, None) => {
                kind.fields = list_fields(
                    package,
                    short.strip_suffix("List").with_context(|| format!("{name} is in neither package"))?,
                );
                return Ok(kind);
            }
        };
        if let Some(message) = &message {
            kind.atomic = message.1.docs.iter().any(|doc| doc == "+structType=atomic");
        }
        if let Some((_, special)) = SPECIAL.iter().find(|(special, _)| *special == name) {
            kind.special = Some(special);
            if special.starts_with("schema-") {
                kind.fields = self.proto_fields(name, message.context("message")?.1, None, &[])?;
            }
            return Ok(kind);
        }
        if STRINGS.contains(&name) {
            kind.special = Some("strings");
            return Ok(kind);
        }
        if let Some((home, message)) = message {
            // An enum in the typed package (WatchEvent) says nothing about fields.
            let definition = definition.filter(|definition| !definition.fields.is_empty());
            kind.fields = self.proto_fields(name, message, definition, &[])?;
            for field in &mut kind.fields {
                rehome(&mut field.shape, &home, package);
            }
        }
        if let Some(definition) = definition {
            self.newer_fields(name, definition, &mut kind.fields)?;
        } else {
            self.newer_options(name, &mut kind.fields);
        }
        Ok(kind)
    }

    /// The message of a type and the package it was found in. A type that is newer than the protobuf package but existed
    /// in another version of its group has the numbers that it had there: they do not change on promotion.
    fn message(&self, package: &str, short: &str) -> Option<(String, &'s Message)> {
        if let Some(message) = self.messages.get(&(package.to_owned(), short.to_lowercase())) {
            return Some((package.to_owned(), message));
        }
        let (group, _) = package.rsplit_once('.')?;
        let sibling = self.messages.iter().rev().find(|((other, name), _)| {
            *name == short.to_lowercase() && other.rsplit_once('.').is_some_and(|(prefix, _)| prefix == group)
        });
        sibling.map(|((home, _), message)| (home.clone(), *message))
    }

    /// Fields of a message; those of inlined messages take the place of the message.
    fn proto_fields(
        &mut self,
        name: &str,
        message: &Message,
        definition: Option<&Definition>,
        outer: &[u32],
    ) -> Result<Vec<TableField>> {
        let mut fields = Vec::new();
        for proto in &message.fields {
            let key = |field: &str| (name.to_owned(), field.to_owned());
            let known = definition.and_then(|definition| {
                definition.fields.iter().find(|field| normal(&field.json_name) == normal(&proto.name))
            });
            let json_name = match known {
                Some(known) => known.json_name.clone(),
                None => self.spell(name, &proto.name),
            };
            if self.supplement.drop.contains(&key(&json_name)) {
                continue;
            }
            let shape = self.spelled_shape(&proto.shape);
            if known.is_none()
                && let Some(definition) = definition
            {
                let Some(inline) = self.inlined(&shape, definition) else {
                    self.missing.push(format!("drop {name} {json_name}"));
                    continue;
                };
                let outer = [outer, &[proto.number]].concat();
                fields.extend(self.proto_fields(name, inline, Some(definition), &outer)?);
                continue;
            }
            fields.push(self.field(name, json_name, proto, shape, known, outer));
        }
        Ok(fields)
    }

    /// A message whose every field is a field of the definition is inlined there.
    fn inlined(&self, shape: &Shape, definition: &Definition) -> Option<&'s Message> {
        let Shape::Message(package, name) = shape else { return None };
        let message = *self.messages.get(&(package.clone(), name.to_lowercase()))?;
        let all = message.fields.iter().all(|inner| {
            definition.fields.iter().any(|field| normal(&field.json_name) == normal(&inner.name))
                || self.inlined(&inner.shape, definition).is_some()
        });
        all.then_some(message)
    }

    fn field(
        &self,
        name: &str,
        json_name: String,
        proto: &ProtoField,
        shape: Shape,
        known: Option<&OpenApiField>,
        outer: &[u32],
    ) -> TableField {
        let mut markers = BTreeMap::new();
        let mut optional = false;
        for doc in &proto.docs {
            let Some(marker) = doc.trim().strip_prefix('+') else { continue };
            optional |= marker == "optional";
            read_marker(marker, &mut markers);
        }
        if let Some(new) = self.supplement.fields.get(&(name.to_owned(), json_name.clone())) {
            for marker in &new.markers {
                read_marker(marker, &mut markers);
            }
        }
        let required =
            known.map_or(!optional && !self.supplement.omit.contains(&(name.to_owned(), json_name.clone())), |known| {
                known.required
            }) && json_name != "metadata";
        let presence = self.presence(name, &json_name, &shape, required);
        let description = known.map_or_else(|| prose(&proto.docs), |known| known.description.clone());
        TableField {
            name: json_name,
            outer: outer.to_vec(),
            number: proto.number,
            shape,
            presence,
            required,
            description,
            markers,
        }
    }

    /// Fields of v1.36 that the protobuf package does not have yet.
    fn newer_fields(&mut self, name: &str, definition: &Definition, fields: &mut Vec<TableField>) -> Result<()> {
        let type_meta = |known: &OpenApiField| {
            definition.name.ends_with("Options") && matches!(known.json_name.as_str(), "apiVersion" | "kind")
        };
        let mut waiting: Vec<&OpenApiField> = definition
            .fields
            .iter()
            .filter(|known| {
                !known.json_name.is_empty()
                    && !type_meta(known)
                    && !fields.iter().any(|field| field.name == known.json_name)
            })
            .collect();
        // A new field may stand after another new field, so the places are found in rounds.
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for known in waiting {
                let Some(new) = self.supplement.fields.get(&(name.to_owned(), known.json_name.clone())) else {
                    self.missing.push(format!("field {name} {} NUMBER ({})", known.json_name, known.rust_type));
                    continue;
                };
                let place = match &new.after {
                    Some(after) => fields.iter().position(|field| field.name == *after).map(|place| place + 1),
                    None => Some(fields.len()),
                };
                match place {
                    Some(place) => fields.insert(place, self.newer_field(name, known, new)?),
                    None => later.push(known),
                }
            }
            if later.len() == before {
                bail!(
                    "{name}: no field to stand after for {:?}",
                    later.iter().map(|known| &known.json_name).collect::<Vec<_>>()
                );
            }
            waiting = later;
        }
        for field in fields.iter_mut() {
            if let Some(known) = definition.fields.iter().find(|known| known.json_name == field.name) {
                self.list_type(known, field);
            }
        }
        Ok(())
    }

    /// Newer fields of a type that has no definition: only the supplement knows them.
    fn newer_options(&self, name: &str, fields: &mut Vec<TableField>) {
        for ((owner, field), new) in &self.supplement.fields {
            if owner == name && new.is_string && !fields.iter().any(|known| known.name == *field) {
                fields.push(TableField {
                    name: field.clone(),
                    outer: Vec::new(),
                    number: new.number,
                    shape: Shape::String,
                    presence: self.presence(name, field, &Shape::String, false),
                    required: false,
                    description: String::new(),
                    markers: BTreeMap::new(),
                });
            }
        }
    }

    fn newer_field(&self, name: &str, known: &OpenApiField, new: &NewField) -> Result<TableField> {
        let shape = self.rust_shape(&known.rust_type).with_context(|| format!("{name}.{}", known.json_name))?;
        let mut markers = BTreeMap::new();
        for marker in &new.markers {
            read_marker(marker, &mut markers);
        }
        let required = known.required && known.json_name != "metadata";
        Ok(TableField {
            name: known.json_name.clone(),
            outer: Vec::new(),
            number: new.number,
            presence: self.presence(name, &known.json_name, &shape, required),
            shape,
            required,
            description: known.description.clone(),
            markers,
        })
    }

    /// List types of fields that came without markers.
    fn list_type(&self, known: &OpenApiField, field: &mut TableField) {
        if field.markers.contains_key("listType") {
            return;
        }
        match &known.list {
            Some(ListType::Set) => {
                field.markers.insert("listType".to_owned(), vec!["set".to_owned()]);
            }
            // A merge key without a list type is only a patch strategy.
            Some(ListType::Map(_)) if field.markers.contains_key("patchMergeKey") => {}
            Some(ListType::Map(keys)) => {
                let element = referenced(&field.shape).and_then(|name| self.openapi.get(&name));
                let json = keys.iter().map(|key| {
                    let found = element.and_then(|element| element.fields.iter().find(|field| field.rust_name == *key));
                    found.map_or_else(|| key.clone(), |field| field.json_name.clone())
                });
                field.markers.insert("listMapKey".to_owned(), json.collect());
                field.markers.insert("listType".to_owned(), vec!["map".to_owned()]);
            }
            None => {}
        }
    }

    fn presence(&self, name: &str, field: &str, shape: &Shape, required: bool) -> Presence {
        let key = (name.to_owned(), field.to_owned());
        let has = |set: &BTreeSet<(String, String)>| set.contains(&key);
        let always = (required || has(&self.supplement.always)) && !has(&self.supplement.omit);
        match shape {
            Shape::List(_) | Shape::Map(_) | Shape::Bytes if always => Presence::Always,
            Shape::List(_) | Shape::Map(_) | Shape::Bytes => Presence::NonZero,
            // Go cannot leave out a struct that is not behind a pointer, whatever its tag says.
            Shape::Message(..) if has(&self.supplement.omit) => Presence::NonZero,
            Shape::Message(..) => {
                let value = required || matches!(field, "metadata" | "spec" | "status") || has(&self.supplement.values);
                match (value && !has(&self.supplement.pointers), has(&self.supplement.always)) {
                    (true, _) => Presence::Always,
                    (false, true) => Presence::Nullable,
                    (false, false) => Presence::Set,
                }
            }
            _ => match (has(&self.supplement.pointers), always) {
                (true, true) if has(&self.supplement.always) => Presence::Nullable,
                (true, _) => Presence::Set,
                (false, true) => Presence::Always,
                (false, false) => Presence::NonZero,
            },
        }
    }

    fn spell(&self, name: &str, prost: &str) -> String {
        let spelled = self
            .supplement
            .spelled
            .get(name)
            .and_then(|fields| fields.iter().find(|field| normal(field) == normal(prost)));
        if let Some(spelled) = spelled {
            return spelled.clone();
        }
        let mut camel = String::new();
        for (index, word) in prost.split('_').enumerate() {
            let mut characters = word.chars();
            match characters.next() {
                Some(first) if index > 0 => camel.extend(first.to_uppercase()),
                Some(first) => camel.push(first),
                None => {}
            }
            camel.extend(characters);
        }
        camel
    }

    fn spelled_shape(&self, shape: &Shape) -> Shape {
        match shape {
            Shape::Message(package, name) => {
                let spelled = self.spelling.get(&(package.clone(), name.to_lowercase())).unwrap_or(name);
                Shape::Message(package.clone(), spelled.clone())
            }
            Shape::List(inner) => Shape::List(Box::new(self.spelled_shape(inner))),
            Shape::Map(inner) => Shape::Map(Box::new(self.spelled_shape(inner))),
            other => other.clone(),
        }
    }

    /// A Rust type of `k8s-openapi` as a shape.
    fn rust_shape(&self, rust: &str) -> Result<Shape> {
        let inside = |prefix: &str| rust.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
        if let Some(inner) = inside("Option<").or_else(|| inside("std::boxed::Box<")) {
            return self.rust_shape(inner);
        }
        if let Some(inner) = inside("std::vec::Vec<") {
            return Ok(Shape::List(Box::new(self.rust_shape(inner)?)));
        }
        if let Some(inner) = inside("std::collections::BTreeMap<std::string::String, ") {
            return Ok(Shape::Map(Box::new(self.rust_shape(inner)?)));
        }
        Ok(match rust {
            "bool" => Shape::Bool,
            "i32" => Shape::Int32,
            "i64" => Shape::Int64,
            "f64" => Shape::Double,
            "std::string::String" => Shape::String,
            "crate::ByteString" => Shape::Bytes,
            _ => {
                let path = rust.strip_prefix("crate::").with_context(|| format!("unknown type {rust}"))?;
                let dotted = path.replace("::", ".");
                let name = dotted.replacen("apiextensions_apiserver", "apiextensions-apiserver", 1).replacen(
                    "kube_aggregator",
                    "kube-aggregator",
                    1,
                );
                let (package, name) = split(&name)?;
                Shape::Message(format!("io.k8s.{package}"), name.to_owned())
            }
        })
    }
}

fn read_marker(marker: &str, markers: &mut BTreeMap<String, Vec<String>>) {
    let Some((key, value)) = marker.split_once('=') else { return };
    let key = key.trim().trim_start_matches("k8s:");
    match key {
        "listType" | "mapType" | "structType" | "patchMergeKey" | "default" => {
            markers.insert(key.to_owned(), vec![value.trim().to_owned()]);
        }
        "listMapKey" => {
            let keys = markers.entry(key.to_owned()).or_default();
            let value = value.trim().trim_matches('"').to_owned();
            if !keys.contains(&value) {
                keys.push(value);
            }
        }
        "patchStrategy" => {
            markers.insert(key.to_owned(), value.split(',').map(|part| part.trim().to_owned()).collect());
        }
        _ => {}
    }
}

/// Documentation without markers, as one paragraph a blank line, which is how OpenAPI descriptions are made.
fn prose(docs: &[String]) -> String {
    let mut text = String::new();
    for doc in docs {
        let doc = doc.trim();
        if doc == "---" {
            break;
        }
        if doc.starts_with('+') {
            continue;
        }
        if doc.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(doc);
        }
    }
    // rustdoc wants brackets escaped and links in angle brackets.
    for (escaped, plain) in [("\\<", "<"), ("\\>", ">"), ("\\[", "["), ("\\]", "]")] {
        text = text.replace(escaped, plain);
    }
    let mut plain = String::new();
    let mut rest = text.trim();
    while let Some((before, link)) = rest.split_once("<http") {
        let (link, after) = link.split_once('>').unwrap_or((link, ""));
        plain.push_str(&format!("{before}http{link}"));
        rest = after;
    }
    plain + rest
}
