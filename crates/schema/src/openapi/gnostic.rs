//! v2 documents in protobuf: the messages of gnostic's `openapiv2/OpenAPIv2.proto`, as far as our documents go.
//!
//! Extensions travel as YAML text inside the messages; JSON is YAML.

use crate::json::{Node, Object};
use crate::protobuf::wire;

/// A document that grows path by path and definition by definition.
pub(super) struct Document {
    out: Vec<u8>,
    paths: Vec<u8>,
    definitions: Vec<u8>,
    parameters: Vec<u8>,
}

impl Document {
    pub(super) fn new(title: &str, version: &str) -> Self {
        let mut out = Vec::with_capacity(4 << 20);
        text(1, "2.0", &mut out);
        message(2, &mut out, |info| {
            text(1, title, info);
            text(2, version, info);
        });
        Self { out, paths: Vec::new(), definitions: Vec::new(), parameters: Vec::new() }
    }

    pub(super) fn path(&mut self, path: &str, item: &Node<'_>) {
        named(2, path, &mut self.paths, |out| path_item(item, out));
    }

    /// After the last path: they are written before the definitions.
    pub(super) fn end_paths(&mut self) {
        wire::bytes(8, &std::mem::take(&mut self.paths), &mut self.out);
    }

    pub(super) fn definition(&mut self, name: &str, definition: &Node<'_>) {
        named(1, name, &mut self.definitions, |out| schema(definition, out));
    }

    /// One that paths refer to.
    pub(super) fn parameter(&mut self, name: &str, node: &Node<'_>) {
        let Some(node) = node.as_object() else { return };
        named(1, name, &mut self.parameters, |out| parameter(node, out));
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        wire::bytes(9, &self.definitions, &mut self.out);
        wire::bytes(10, &self.parameters, &mut self.out);
        // Who asks shows a token, always.
        message(12, &mut self.out, |out| named(1, "BearerToken", out, |_| {}));
        message(13, &mut self.out, |out| {
            named(1, "BearerToken", out, |out| {
                message(2, out, |out| {
                    text(1, "apiKey", out);
                    text(2, "authorization", out);
                    text(3, "header", out);
                    text(4, "Bearer Token authentication", out);
                });
            });
        });
        self.out
    }
}

fn text(number: u32, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        wire::bytes(number, value.as_bytes(), out);
    }
}

