//! Operations on resources: which paths there are, what they take and give, and on which kind they work.

use std::collections::BTreeMap;

use super::definitions::{PATCH, reference_to};
use super::node::{group_version_kind, object, reference, strings};
use super::{Flavor, ServedResource, ServedSubresource};
use crate::json::{Node, Object};
use crate::table::{Descriptions, Schema};

const MEDIA_TYPES: [&str; 4] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"];
const STREAM_TYPES: [&str; 3] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch", "application/cbor-seq"];
/// Of kinds that have no protobuf form.
const CUSTOM_MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/cbor"];
const CUSTOM_STREAM_TYPES: [&str; 2] = ["application/json;stream=watch", "application/cbor-seq"];
const CUSTOM_PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];
const PATCH_TYPES: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

/// One operation before it is written.
struct Operation<'a> {
    method: &'static str,
    action: &'static str,
    /// First part of the operation's name.
    name: String,
    text: String,
    kind: (&'a str, &'a str, &'a str),
    /// Options whose fields are query parameters.
    options: &'static [(&'static str, &'static [&'static str])],
    body: Option<Node<'static>>,
    response: Option<Node<'static>>,
    created: bool,
}

const LIST: &[(&str, &[&str])] = &[(
    "ListOptions",
    &[
        "allowWatchBookmarks",
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "timeoutSeconds",
        "watch",
    ],
)];
const CREATE: &[(&str, &[&str])] = &[("CreateOptions", &["dryRun", "fieldManager", "fieldValidation"])];
const UPDATE: &[(&str, &[&str])] = &[("UpdateOptions", &["dryRun", "fieldManager", "fieldValidation"])];
const PATCH_OPTIONS: &[(&str, &[&str])] = &[("PatchOptions", &["dryRun", "fieldManager", "fieldValidation", "force"])];
const DELETE: &[(&str, &[&str])] =
    &[("DeleteOptions", &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"])];
const NONE: &[(&str, &[&str])] = &[];
const PRETTY_TEXT: &str = "If 'true', then the output is pretty printed.";

/// Hands out every path, sorted.
pub(super) fn each(
    schema: &Schema,
    resources: &[&ServedResource],
    flavor: Flavor,
    texts: &Descriptions,
    take: &mut dyn FnMut(&str, Node<'_>),
) {
    let mut paths: BTreeMap<String, Node<'_>> = BTreeMap::new();
    let mut custom: BTreeMap<(&str, &str, String), String> = BTreeMap::new();
    for resource in resources.iter().filter(|resource| resource.custom.is_some()) {
        for kind in [resource.kind.to_string(), resource.list_kind()] {
            let name = super::custom::model_name(&resource.group, &resource.version, &kind);
            custom.insert((&resource.group, &resource.version, kind), name);
        }
    }
    let builder = Builder { schema, flavor, texts, custom };
    let mut versions: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for resource in resources {
        versions.insert(resource.path(), (&resource.group, &resource.version));
        builder.resource(resource, &mut paths);
    }
    for (path, (group, version)) in versions {
        let item = builder.discovery(group, version);
        paths.insert(format!("/{path}/"), item);
    }
    for (path, item) in paths {
        take(&path, item);
    }
}

struct Builder<'a> {
    schema: &'a Schema,
    flavor: Flavor,
    texts: &'a Descriptions,
    /// Definitions of kinds that the table does not have.
    custom: BTreeMap<(&'a str, &'a str, String), String>,
}

impl<'a> Builder<'a> {
    fn resource(&self, resource: &'a ServedResource, paths: &mut BTreeMap<String, Node<'a>>) {
        let root = format!("/{}", resource.path());
        let scope = if resource.namespaced { "Namespaced" } else { "" };
        let stem = format!("{}{}", camel_group(&resource.group), camel(&resource.version));
        let kind = (resource.group.as_ref(), resource.version.as_ref(), resource.kind.as_ref());
        let one = self.reference(kind);
        let list = self.reference((kind.0, kind.1, &resource.list_kind()));
        let status = self.reference(("", "v1", "Status"));
        let name = resource.kind.as_ref();
        let operation = |method, action, name: String, text: String, options| Operation {
            method,
            action,
            name,
            text,
            kind,
            options,
            body: None,
            response: one.clone(),
            created: false,
        };

        let mut collection = Vec::new();
        if resource.has("list") {
            let text = format!("list or watch objects of kind {name}");
            collection.push(Operation {
                response: list.clone(),
                ..operation("get", "list", format!("list{stem}{scope}{name}"), text, LIST)
            });
        }
        if resource.has("create") {
            let made = operation(
                "post",
                "post",
                format!("create{stem}{scope}{name}"),
                format!("create {} {name}", article(name)),
                CREATE,
            );
            collection.push(Operation { body: one.clone(), created: true, ..made });
        }
        if resource.has("deletecollection") {
            let gone = operation(
                "delete",
                "deletecollection",
                format!("delete{stem}Collection{scope}{name}"),
                format!("delete collection of {name}"),
                LIST,
            );
            collection.push(Operation {
                body: self.reference(("", "v1", "DeleteOptions")),
                response: status.clone(),
                ..gone
            });
        }
        let mut item = self.reads_and_writes(&resource.verbs, &stem, &format!("{scope}{name}"), kind);
        if resource.has("delete") {
            let gone = operation(
                "delete",
                "delete",
                format!("delete{stem}{scope}{name}"),
                format!("delete {} {name}", article(name)),
                DELETE,
            );
            item.push(Operation { body: self.reference(("", "v1", "DeleteOptions")), response: status, ..gone });
        }

        let base = if resource.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
        } else {
            format!("{root}/{}", resource.plural)
        };
        self.put(paths, base.clone(), collection, resource);
        let item_path = format!("{base}/{{name}}");
        self.put(paths, item_path.clone(), item, resource);
        if resource.namespaced && resource.has("list") {
            let text = format!("list or watch objects of kind {name}");
            let all = operation("get", "list", format!("list{stem}{name}ForAllNamespaces"), text, LIST);
            self.put(paths, format!("{root}/{}", resource.plural), vec![Operation { response: list, ..all }], resource);
        }
        for subresource in &resource.subresources {
            let operations = self.subresource(resource, subresource, &stem, scope);
            self.put(paths, format!("{item_path}/{}", subresource.name), operations, resource);
        }
    }

    fn subresource(
        &self,
        resource: &'a ServedResource,
        subresource: &'a ServedSubresource,
        stem: &str,
        scope: &str,
    ) -> Vec<Operation<'a>> {
        let kind = (subresource.group.as_ref(), subresource.version.as_ref(), subresource.kind.as_ref());
        let name = format!("{scope}{}{}", resource.kind, camel(&subresource.name));
        let mut operations = self.reads_and_writes(&subresource.verbs, stem, &name, kind);
        let has = |verb: &str| subresource.verbs.iter().any(|known| known == verb);
        let text = |verb: &str| format!("{verb} {} of {} {}", subresource.name, article(&resource.kind), resource.kind);
        if has("create") {
            operations.push(Operation {
                method: "post",
                action: "post",
                name: format!("create{stem}{name}"),
                text: text("create"),
                kind,
                options: CREATE,
                body: self.reference(kind),
                response: self.reference(kind),
                created: true,
            });
        }
        if has("connect") {
            for (method, verb) in [("get", "Get"), ("post", "Post")] {
                operations.push(Operation {
                    method,
                    action: "connect",
                    name: format!("connect{stem}{verb}{name}"),
                    text: text("connect to"),
                    kind,
                    options: NONE,
                    body: None,
                    response: None,
                    created: false,
                });
            }
        }
        operations
    }

    /// `get`, `update` and `patch` of an object or a subresource.
    fn reads_and_writes(
        &self,
        verbs: &[std::borrow::Cow<'static, str>],
        stem: &str,
        name: &str,
        kind: (&'a str, &'a str, &'a str),
    ) -> Vec<Operation<'a>> {
        let mut operations = Vec::new();
        let one = self.reference(kind);
        let known: [(&str, &'static str, &'static str, &str, _, _); 3] = [
            ("get", "get", "get", "read", NONE, None),
            ("update", "put", "put", "replace", UPDATE, one.clone()),
            (
                "patch",
                "patch",
                "patch",
                "partially update",
                PATCH_OPTIONS,
                Some(reference(self.flavor.prefix(), PATCH)),
            ),
        ];
        for (verb, method, action, word, options, body) in known {
            if !verbs.iter().any(|known| known == verb) {
                continue;
            }
            let head = if verb == "patch" { "patch" } else { word };
            operations.push(Operation {
                method,
                action,
                name: format!("{head}{stem}{name}"),
                text: format!("{word} the specified {}", kind.2),
                kind,
                options,
                body,
                response: one.clone(),
                created: verb != "get",
            });
        }
        operations
    }

    fn put(
        &self,
        paths: &mut BTreeMap<String, Node<'a>>,
        path: String,
        operations: Vec<Operation<'a>>,
        resource: &ServedResource,
    ) {
        if operations.is_empty() {
            return;
        }
        let mut item = Object::default();
        let mut parameters = Vec::new();
        if path.contains("{name}") {
            parameters.push(self.parameter("name", "path", &format!("name of the {}", resource.kind), "string"));
        }
        if path.contains("{namespace}") {
            parameters.push(self.parameter(
                "namespace",
                "path",
                "object name and auth scope, such as for teams and projects",
                "string",
            ));
        }
        parameters.push(self.parameter("pretty", "query", PRETTY_TEXT, "string"));
        let tag = format!(
            "{}_{}",
            if resource.group.is_empty() { "core" } else { group_stem(&resource.group) },
            resource.version
        );
        for operation in operations {
            item.push(operation.method, self.operation(&operation, &tag));
        }
        item.push("parameters", Node::Array(parameters));
        paths.insert(path, Node::Object(item));
    }

    fn operation(&self, operation: &Operation<'a>, tag: &str) -> Node<'a> {
        let mut node = Object::default();
        node.push("description", Node::string(operation.text.clone()));
        let patch = operation.method == "patch";
        let watched = operation.action == "list";
        let (group, version, kind) = operation.kind;
        let is_custom = self.custom.contains_key(&(group, version, kind.to_owned()));
        let (media, streams, patches): (&[&'static str], &[&'static str], &[&'static str]) = match is_custom {
            true => (&CUSTOM_MEDIA_TYPES, &CUSTOM_STREAM_TYPES, &CUSTOM_PATCH_TYPES),
            false => (&MEDIA_TYPES, &STREAM_TYPES, &PATCH_TYPES),
        };
        let produced: Vec<&'static str> = media.iter().chain(streams.iter().filter(|_| watched)).copied().collect();
        let consumed: Vec<&'static str> = if patch { patches.to_vec() } else { vec!["*/*"] };
        let mut parameters: Vec<Node<'a>> = Vec::new();
        for (options, fields) in operation.options {
            let Some(kind) = self.schema.kind("", "v1", options) else { continue };
            for field in *fields {
                let shape = kind.field(field).map(|field| &field.shape);
                let form = match shape {
                    Some(crate::table::Shape::Bool) => "boolean",
                    Some(crate::table::Shape::Int32 | crate::table::Shape::Int64) => "integer",
                    _ => "string",
                };
                parameters.push(self.parameter(field, "query", self.texts.of_field(kind.name(), field), form));
            }
        }
        let codes: &[(&'static str, &'static str)] =
            if operation.created { &[("200", "OK"), ("201", "Created")] } else { &[("200", "OK")] };
        let mut responses = Object::default();
        for (code, text) in codes {
            let mut response = Object::default();
            response.push("description", Node::string(*text));
            if let Some(schema) = &operation.response {
                match self.flavor {
                    Flavor::V2 => response.push("schema", schema.clone()),
                    Flavor::V3 => response.push("content", content(&produced, schema)),
                }
            }
            responses.push(*code, Node::Object(response));
        }
        responses.push("401", object([("description", Node::string("Unauthorized"))]));
        match self.flavor {
            Flavor::V2 => {
                node.push("consumes", strings(consumed));
                node.push("produces", strings(produced));
                node.push("schemes", strings(["https"]));
                if let Some(body) = &operation.body {
                    let mut parameter = Object::default();
                    parameter.push("name", Node::string("body"));
                    parameter.push("in", Node::string("body"));
                    if operation.method != "delete" {
                        parameter.push("required", Node::Bool(true));
                    }
                    parameter.push("schema", body.clone());
                    parameters.push(Node::Object(parameter));
                }
            }
            Flavor::V3 => {
                if let Some(body) = &operation.body {
                    let mut request = Object::default();
                    request.push("content", content(&consumed, body));
                    if operation.method != "delete" {
                        request.push("required", Node::Bool(true));
                    }
                    node.push("requestBody", Node::Object(request));
                }
            }
        }
        node.push("tags", strings([tag.to_owned()]));
        node.push("operationId", Node::string(operation.name.clone()));
        if !parameters.is_empty() {
            node.push("parameters", Node::Array(parameters));
        }
        node.push("responses", Node::Object(responses));
        let (group, version, kind) = operation.kind;
        node.push("x-kubernetes-action", Node::string(operation.action));
        node.push("x-kubernetes-group-version-kind", group_version_kind(group, version, kind));
        Node::Object(node)
    }

    fn parameter(&self, name: &str, place: &'static str, text: &str, form: &'static str) -> Node<'a> {
        let mut node = Object::default();
        node.push("name", Node::string(name.to_owned()));
        node.push("in", Node::string(place));
        if !text.is_empty() {
            node.push("description", Node::string(text.to_owned()));
        }
        if place == "path" {
            node.push("required", Node::Bool(true));
        }
        let mut schema = Object::default();
        schema.push("type", Node::string(form));
        schema.push("uniqueItems", Node::Bool(true));
        match self.flavor {
            Flavor::V2 => node.0.append(&mut schema.0),
            Flavor::V3 => node.push("schema", Node::Object(schema)),
        }
        Node::Object(node)
    }

    /// The list of resources of a group and version.
    fn discovery(&self, group: &str, version: &str) -> Node<'a> {
        let operation = Operation {
            method: "get",
            action: "get",
            name: format!("get{}{}APIResources", camel_group(group), camel(version)),
            text: "get available resources".to_owned(),
            kind: ("", "v1", "APIResourceList"),
            options: NONE,
            body: None,
            response: self.reference(("", "v1", "APIResourceList")),
            created: false,
        };
        let tag = format!("{}_{version}", if group.is_empty() { "core" } else { group_stem(group) });
        let Node::Object(mut node) = self.operation(&operation, &tag) else { return Node::Null };
        node.0.retain(|(name, _)| !name.starts_with("x-kubernetes-"));
        object([("get", Node::Object(node))])
    }

    fn reference(&self, (group, version, kind): (&str, &str, &str)) -> Option<Node<'static>> {
        match self.custom.get(&(group, version, kind.to_owned())) {
            Some(name) => Some(reference(self.flavor.prefix(), name)),
            None => reference_to(self.schema, self.flavor, group, version, kind),
        }
    }
}

fn content<'a>(types: &[&'static str], schema: &Node<'a>) -> Node<'a> {
    Node::Object(Object(types.iter().map(|media| ((*media).into(), object([("schema", schema.clone())]))).collect()))
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

fn group_stem(group: &str) -> &str {
    group.strip_suffix(".k8s.io").unwrap_or(group)
}

/// `AuthorizationK8sIo` without its suffix, `Core` for the group without name.
fn camel_group(group: &str) -> String {
    if group.is_empty() { "Core".to_owned() } else { group_stem(group).split('.').map(camel).collect() }
}

fn camel(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(characters)
        .filter(|character| character.is_ascii_alphanumeric())
        .collect()
}
