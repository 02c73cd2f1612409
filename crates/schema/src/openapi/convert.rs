//! From v2 to v3, for servers that only have v2. What v2 does not say is not made up.
//!
//! Upstream: `kube-openapi/pkg/openapiconv`, `ConvertV2ToV3`.

use serde_json::{Map, Value, json};

/// Methods of a path item.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// What of a parameter says of which form it is: in v3 that is a schema.
const OF_SCHEMA: [&str; 16] = [
    "type",
    "format",
    "items",
    "default",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "enum",
];

/// The same document as v3 has it.
pub fn to_v3(v2: &Value) -> Value {
    let mut paths = Map::new();
    for (path, item) in v2["paths"].as_object().into_iter().flatten() {
        let mut out = Map::new();
        for method in METHODS {
            if let Some(operation) = item[method].as_object() {
                out.insert(method.to_owned(), converted(v2, operation));
            }
        }
        let common = parameters(v2, &item["parameters"]);
        if !common.is_empty() {
            out.insert("parameters".to_owned(), common.into());
        }
        paths.insert(path.clone(), out.into());
    }
    let mut components = Map::new();
    components.insert("schemas".to_owned(), schema(v2.get("definitions").unwrap_or(&Value::Null)));
    if components["schemas"].is_null() {
        components.insert("schemas".to_owned(), json!({}));
    }
    if let Some(schemes) = v2.get("securityDefinitions") {
        components.insert("securitySchemes".to_owned(), schemes.clone());
    }
    let mut out = json!({"openapi": "3.0.0", "info": v2["info"], "paths": paths, "components": components});
    if let Some(docs) = v2.get("externalDocs") {
        out["externalDocs"] = docs.clone();
    }
    out
}

fn converted(v2: &Value, operation: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    for (name, value) in operation {
        if !matches!(name.as_str(), "consumes" | "produces" | "schemes" | "parameters" | "responses") {
            out.insert(name.clone(), value.clone());
        }
    }
    let types = |name: &str| -> Vec<&str> {
        let own = operation.get(name).or_else(|| v2.get(name)).and_then(Value::as_array);
        own.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let all = operation.get("parameters").unwrap_or(&Value::Null);
    let rest = parameters(v2, all);
    if !rest.is_empty() {
        out.insert("parameters".to_owned(), rest.into());
    }
    if let Some(body) = resolved(v2, all).find(|parameter| parameter["in"] == "body") {
        let mut request = json!({"content": content(&types("consumes"), &body["schema"])});
        for name in ["required", "description"] {
            if let Some(value) = body.get(name) {
                request[name] = value.clone();
            }
        }
        out.insert("requestBody".to_owned(), request);
    }
    let mut responses = Map::new();
    for (code, response) in operation.get("responses").and_then(Value::as_object).into_iter().flatten() {
        let mut own = json!({"description": response["description"].as_str().unwrap_or_default()});
        if let Some(answer) = response.get("schema") {
            own["content"] = content(&types("produces"), answer);
        }
        responses.insert(code.clone(), own);
    }
    out.insert("responses".to_owned(), responses.into());
    out.into()
}

fn content(types: &[&str], of: &Value) -> Value {
    types.iter().map(|media| ((*media).to_owned(), json!({"schema": schema(of)}))).collect::<Map<_, _>>().into()
}

/// Parameters where they are used, wherever they are written.
fn resolved<'v>(v2: &'v Value, parameters: &'v Value) -> impl Iterator<Item = &'v Value> {
    parameters.as_array().into_iter().flatten().map(|parameter| {
        let name = parameter["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/parameters/"));
        name.and_then(|name| v2["parameters"].get(name)).unwrap_or(parameter)
    })
}

fn parameters(v2: &Value, parameters: &Value) -> Vec<Value> {
    let rest = resolved(v2, parameters).filter(|parameter| parameter["in"] != "body");
    rest.filter_map(Value::as_object)
        .map(|parameter| {
            let (of_schema, mut own): (Map<_, _>, Map<_, _>) =
                parameter.clone().into_iter().partition(|(name, _)| OF_SCHEMA.contains(&name.as_str()));
            own.remove("collectionFormat");
            own.insert("schema".to_owned(), of_schema.into());
            own.into()
        })
        .collect()
}

/// A schema with its references pointing to where v3 keeps them; beside a reference nothing counts.
fn schema(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut out: Map<String, Value> =
                members.iter().map(|(name, value)| (name.clone(), schema(value))).collect();
            let Some(Value::String(reference)) = members.get("$ref") else { return out.into() };
            let reference = json!({"$ref": reference.replacen("#/definitions/", "#/components/schemas/", 1)});
            if members.len() == 1 {
                return reference;
            }
            out.remove("$ref");
            out.insert("allOf".to_owned(), json!([reference]));
            out.into()
        }
        Value::Array(items) => items.iter().map(schema).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_schemas_move() {
        let v2 = json!({
            "swagger": "2.0", "info": {"title": "T", "version": "1"},
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string", "uniqueItems": true}},
            "paths": {"/a": {
                "put": {
                    "operationId": "putA", "consumes": ["application/json"], "produces": ["application/yaml"],
                    "parameters": [{"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/A"}}],
                    "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/A"}}, "401": {"description": "No"}},
                },
                "parameters": [{"$ref": "#/parameters/pretty"}],
            }},
            "definitions": {"A": {"properties": {"meta": {"description": "M", "$ref": "#/definitions/Meta"}}}},
        });
        let own = json!({"schema": {"$ref": "#/components/schemas/A"}});
        assert_eq!(
            to_v3(&v2),
            json!({
                "openapi": "3.0.0", "info": {"title": "T", "version": "1"},
                "paths": {"/a": {
                    "put": {
                        "operationId": "putA",
                        "requestBody": {"required": true, "content": {"application/json": own}},
                        "responses": {
                            "200": {"description": "OK", "content": {"application/yaml": own}}, "401": {"description": "No"},
                        },
                    },
                    "parameters": [{"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
                }},
                "components": {"schemas": {"A": {"properties": {"meta": {
                    "description": "M", "allOf": [{"$ref": "#/components/schemas/Meta"}],
                }}}}},
            })
        );
    }
}
