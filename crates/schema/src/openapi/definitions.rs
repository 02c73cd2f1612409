//! Schemas of types: what `kubectl explain` prints and validation in clients reads.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::Flavor;
use super::node::{group_version_kind, object, reference, strings};
use crate::decode::zero;
use crate::json::{self, Limits, Node, Object};
use crate::table::{Descriptions, Field, Form, ListType, Presence, Schema, Shape, Type, TypeId};

pub(super) const KIND_TEXT: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
pub(super) const API_VERSION_TEXT: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
/// Bodies of patches have no fields of their own.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const PATCH_TEXT: &str = "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.";

pub(super) struct Definitions<'s, 'd> {
    schema: &'s Schema,
    flavor: Flavor,
    texts: &'d Descriptions,
    types: BTreeSet<TypeId>,
    /// Groups and versions that common kinds such as `DeleteOptions` belong to.
    versions: Vec<(String, String)>,
    /// Definitions that are not made from the table.
    own: BTreeMap<String, serde_json::Value>,
}

impl Flavor {
    /// What references to a definition start with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Flavor::V2 => "#/definitions/",
            Flavor::V3 => "#/components/schemas/",
        }
    }
}

impl<'s, 'd> Definitions<'s, 'd> {
    /// The types that these refer to, and they themselves.
    pub(super) fn new(
        schema: &'s Schema,
        flavor: Flavor,
        texts: &'d Descriptions,
        roots: BTreeSet<TypeId>,
        versions: Vec<(String, String)>,
        own: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        let mut types = roots.clone();
        let mut queue: Vec<TypeId> = roots.into_iter().collect();
        while let Some(kind) = queue.pop().and_then(|id| schema.by_id(id)) {
            if kind.def().form != Form::Struct {
                // What a schema may be instead of a schema is free in OpenAPI.
                continue;
            }
            for field in kind.fields() {
                if let Some(next) = kind.element(&field.shape)
                    && types.insert(next.id())
                {
                    queue.push(next.id());
                }
            }
        }
        Self { schema, flavor, texts, types, versions, own }
    }

