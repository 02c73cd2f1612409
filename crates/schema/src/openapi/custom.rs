//! Definitions of custom resources, from the schema as its author wrote it.
//!
//! Upstream: `apiextensions-apiserver/pkg/controller/openapi/builder` and `.../v2/conversion.go`.

use serde_json::{Map, Value, json};

use super::Flavor;
use super::definitions::{API_VERSION_TEXT, KIND_TEXT};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const METADATA_TEXT: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA_TEXT: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION_TEXT: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND_TEXT: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// What documents have to know of a kind that the table does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomKind {
    pub list_kind: String,
    /// `openAPIV3Schema`; none where nothing is known of the fields.
    pub schema: Option<Value>,
    /// Fields that the schema does not name are kept everywhere.
    pub keeps_unknown_fields: bool,
    /// Dotted paths that selectors may name.
    pub selectable: Vec<String>,
}

/// `com.example.stable.v1.CronTab` of a kind of `stable.example.com/v1`.
pub(super) fn model_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    parts.extend([version, kind]);
    parts.join(".")
}

/// Types of the table that definitions of custom resources refer to.
pub(super) const REFERRED: [&str; 2] = [OBJECT_META, LIST_META];

impl CustomKind {
    pub(super) fn definition(&self, flavor: Flavor, group: &str, version: &str, kind: &str) -> Value {
        let keeps = self.schema.as_ref().is_some_and(|schema| is(schema, "x-kubernetes-preserve-unknown-fields"));
        let mut out = match &self.schema {
            // Clients of v2 would refuse what a definition does not name.
            Some(_) if flavor == Flavor::V2 && (keeps || self.keeps_unknown_fields) => json!({"type": "object"}),
            None => json!({"type": "object"}),
            Some(schema) => {
                let mut schema = schema.clone();
                unfold(&mut schema);
                if flavor == Flavor::V2 {
                    to_v2(&mut schema);
                }
                embedded(&mut schema, flavor);
                set_property(&mut schema, "metadata", meta(flavor, OBJECT_META, METADATA_TEXT));
                type_meta(&mut schema, API_VERSION_TEXT, KIND_TEXT);
                schema
            }
        };
        self.extend(&mut out, group, version, kind);
        out
    }

    pub(super) fn list_definition(
        &self,
        flavor: Flavor,
        group: &str,
        version: &str,
        kind: &str,
        plural: &str,
    ) -> Value {
        let name = format!("{}{}", flavor.prefix(), model_name(group, version, kind));
        let text = format!(
            "List of {plural}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
        );
        let mut out = json!({
            "description": format!("{} is a list of {kind}", self.list_kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "items": {"description": text, "type": "array", "items": {"$ref": name}},
                "metadata": meta(flavor, LIST_META, LIST_METADATA_TEXT),
            },
        });
        type_meta(&mut out, API_VERSION_TEXT, KIND_TEXT);
        self.extend(&mut out, group, version, &self.list_kind);
        out
    }

    fn extend(&self, out: &mut Value, group: &str, version: &str, kind: &str) {
        out["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
        if !self.selectable.is_empty() {
            let fields: Vec<Value> = self.selectable.iter().map(|path| json!({"fieldPath": path})).collect();
            out["x-kubernetes-selectable-fields"] = fields.into();
        }
    }
}

fn is(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn set_property(schema: &mut Value, name: &str, property: Value) {
    if let Some(members) = schema.as_object_mut() {
        let properties = members.entry("properties").or_insert_with(|| Value::Object(Map::new()));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(name.to_owned(), property);
        }
    }
}

fn meta(flavor: Flavor, name: &str, text: &str) -> Value {
    let reference = json!({"$ref": format!("{}{name}", flavor.prefix())});
    match flavor {
        Flavor::V2 => json!({"description": text, "$ref": reference["$ref"]}),
        // Beside a reference nothing counts in v3.
        Flavor::V3 => json!({"description": text, "allOf": [reference]}),
    }
}

fn type_meta(schema: &mut Value, api_version: &str, kind: &str) {
    set_property(schema, "apiVersion", json!({"description": api_version, "type": "string"}));
    set_property(schema, "kind", json!({"description": kind, "type": "string"}));
}

/// Does something to a node, then to those below it. Upstream: `Visitor`.
fn visit(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(members) = schema.as_object_mut() else { return };
    change(members);
    for name in ["items", "additionalProperties"] {
        if let Some(below) = members.get_mut(name) {
            visit(below, change);
        }
    }
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| visit(property, change));
    }
}

/// `x-kubernetes-int-or-string` says in plain words what it allows.
fn unfold(schema: &mut Value) {
    let either = || json!([{"type": "integer"}, {"type": "string"}]);
    visit(schema, &mut |members| {
        if members.get("x-kubernetes-int-or-string") != Some(&Value::Bool(true)) {
            return;
        }
        let says_so = members.get("anyOf") == Some(&either())
            || members.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf")) == Some(&either());
        if says_so {
            return;
        }
        if members.contains_key("anyOf") {
            let all = members.entry("allOf").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.insert(0, json!({"anyOf": either()}));
            }
        } else {
            members.insert("anyOf".to_owned(), either());
        }
    });
}