fn message(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let written: Result<(), std::convert::Infallible> = wire::nested(number, out, |out| {
        write(out);
        Ok(())
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// An entry of a map, which gnostic keeps as a list of pairs.
fn named(number: u32, name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    message(number, out, |out| {
        text(1, name, out);
        message(2, out, write);
    });
}

fn member(object: &Object<'_>, name: &str, number: u32, out: &mut Vec<u8>) {
    match object.get(name) {
        Some(Node::String(value)) => text(number, value, out),
        Some(Node::Bool(true)) => wire::number(number, 1, out),
        _ => {}
    }
}

fn texts(object: &Object<'_>, name: &str, number: u32, out: &mut Vec<u8>) {
    if let Some(Node::Array(items)) = object.get(name) {
        for item in items.iter().filter_map(Node::as_str) {
            wire::bytes(number, item.as_bytes(), out);
        }
    }
}

fn extensions(object: &Object<'_>, number: u32, out: &mut Vec<u8>) {
    for (name, value) in object.0.iter().filter(|(name, _)| name.starts_with("x-")) {
        named(number, name, out, |out| yaml(value, out));
    }
}

/// Gnostic's `Any`.
fn yaml(value: &Node<'_>, out: &mut Vec<u8>) {
    let mut yaml = value.to_json();
    yaml.push(b'\n');
    wire::bytes(2, &yaml, out);
}

fn schema(node: &Node<'_>, out: &mut Vec<u8>) {
    let Some(object) = node.as_object() else { return };
    member(object, "$ref", 1, out);
    member(object, "format", 2, out);
    member(object, "title", 3, out);
    member(object, "description", 4, out);
    any(object, "default", 5, out);
    double(object, "multipleOf", 6, out);
    double(object, "maximum", 7, out);
    member(object, "exclusiveMaximum", 8, out);
    double(object, "minimum", 9, out);
    member(object, "exclusiveMinimum", 10, out);
    integer(object, "maxLength", 11, out);
    integer(object, "minLength", 12, out);
    member(object, "pattern", 13, out);
    integer(object, "maxItems", 14, out);
    integer(object, "minItems", 15, out);
    member(object, "uniqueItems", 16, out);
    integer(object, "maxProperties", 17, out);
    integer(object, "minProperties", 18, out);
    texts(object, "required", 19, out);
    if let Some(Node::Array(values)) = object.get("enum") {
        for value in values {
            message(20, out, |out| yaml(value, out));
        }
    }
    match object.get("additionalProperties") {
        Some(Node::Bool(allowed)) => message(21, out, |out| wire::number(2, u64::from(*allowed), out)),
        Some(values) => message(21, out, |out| message(1, out, |out| schema(values, out))),
        None => {}
    }
    if let Some(kind) = object.get("type").and_then(Node::as_str) {
        message(22, out, |out| text(1, kind, out));
    }
    if let Some(items) = object.get("items") {
        message(23, out, |out| message(1, out, |out| schema(items, out)));
    }
    if let Some(Node::Object(properties)) = object.get("properties") {
        message(25, out, |out| {
            for (name, property) in &properties.0 {
                named(1, name, out, |out| schema(property, out));
            }
        });
    }
    if let Some(Node::Object(docs)) = object.get("externalDocs") {
        message(29, out, |out| {
            member(docs, "description", 1, out);
            member(docs, "url", 2, out);
        });
    }
    any(object, "example", 30, out);
    extensions(object, 31, out);
}

fn any(object: &Object<'_>, name: &str, number: u32, out: &mut Vec<u8>) {
    if let Some(value) = object.get(name) {
        message(number, out, |out| yaml(value, out));
    }
}

fn double(object: &Object<'_>, name: &str, number: u32, out: &mut Vec<u8>) {
    if let Some(Node::Number(text)) = object.get(name)
        && let Ok(value) = text.parse::<f64>()
        && value != 0.0
    {
        wire::tag(number, 1, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn integer(object: &Object<'_>, name: &str, number: u32, out: &mut Vec<u8>) {
    if let Some(Node::Number(text)) = object.get(name)
        && let Ok(value) = text.parse::<i64>()
        && value != 0
    {
        wire::number(number, value.cast_unsigned(), out);
    }
}

fn path_item(node: &Node<'_>, out: &mut Vec<u8>) {
    let Some(object) = node.as_object() else { return };
    let methods = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];
    for (method, number) in methods {
        if let Some(Node::Object(node)) = object.get(method) {
            message(number, out, |out| operation(node, out));
        }
    }
    parameters(object, 9, out);
}

fn operation(object: &Object<'_>, out: &mut Vec<u8>) {
    texts(object, "tags", 1, out);
    member(object, "description", 3, out);
    member(object, "operationId", 5, out);
    texts(object, "produces", 6, out);
    texts(object, "consumes", 7, out);
    parameters(object, 8, out);
    if let Some(Node::Object(responses)) = object.get("responses") {
        message(9, out, |out| {
            for (code, response) in &responses.0 {
                named(1, code, out, |out| {
                    message(1, out, |out| {
                        let Some(response) = response.as_object() else { return };
                        member(response, "description", 1, out);
                        if let Some(node) = response.get("schema") {
                            message(2, out, |out| message(1, out, |out| schema(node, out)));
                        }
                    });
                });
            }
        });
    }
    texts(object, "schemes", 10, out);
    extensions(object, 13, out);
}

fn parameters(object: &Object<'_>, number: u32, out: &mut Vec<u8>) {
    let Some(Node::Array(items)) = object.get("parameters") else { return };
    for parameter in items.iter().filter_map(Node::as_object) {
        message(number, out, |out| match parameter.get("$ref") {
            Some(_) => message(2, out, |out| member(parameter, "$ref", 1, out)),
            None => message(1, out, |out| self::parameter(parameter, out)),
        });
    }
}

fn parameter(object: &Object<'_>, out: &mut Vec<u8>) {
    let place = object.get("in").and_then(Node::as_str).unwrap_or_default();
    if place == "body" {
        message(1, out, |out| {
            member(object, "description", 1, out);
            member(object, "name", 2, out);
            member(object, "in", 3, out);
            member(object, "required", 4, out);
            if let Some(node) = object.get("schema") {
                message(5, out, |out| schema(node, out));
            }
        });
        return;
    }
    let (variant, type_number, unique_number) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
    message(2, out, |out| {
        message(variant, out, |out| {
            member(object, "required", 1, out);
            member(object, "in", 2, out);
            member(object, "description", 3, out);
            member(object, "name", 4, out);
            member(object, "type", type_number, out);
            member(object, "uniqueItems", unique_number, out);
        });
    });
}
