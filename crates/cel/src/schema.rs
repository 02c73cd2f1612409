//! Types of Kubernetes objects for expressions, made from OpenAPI schemas as CustomResourceDefinitions write them.
//!
//! A [`DeclType`] serves three purposes: [`DeclType::ty`] is declared to the checker, values read JSON by it, and the
//! cost estimate takes sizes from it. Upstream counterparts: `k8s.io/apiserver/pkg/cel/{types,escaping}.go`,
//! `pkg/cel/common/schemas.go`.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::types::{StructType, Type};

/// Largest request, in bytes: what sizes without a limit are estimated by.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;
const MAX_DEPTH: u32 = 64;

/// A declared type with what is known of its size.
#[derive(Clone, Debug)]
pub struct DeclType {
    pub kind: DeclKind,
    pub ty: Type,
    /// Most items, entries or bytes; 0 for what has no size.
    pub max_elements: u64,
    /// Least bytes that a value takes as JSON.
    pub min_serialized_size: u64,
}

#[derive(Clone, Debug)]
pub enum DeclKind {
    /// Anything; values are as JSON is.
    Dyn,
    Bool,
    Int,
    Double,
    String,
    /// base64 in JSON.
    Bytes,
    Timestamp,
    Date,
    Duration,
    List {
        element: Arc<DeclType>,
        kind: ListKind,
    },
    Map(Arc<DeclType>),
    Object(Arc<ObjectDecl>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// By these members, as JSON names them.
    Map(Vec<String>),
}

/// An object's fields.
#[derive(Debug)]
pub struct ObjectDecl {
    pub name: String,
    /// In the order of `escaped`.
    pub fields: Vec<FieldDecl>,
}

#[derive(Debug)]
pub struct FieldDecl {
    /// In JSON.
    pub name: String,
    /// In expressions.
    pub escaped: String,
    pub ty: DeclType,
}

impl ObjectDecl {
    pub fn new(name: impl Into<String>, mut fields: Vec<FieldDecl>) -> Self {
        fields.sort_by(|a, b| a.escaped.cmp(&b.escaped));
        Self { name: name.into(), fields }
    }

    /// A field by the name that expressions use.
    pub fn field(&self, escaped: &str) -> Option<&FieldDecl> {
        let at = self.fields.binary_search_by(|field| field.escaped.as_str().cmp(escaped)).ok()?;
        self.fields.get(at)
    }
}

impl FieldDecl {
    /// None when the name cannot be written in expressions.
    pub fn new(name: &str, ty: DeclType) -> Option<Self> {
        Some(Self { name: name.to_owned(), escaped: escape(name)?, ty })
    }
}

impl DeclType {
    fn simple(kind: DeclKind, ty: Type, max_elements: u64, min_serialized_size: u64) -> Self {
        Self { kind, ty, max_elements, min_serialized_size }
    }

    pub fn dynamic() -> Self {
        Self::simple(DeclKind::Dyn, Type::Dyn, 0, 1)
    }

    pub fn bool() -> Self {
        Self::simple(DeclKind::Bool, Type::Bool, 0, 4)
    }

    pub fn int() -> Self {
        Self::simple(DeclKind::Int, Type::Int, 0, 1)
    }

    pub fn double() -> Self {
        Self::simple(DeclKind::Double, Type::Double, 0, 1)
    }

    /// Text of so many bytes at most.
    pub fn string(max_bytes: u64) -> Self {
        Self::simple(DeclKind::String, Type::String, max_bytes, 2)
    }

    /// Text as long as a request allows.
    pub fn any_string() -> Self {
        Self::string(MAX_REQUEST_BYTES - 2)
    }

    pub fn bytes(max_bytes: u64) -> Self {
        Self::simple(DeclKind::Bytes, Type::Bytes, max_bytes, 2)
    }

    pub fn timestamp() -> Self {
        Self::simple(DeclKind::Timestamp, Type::Timestamp, 32, 21)
    }

    pub fn date() -> Self {
        Self::simple(DeclKind::Date, Type::Timestamp, 12, 12)
    }

    pub fn duration() -> Self {
        Self::simple(DeclKind::Duration, Type::Duration, 32, 3)
    }

    /// `max_items`: none for as many as a request can hold.
    pub fn list(element: Self, kind: ListKind, max_items: Option<u64>) -> Self {
        let max = max_items.unwrap_or((MAX_REQUEST_BYTES - 2) / (element.min_serialized_size + 1));
        let ty = Type::list(element.ty.clone());
        Self::simple(DeclKind::List { element: Arc::new(element), kind }, ty, max, 2)
    }