/// What v2, and kubectl's reading of it, cannot say is left out. Upstream: `ToStructuralOpenAPIV2`.
fn to_v2(schema: &mut Value) {
    visit(schema, &mut |members| {
        let flag = |members: &Map<String, Value>, name: &str| members.get(name) == Some(&Value::Bool(true));
        let keeps = flag(members, "x-kubernetes-preserve-unknown-fields");
        for name in ["allOf", "oneOf", "anyOf", "not"] {
            members.remove(name);
        }
        let nullable = flag(members, "nullable");
        if nullable {
            members.remove("type");
            members.remove("nullable");
        }
        if nullable || keeps {
            // Values without a type break where members are named.
            members.remove("items");
            members.remove("properties");
        }
        if members.get("type").is_some_and(|json_type| json_type == "array") && !members.contains_key("items") {
            members.remove("type");
        }
        if keeps && members.get("type").is_some_and(|json_type| json_type == "object") {
            members.remove("type");
        }
        let nullable: Vec<String> = members
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(_, property)| is(property, "nullable"))
            .map(|(name, _)| name.clone())
            .collect();
        let values_are_nullable = members.get("additionalProperties").is_some_and(|values| is(values, "nullable"));
        if let Some(required) = members.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !name.as_str().is_some_and(|name| nullable.iter().any(|known| known == name)));
            if required.is_empty() || values_are_nullable {
                members.remove("required");
            }
        }
    });
}

/// Resources inside of the object have what every resource has. Upstream: `addEmbeddedProperties`.
fn embedded(schema: &mut Value, flavor: Flavor) {
    let Some(members) = schema.as_object_mut() else { return };
    for name in ["items", "additionalProperties"] {
        if let Some(below) = members.get_mut(name) {
            embedded(below, flavor);
        }
    }
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| embedded(property, flavor));
    }
    let keeps = is(schema, "x-kubernetes-preserve-unknown-fields");
    if !is(schema, "x-kubernetes-embedded-resource") || (keeps && flavor == Flavor::V2) {
        return;
    }
    type_meta(schema, EMBEDDED_API_VERSION_TEXT, EMBEDDED_KIND_TEXT);
    set_property(schema, "metadata", meta(flavor, OBJECT_META, METADATA_TEXT));
    if let Some(members) = schema.as_object_mut() {
        let required = members.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|known| known == name) {
                    required.push(name.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(schema: Value) -> (Value, Value) {
        let kind = CustomKind { list_kind: "FooList".to_owned(), schema: Some(schema), ..CustomKind::default() };
        let of = |flavor| kind.definition(flavor, "stable.example.com", "v1", "Foo");
        (of(Flavor::V2), of(Flavor::V3))
    }

    #[test]
    fn kinds_are_named_from_the_end() {
        assert_eq!(model_name("stable.example.com", "v1", "CronTab"), "com.example.stable.v1.CronTab");
    }

    #[test]
    fn v3_says_it_all_and_v2_what_it_can() {
        let (v2, v3) = both(json!({"type": "object", "required": ["spec"], "properties": {"spec": {
            "type": "object", "nullable": true, "properties": {"a": {"type": "string"}}, "description": "S",
        }, "port": {"x-kubernetes-int-or-string": true}, "free": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}},
        }}}));
        assert_eq!(v3["properties"]["spec"]["properties"]["a"], json!({"type": "string"}));
        assert_eq!(v3["required"], json!(["spec"]));
        assert_eq!(v3["properties"]["port"]["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
        assert_eq!(v2["properties"]["spec"], json!({"description": "S"}));
        assert_eq!(v2["properties"]["port"], json!({"x-kubernetes-int-or-string": true}));
        assert_eq!(v2["properties"]["free"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        assert_eq!(v2.get("required"), None);
        assert_eq!(
            v2["properties"]["metadata"]["$ref"],
            "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        );
        assert_eq!(
            v3["x-kubernetes-group-version-kind"],
            json!([{"group": "stable.example.com", "version": "v1", "kind": "Foo"}])
        );
    }

    #[test]
    fn a_kind_that_keeps_everything_names_nothing_in_v2() {
        let (v2, v3) = both(
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}}),
        );
        assert_eq!(v2.get("properties"), None);
        assert!(v3["properties"].get("metadata").is_some());
    }

    #[test]
    fn embedded_resources_have_their_names() {
        let (_, v3) = both(
            json!({"type": "object", "properties": {"t": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}}),
        );
        assert_eq!(v3["properties"]["t"]["required"], json!(["kind", "apiVersion"]));
        assert!(v3["properties"]["t"]["properties"].get("metadata").is_some());
    }
}
