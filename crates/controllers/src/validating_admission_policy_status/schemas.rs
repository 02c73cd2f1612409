//! What objects of a kind are, from the server's own OpenAPI documents. Upstream: `cel/openapi/resolver`.

use std::collections::{BTreeMap, HashMap};

use api::admissionregistration::v1::{ParamKind, ValidatingAdmissionPolicySpec};
use apimachinery::Gvk;
use cel::{Type, schema::DeclType};
use http::Request;
use kube::Client;
use serde_json::{Value, json};

/// So many types are checked at most. Upstream: `maxTypesToCheck`.
const MAX_TYPES: usize = 10;
/// How deep schemas may refer to each other.
const MAX_DEPTH: u32 = 48;

/// Documents are fetched once for each check.
pub(super) struct Schemas<'c> {
    client: &'c Client,
    documents: HashMap<String, Option<Value>>,
}

impl<'c> Schemas<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client, documents: HashMap::new() }
    }

    /// The kinds that the rules name without wildcards, and their types.
    pub(super) async fn of_rules(&mut self, spec: &ValidatingAdmissionPolicySpec) -> Vec<(Gvk, Type)> {
        let mut found = BTreeMap::new();
        let rules = spec.match_constraints.iter().flat_map(|constraints| constraints.resource_rules.iter().flatten());
        for rule in rules {
            let (groups, versions) = (rule.api_groups.iter().flatten(), rule.api_versions.iter().flatten());
            let wild = |names: &Option<Vec<String>>| names.iter().flatten().any(|name| name.contains('*'));
            if wild(&rule.api_groups) || wild(&rule.api_versions) {
                continue;
            }
            for group in groups {
                for version in versions.clone() {
                    let names = rule.resources.iter().flatten().filter(|name| !name.contains(['*', '/']));
                    for name in names {
                        if found.len() == MAX_TYPES {
                            break;
                        }
                        let Some(kind) = self.kind_of(group, version, name).await else { continue };
                        let Some(ty) = self.of_kind(group, version, &kind).await else { continue };
                        found.insert((group.clone(), version.clone(), kind), ty);
                    }
                }
            }
        }
        found.into_iter().map(|((group, version, kind), ty)| (Gvk::new(&group, &version, &kind), ty)).collect()
    }

    pub(super) async fn of_param(&mut self, kind: &ParamKind) -> Option<Type> {
        let (group, version) = apimachinery::key::split_api_version(kind.api_version.as_deref()?);
        self.of_kind(group, version, kind.kind.as_deref()?).await
    }

    async fn kind_of(&self, group: &str, version: &str, plural: &str) -> Option<String> {
        let list = match group {
            "" => self.client.list_core_api_resources(version).await,
            _ => self.client.list_api_group_resources(&format!("{group}/{version}")).await,
        };
        let list = list.ok()?;
        list.resources.into_iter().find(|resource| resource.name == plural).map(|resource| resource.kind)
    }

    async fn of_kind(&mut self, group: &str, version: &str, kind: &str) -> Option<Type> {
        let path = match group {
            "" => format!("/openapi/v3/api/{version}"),
            _ => format!("/openapi/v3/apis/{group}/{version}"),
        };
        if !self.documents.contains_key(&path) {
            let document = self.fetch(&path).await;
            self.documents.insert(path.clone(), document);
        }
        let document = self.documents.get(&path)?.as_ref()?;
        declared(document, group, version, kind)
    }

    async fn fetch(&self, path: &str) -> Option<Value> {
        let request = Request::get(path).body(Vec::new()).ok()?;
        match self.client.request(request).await {
            Ok(document) => Some(document),
            Err(error) => {
                tracing::debug!(path, %error, "no OpenAPI document");
                None
            }
        }
    }
}

/// The type of a kind in an OpenAPI v3 document.
fn declared(document: &Value, group: &str, version: &str, kind: &str) -> Option<Type> {
    let components = &document["components"]["schemas"];
    let wanted = json!({"group": group, "version": version, "kind": kind});
    let (name, schema) = components.as_object()?.iter().find(|(_, schema)| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.contains(&wanted))
    })?;
    let resolved = resolve(schema, components, &mut vec![name.clone()], 0);
    DeclType::from_schema(kind, &resolved, false).map(|declared| declared.ty)
}

/// The schema with everything put in that it refers to; what refers to itself is anything there.
fn resolve(schema: &Value, components: &Value, within: &mut Vec<String>, depth: u32) -> Value {
    let anything = || json!({"x-kubernetes-int-or-string": true});
    if depth > MAX_DEPTH {
        return anything();
    }
    let reference = schema["$ref"].as_str().or_else(|| match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) => only["$ref"].as_str(),
        _ => None,
    });
    if let Some(name) = reference.and_then(|reference| reference.strip_prefix("#/components/schemas/")) {
        if within.iter().any(|known| known == name)
            || name.ends_with("intstr.IntOrString")
            || name.ends_with("resource.Quantity")
        {
            return anything();
        }
        within.push(name.to_owned());
        let resolved = resolve(&components[name], components, within, depth + 1);
        within.pop();
        return resolved;
    }
    let mut out = schema.clone();
    if let Some(properties) = out.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            *property = resolve(property, components, within, depth + 1);
        }
    }
    for key in ["items", "additionalProperties"] {
        if out.get(key).is_some_and(Value::is_object) {
            out[key] = resolve(&out[key], components, within, depth + 1);
        }
    }
    let untyped = out.get("type").is_none() && out.get("properties").is_none();
    if untyped { anything() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_followed_and_end() {
        let document = json!({"components": {"schemas": {
            "Tree": {
                "type": "object",
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Tree"}],
                "properties": {
                    "name": {"type": "string"},
                    "leaf": {"allOf": [{"$ref": "#/components/schemas/Leaf"}], "default": {}},
                    "inner": {"$ref": "#/components/schemas/Tree"},
                },
            },
            "Leaf": {"type": "object", "properties": {"size": {"type": "integer"}}},
        }}});
        let Some(Type::Struct(tree)) = declared(&document, "g", "v1", "Tree") else { panic!("no type") };
        assert_eq!(tree.fields["name"], Type::String);
        assert_eq!(tree.fields["inner"], Type::Dyn);
        let Type::Struct(leaf) = &tree.fields["leaf"] else { panic!("no leaf") };
        assert_eq!(leaf.fields["size"], Type::Int);
        assert!(declared(&document, "g", "v1", "Other").is_none());
    }
}