    /// `max_properties`: none for as many as a request can hold.
    pub fn map(value: Self, max_properties: Option<u64>) -> Self {
        let max = max_properties.unwrap_or((MAX_REQUEST_BYTES - 2) / (value.min_serialized_size + 6));
        let ty = Type::map(Type::String, value.ty.clone());
        Self::simple(DeclKind::Map(Arc::new(value)), ty, max, 2)
    }

    pub fn object(object: ObjectDecl, min_serialized_size: u64) -> Self {
        let fields = object.fields.iter().map(|field| (field.escaped.clone(), field.ty.ty.clone()));
        let ty =
            Type::Struct(Arc::new(StructType { name: object.name.clone(), fields: fields.collect(), open: false }));
        Self::simple(DeclKind::Object(Arc::new(object)), ty, 0, min_serialized_size)
    }

    /// The type of a JSON schema, its objects named after the place they are at, or none when expressions cannot see it:
    /// no type, `x-kubernetes-preserve-unknown-fields` without one.
    ///
    /// `root`: the schema is that of a whole resource, which always has `apiVersion`, `kind` and `metadata`.
    pub fn from_schema(name: &str, schema: &Json, root: bool) -> Option<Self> {
        build(name, schema, root, 0)
    }

    /// The items of a list, the values of a map.
    pub fn element(&self) -> Option<&Self> {
        match &self.kind {
            DeclKind::List { element, .. } | DeclKind::Map(element) => Some(element),
            _ => None,
        }
    }

    /// A field by the name that expressions use.
    pub fn field(&self, escaped: &str) -> Option<&Self> {
        match &self.kind {
            DeclKind::Object(object) => object.field(escaped).map(|field| &field.ty),
            _ => None,
        }
    }
}

/// How often data of that least size can be in one object. Upstream: `maxCardinality`.
pub fn max_cardinality(min_serialized_size: u64) -> u64 {
    MAX_REQUEST_BYTES / (min_serialized_size + 1)
}

fn build(name: &str, schema: &Json, root: bool, depth: u32) -> Option<DeclType> {
    if depth > MAX_DEPTH {
        return None;
    }
    let number = |key: &str| schema.get(key).and_then(Json::as_i64).map(|value| u64::try_from(value).unwrap_or(0));
    let flag = |key: &str| schema.get(key).and_then(Json::as_bool).unwrap_or(false);
    let max_length = number("maxLength").map(|length| length.saturating_mul(4));
    if flag("x-kubernetes-int-or-string") {
        let max = max_length.unwrap_or(MAX_REQUEST_BYTES - 2);
        return Some(DeclType { max_elements: max, ..DeclType::dynamic() });
    }
    let child = |name: &str, schema: &Json| {
        let embedded = schema.get("x-kubernetes-embedded-resource").and_then(Json::as_bool).unwrap_or(false);
        build(name, schema, embedded, depth + 1)
    };
    let declared = schema.get("type").and_then(Json::as_str).unwrap_or(if root { "object" } else { "" });
    match declared {
        "array" => {
            let element = child(&format!("{name}.@idx"), schema.get("items")?)?;
            let kind = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
                Some("set") => ListKind::Set,
                Some("map") => {
                    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
                    let keys = keys.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned);
                    ListKind::Map(keys.collect())
                }
                _ => ListKind::Atomic,
            };
            Some(DeclType::list(element, kind, number("maxItems")))
        }
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) if !root => {
                let value = child(&format!("{name}.@elem"), values)?;
                Some(DeclType::map(value, number("maxProperties")))
            }
            _ => Some(object(name, schema, root, child)),
        },
        "string" => Some(match schema.get("format").and_then(Json::as_str) {
            Some("byte") => DeclType::bytes(number("maxLength").unwrap_or(MAX_REQUEST_BYTES - 2)),
            Some("duration") => DeclType::duration(),
            Some("date") => DeclType::date(),
            Some("date-time") => DeclType::timestamp(),
            _ => DeclType::string(max_length.unwrap_or_else(|| longest(schema))),
        }),
        "boolean" => Some(DeclType::bool()),
        "number" => Some(DeclType::double()),
        "integer" => Some(DeclType::int()),
        _ => None,
    }
}

fn longest(schema: &Json) -> u64 {
    match schema.get("enum").and_then(Json::as_array) {
        Some(values) if !values.is_empty() => {
            values.iter().filter_map(Json::as_str).map(|value| value.len() as u64).max().unwrap_or(0)
        }
        _ => MAX_REQUEST_BYTES - 2,
    }
}