    /// Hands out every definition, sorted by name.
    pub(super) fn each(&self, take: &mut dyn FnMut(&str, Node<'_>)) {
        let mut kinds: Vec<Type<'s>> = self.types.iter().filter_map(|id| self.schema.by_id(*id)).collect();
        kinds.sort_by_key(|kind| kind.name());
        let mut patch = Some(object([("description", Node::string(PATCH_TEXT)), ("type", Node::string("object"))]));
        let mut own = self.own.iter().peekable();
        for kind in kinds {
            if kind.def().form == Form::Strings {
                continue;
            }
            while let Some((name, definition)) = own.next_if(|(name, _)| name.as_str() < kind.name()) {
                take(name, Node::from_value(definition));
            }
            if kind.name() > PATCH
                && let Some(patch) = patch.take()
            {
                take(PATCH, patch);
            }
            take(kind.name(), self.definition(kind));
        }
        if let Some(patch) = patch {
            take(PATCH, patch);
        }
        for (name, definition) in own {
            take(name, Node::from_value(definition));
        }
    }

    fn definition(&self, kind: Type<'s>) -> Node<'d>
    where
        's: 'd,
    {
        let mut schema = Object::default();
        let text = self.texts.of_type(kind.name());
        if !text.is_empty() {
            schema.push("description", Node::string(text));
        }
        let string = |schema: &mut Object<'d>, format: &'static str| {
            schema.push("type", Node::string("string"));
            schema.push("format", Node::string(format));
        };
        let either = |types: [&'static str; 2]| {
            Node::Array(types.into_iter().map(|kind| object([("type", Node::string(kind))])).collect())
        };
        match (kind.def().form, self.flavor) {
            (Form::Struct, _) => self.structure(kind, &mut schema),
            (Form::Quantity, Flavor::V2) | (Form::Duration, _) => schema.push("type", Node::string("string")),
            (Form::Quantity, Flavor::V3) => schema.push("oneOf", either(["string", "number"])),
            (Form::IntOrString, Flavor::V2) => string(&mut schema, "int-or-string"),
            (Form::IntOrString, Flavor::V3) => {
                schema.push("format", Node::string("int-or-string"));
                schema.push("oneOf", either(["integer", "string"]));
            }
            (Form::Time | Form::MicroTime, _) => string(&mut schema, "date-time"),
            // `JSON` may be any value, the others hold objects.
            (Form::Raw, _) if kind.short_name() != "JSON" => schema.push("type", Node::string("object")),
            (Form::Raw | Form::Strings | Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings, _) => {}
        }
        Node::Object(schema)
    }

    fn structure(&self, kind: Type<'s>, schema: &mut Object<'d>)
    where
        's: 'd,
    {
        schema.push("type", Node::string("object"));
        let mut properties = Object::default();
        if kind.def().type_meta {
            for (name, text) in [("apiVersion", API_VERSION_TEXT), ("kind", KIND_TEXT)] {
                properties.push(name, object([("description", Node::string(text)), ("type", Node::string("string"))]));
            }
        }
        for field in kind.fields() {
            properties.push(field.name.as_ref(), self.property(kind, field));
        }
        properties.0.sort_by(|(left, _), (right, _)| left.cmp(right));
        if !properties.is_empty() {
            schema.push("properties", Node::Object(properties));
        }
        // What is left out when empty and has a default needs not be said.
        let needed = |field: &&Field| field.required && (field.default.is_none() || field.presence == Presence::Always);
        let required: Vec<&'s str> = kind.fields().iter().filter(needed).map(|field| field.name.as_ref()).collect();
        if !required.is_empty() {
            schema.push("required", strings(required));
        }
        let kinds = &kind.def().kinds;
        // Common kinds belong to every group and version.
        if matches!(kind.short_name(), "DeleteOptions" | "WatchEvent") && !kinds.is_empty() {
            let all =
                self.versions.iter().map(|(group, version)| group_version_kind(group, version, kind.short_name()));
            schema.push("x-kubernetes-group-version-kind", Node::Array(all.collect()));
        } else if !kinds.is_empty() {
            let all = kinds.iter().map(|kind| group_version_kind(&kind.group, &kind.version, &kind.kind));
            schema.push("x-kubernetes-group-version-kind", Node::Array(all.collect()));
        }
        if kind.def().atomic {
            schema.push("x-kubernetes-map-type", Node::string("atomic"));
        }
    }

    fn property(&self, kind: Type<'s>, field: &'s Field) -> Node<'d>
    where
        's: 'd,
    {
        let mut schema = Object::default();
        let text = self.texts.of_field(kind.name(), &field.name);
        if !field.values.is_empty() {
            let values = field.values.iter().map(|value| format!("\n - `\"{value}\"`")).collect::<String>();
            schema.push("description", Node::string(format!("{text}\n\nPossible enum values:{values}")));
        } else if !text.is_empty() {
            schema.push("description", Node::string(text));
        }
        self.shape(&field.shape, false, &mut schema);
        if !field.values.is_empty() {
            let values = strings(field.values.iter().map(|value| value.as_ref()));
            match schema.get_mut("items") {
                Some(Node::Object(items)) => items.push("enum", values),
                _ => schema.push("enum", values),
            }
        }
        if self.flavor == Flavor::V3
            && let Some(default) = self.default_of(field)
        {
            schema.push("default", default);
        }
        match &field.list {
            Some(ListType::Atomic) => schema.push("x-kubernetes-list-type", Node::string("atomic")),
            Some(ListType::Set) => schema.push("x-kubernetes-list-type", Node::string("set")),
            Some(ListType::Map { keys }) => {
                schema.push("x-kubernetes-list-map-keys", strings(keys.iter().map(|key| key.as_ref())));
                schema.push("x-kubernetes-list-type", Node::string("map"));
            }
            None => {}
        }
        if field.atomic {
            schema.push("x-kubernetes-map-type", Node::string("atomic"));
        } else if field.granular {
            schema.push("x-kubernetes-map-type", Node::string("granular"));
        }
        if let Some(key) = &field.patch.merge_key {
            schema.push("x-kubernetes-patch-merge-key", Node::string(key.as_ref()));
        }
        let strategies: Vec<&str> =
            [(field.patch.merge, "merge"), (field.patch.replace, "replace"), (field.patch.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(has, name)| has.then_some(name))
                .collect();
        if !strategies.is_empty() {
            schema.push("x-kubernetes-patch-strategy", Node::string(strategies.join(",")));
        }
        Node::Object(schema)
    }

    /// The schema of a value. Elements of lists and maps tell their zero value in v3.
    fn shape(&self, shape: &'s Shape, element: bool, schema: &mut Object<'d>)
    where
        's: 'd,
    {
        let typed = |schema: &mut Object<'d>, kind: &'static str, format: Option<&'static str>| {
            schema.push("type", Node::string(kind));
            if let Some(format) = format {
                schema.push("format", Node::string(format));
            }
        };
        let inner = |shape: &'s Shape| {
            let mut schema = Object::default();
            self.shape(shape, true, &mut schema);
            Node::Object(schema)
        };
        match shape {
            Shape::Bool => typed(schema, "boolean", None),
            Shape::Int32 => typed(schema, "integer", Some("int32")),
            Shape::Int64 => typed(schema, "integer", Some("int64")),
            Shape::Double => typed(schema, "number", Some("double")),
            Shape::String => typed(schema, "string", None),
            Shape::Bytes => typed(schema, "string", Some("byte")),
            Shape::Any => {}
            Shape::List(items) => {
                schema.push("items", inner(items));
                typed(schema, "array", None);
            }
            Shape::Map(values) => {
                schema.push("additionalProperties", inner(values));
                typed(schema, "object", None);
            }
            Shape::Ref(id) => {
                let Some(kind) = self.schema.by_id(*id) else { return };
                if kind.def().form == Form::Strings {
                    schema.push("items", object([("type", Node::string("string"))]));
                    typed(schema, "array", None);
                    return;
                }
                let structure = kind.def().form == Form::Struct;
                if self.flavor == Flavor::V3 && (structure || !element) {
                    schema.push("allOf", Node::Array(vec![reference(self.flavor.prefix(), kind.name())]));
                } else {
                    schema.push("$ref", Node::string(format!("{}{}", self.flavor.prefix(), kind.name())));
                }
            }
        }
        if element && self.flavor == Flavor::V3 {
            match shape {
                Shape::Ref(id) if self.schema.by_id(*id).is_some_and(|kind| kind.def().form == Form::Struct) => {
                    schema.push("default", Node::Object(Object::default()));
                }
                Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Double | Shape::String => {
                    schema.push("default", zero(self.schema, shape))
                }
                _ => {}
            }
        }
    }

    fn default_of(&self, field: &'s Field) -> Option<Node<'d>>
    where
        's: 'd,
    {
        if let Some(default) = &field.default
            && let Ok(default) = json::parse(default.as_bytes(), &Limits::default())
        {
            return Some(default.into_owned());
        }
        if field.presence != Presence::Always {
            return None;
        }
        match &field.shape {
            Shape::Ref(id) => {
                let structure = self.schema.by_id(*id).is_some_and(|kind| kind.def().form == Form::Struct);
                structure.then(|| Node::Object(Object::default()))
            }
            Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Double | Shape::String => {
                Some(zero(self.schema, &field.shape))
            }
            _ => None,
        }
    }
}

/// Reference to a kind, when the schema has it.
pub(super) fn reference_to(
    schema: &Schema,
    flavor: Flavor,
    group: &str,
    version: &str,
    kind: &str,
) -> Option<Node<'static>> {
    let kind = schema.kind(group, version, kind)?;
    Some(object([("$ref", Node::String(Cow::Owned(format!("{}{}", flavor.prefix(), kind.name()))))]))
}
