//! Reads the messages of `k8s-pb`: prost structs with their tags and documentation, in the order of the `.proto` files,
//! which is the order of upstream's Go structs.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// One protobuf message.
pub(super) struct Message {
    /// Package in the notation of OpenAPI definitions, e.g. `io.k8s.api.core.v1`.
    pub(super) package: String,
    /// Name as prost spells it: initialisms lose their capitals.
    pub(super) name: String,
    pub(super) docs: Vec<String>,
    pub(super) fields: Vec<ProtoField>,
}

pub(super) struct ProtoField {
    /// Name as prost spells it.
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) shape: Shape,
    pub(super) docs: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Bool,
    Int32,
    Int64,
    Double,
    String,
    Bytes,
    /// Package and name (as prost spells it) of a message.
    Message(String, String),
    List(Box<Shape>),
    Map(Box<Shape>),
}

/// Every message below the folder.
pub(super) fn read(source: &Path) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    for top in ["api", "apimachinery", "apiextensions_apiserver", "kube_aggregator"] {
        walk(&source.join(top), &mut vec![top.to_owned()], &mut messages)?;
    }
    Ok(messages)
}

fn walk(folder: &Path, path: &mut Vec<String>, messages: &mut Vec<Message>) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .collect::<std::io::Result<Vec<_>>>()?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for entry in entries {
        let Some(name) = entry.file_name().and_then(|name| name.to_str()) else { continue };
        if entry.is_dir() {
            path.push(name.to_owned());
            walk(&entry, path, messages)?;
            path.pop();
        } else if name == "mod.rs" {
            let text = std::fs::read_to_string(&entry).with_context(|| format!("read {}", entry.display()))?;
            read_file(&text, path, messages).with_context(|| entry.display().to_string())?;
        }
    }
    Ok(())
}

fn read_file(text: &str, path: &[String], messages: &mut Vec<Message>) -> Result<()> {
    let mut docs = Vec::new();
    let mut attribute: Option<String> = None;
    let mut current: Option<Message> = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned());
        } else if line.starts_with("#[prost(") {
            let mut joined = line.to_owned();
            while !joined.ends_with(")]") {
                joined.push_str(lines.next().context("attribute ends")?.trim());
            }
            attribute = Some(joined);
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            let message = Message {
                package: package_name(path),
                name: name.trim_end_matches(['{', '}', ' ', ';']).to_owned(),
                docs: std::mem::take(&mut docs),
                fields: Vec::new(),
            };
            if line.ends_with('{') { current = Some(message) } else { messages.push(message) }
        } else if line == "}" {
            messages.extend(current.take());
            docs.clear();
        } else if let (Some(field), Some(message)) = (line.strip_prefix("pub "), current.as_mut()) {
            let mut joined = field.to_owned();
            while !joined.ends_with(',') || joined.matches('<').count() != joined.matches('>').count() {
                joined.push_str(lines.next().context("field ends")?.trim());
            }
            let (name, kind) = joined.trim_end_matches(',').split_once(':').context("field has a type")?;
            let attribute = attribute.take().with_context(|| format!("attribute of {name}"))?;
            message.fields.push(ProtoField {
                name: name.trim_start_matches("r#").to_owned(),
                number: number(&attribute)?,
                shape: shape(&attribute, kind.trim(), path)?,
                docs: std::mem::take(&mut docs),
            });
        } else if !line.starts_with("#[") {
            docs.clear();
        }
    }
    Ok(())
}

fn number(attribute: &str) -> Result<u32> {
    let (_, rest) = attribute.split_once("tag = \"").context("tag")?;
    let (number, _) = rest.split_once('"').context("tag ends")?;
    Ok(number.parse()?)
}

fn shape(attribute: &str, kind: &str, path: &[String]) -> Result<Shape> {
    let arguments = attribute.trim_start_matches("#[prost(");
    let element = |word: &str| -> Result<Shape> {
        Ok(match word {
            "bool" => Shape::Bool,
            "int32" => Shape::Int32,
            "int64" => Shape::Int64,
            "double" => Shape::Double,
            "string" => Shape::String,
            "bytes" => Shape::Bytes,
            "message" => {
                let (package, name) = reference(kind, path)?;
                Shape::Message(package, name)
            }
            other => bail!("unknown prost type {other}"),
        })
    };
    if let Some(rest) = arguments.strip_prefix("btree_map = \"string, ") {
        let (word, _) = rest.split_once('"').context("map ends")?;
        return Ok(Shape::Map(Box::new(element(word)?)));
    }
    let word = arguments.split([',', ' ', '=']).next().unwrap_or_default();
    let inner = element(word)?;
    Ok(if attribute.contains(", repeated") { Shape::List(Box::new(inner)) } else { inner })
}

/// The innermost type of a field as package and name.
fn reference(kind: &str, path: &[String]) -> Result<(String, String)> {
    let inner = kind.trim_end_matches(['>', ',', ' ']).rsplit(['<', ' ', ',']).next().unwrap_or(kind);
    let mut base = path.to_vec();
    let mut segments: Vec<&str> = inner.split("::").collect();
    let name = segments.pop().context("type has a name")?;
    let relative = segments.iter().all(|segment| *segment == "super") || segments.first() == Some(&"super");
    if !relative && !segments.is_empty() {
        bail!("type {inner} is not relative");
    }
    for segment in segments {
        if segment == "super" {
            base.pop();
        } else {
            base.push(segment.to_owned());
        }
    }
    Ok((package_name(&base), name.to_owned()))
}

fn package_name(path: &[String]) -> String {
    let mut name = "io.k8s".to_owned();
    for segment in path {
        name.push('.');
        match segment.as_str() {
            "apiextensions_apiserver" => name.push_str("apiextensions-apiserver"),
            "kube_aggregator" => name.push_str("kube-aggregator"),
            other => name.push_str(other),
        }
    }
    name
}