fn object(name: &str, schema: &Json, root: bool, child: impl Fn(&str, &Json) -> Option<DeclType>) -> DeclType {
    let empty = serde_json::Map::new();
    let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let mut fields = Vec::with_capacity(properties.len() + 3);
    let mut min_size = 2;
    for (property, schema) in properties {
        if root && matches!(property.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let Some(escaped) = escape(property) else {
            if let Some(ty) = child(name, schema)
                && required.contains(&property.as_str())
                && schema.get("default").is_none()
            {
                min_size += property.len() as u64 + ty.min_serialized_size + 4;
            }
            continue;
        };
        let Some(ty) = child(&format!("{name}.{escaped}"), schema) else { continue };
        if required.contains(&property.as_str()) && schema.get("default").is_none() {
            min_size += property.len() as u64 + ty.min_serialized_size + 4;
        }
        fields.push(FieldDecl { name: property.clone(), escaped, ty });
    }
    if root {
        fields.extend(resource_fields(name, properties));
    }
    DeclType::object(ObjectDecl::new(name, fields), min_size)
}

/// What every resource has. Limits that the schema sets on names are kept.
fn resource_fields(name: &str, properties: &serde_json::Map<String, Json>) -> Vec<FieldDecl> {
    let text = |schema: Option<&Json>| {
        schema.and_then(|schema| build("", schema, false, MAX_DEPTH)).unwrap_or_else(DeclType::any_string)
    };
    let metadata = properties.get("metadata").and_then(|schema| schema.get("properties"));
    let member = |key: &str| metadata.and_then(|members| members.get(key));
    let names = ["name", "generateName"]
        .into_iter()
        .filter_map(|key| FieldDecl::new(key, text(member(key))))
        .collect::<Vec<_>>();
    let metadata = DeclType::object(ObjectDecl::new(format!("{name}.metadata"), names), 2);
    [
        FieldDecl::new("apiVersion", text(properties.get("apiVersion"))),
        FieldDecl::new("kind", text(properties.get("kind"))),
        FieldDecl::new("metadata", metadata),
    ]
    .into_iter()
    .flatten()
    .collect()
}

// === names ===

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A property's name as expressions write it: `a-b` is `a__dash__b`, `namespace` is `__namespace__`. None when it has
/// characters that cannot be written.
pub fn escape(name: &str) -> Option<String> {
    let first = name.bytes().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match char {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => out.push(char),
            _ => return None,
        }
        rest = &rest[char.len_utf8()..];
    }
    Some(out)
}

/// The property that an escaped name means; none when it has sequences that mean nothing.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find("__") {
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        // A sequence has something between its underscores.
        let Some(end) = after.find("__").filter(|end| *end > 0 && !after[..*end].contains('_')) else {
            out.push('_');
            rest = &rest[at + 1..];
            continue;
        };
        match &after[..end] {
            "underscores" => out.push_str("__"),
            "dot" => out.push('.'),
            "dash" => out.push('-'),
            "slash" => out.push('/'),
            word if RESERVED.contains(&word) && word.len() + 4 == escaped.len() => out.push_str(word),
            _ => return None,
        }
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_escaped_and_back() {
        for (name, escaped) in [
            ("a", "a"),
            ("namespace", "__namespace__"),
            ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
            ("__a", "__underscores__a"),
            ("a_b", "a_b"),
            ("true", "__true__"),
            ("trueish", "trueish"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped));
            assert_eq!(unescape(escaped).as_deref(), Some(name));
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
        assert_eq!(escape(""), None);
        assert_eq!(unescape("a__what__b"), None);
    }

    #[test]
    fn sizes_come_from_the_schema() {
        let schema = json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 10},
            "list": {"type": "array", "items": {"type": "integer"}},
            "bounded": {"type": "array", "maxItems": 5, "items": {"type": "object", "properties": {}}},
            "any": {"x-kubernetes-preserve-unknown-fields": true},
        }});
        let ty = DeclType::from_schema("self", &schema, false).unwrap();
        assert_eq!(ty.min_serialized_size, 2 + 4 + 2 + 4);
        assert_eq!(ty.field("name").unwrap().max_elements, 40);
        assert_eq!(ty.field("list").unwrap().max_elements, (MAX_REQUEST_BYTES - 2) / 2);
        assert_eq!(ty.field("bounded").unwrap().max_elements, 5);
        assert_eq!(ty.field("bounded").unwrap().ty.to_string(), "list(self.bounded.@idx)");
        assert!(ty.field("any").is_none());
        let root = DeclType::from_schema("self", &schema, true).unwrap();
        assert!(root.field("metadata").unwrap().field("generateName").is_some());
    }
}
