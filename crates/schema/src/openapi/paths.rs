//! Operations on resources: which paths there are, what they take and give, and on which kind they work.
//!
//! Upstream: `endpoints/installer.go` for the routes, `kube-openapi/pkg/builder` for how parameters are told once for a
//! path where all its operations take them, and once for the document where many paths do.

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::{PATCH, reference_to};
use super::node::{group_version_kind, object, reference, strings};
use super::{Flavor, ServedResource, ServedSubresource};
use crate::json::{Node, Object};
use crate::table::{Descriptions, Schema, Shape};

const JSON: &str = "application/json";
const MEDIA_TYPES: [&str; 4] = [JSON, "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"];
const STREAM_TYPES: [&str; 3] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch", "application/cbor-seq"];
/// Of kinds that have no protobuf form.
const CUSTOM_MEDIA_TYPES: [&str; 3] = [JSON, "application/yaml", "application/cbor"];
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
const ANY_TYPE: &str = "*/*";
/// Of groups and lists of groups, which have no CBOR form upstream.
const GROUP_TYPES: [&str; 3] = [JSON, "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The methods of a stream, and those of a proxy.
const STREAM_METHODS: [&str; 2] = ["get", "post"];
const PROXY_METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

const OK: &[(&str, &str)] = &[("200", "OK")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];
const ANY_OUTCOME: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];

const PRETTY_TEXT: &str = "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).";
/// What upstream tells with each operation, although many have them: they are told apart by their defaults.
const NEVER_SHARED: [&str; 2] = ["dryRun", "fieldValidation"];

/// One parameter before it is written.
#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    place: &'static str,
    text: String,
    form: &'static str,
}

/// What a request's body is.
#[derive(Clone)]
struct Contents {
    schema: Node<'static>,
    required: bool,
    /// The same for many operations.
    shared: bool,
}

/// One operation before it is written.
struct Operation<'a> {
    method: &'static str,
    action: &'static str,
    name: String,
    tag: String,
    text: String,
    kind: (&'a str, &'a str, &'a str),
    parameters: Vec<Parameter>,
    body: Option<Contents>,
    response: Option<Node<'static>>,
    outcomes: &'static [(&'static str, &'static str)],
    consumes: Vec<&'static str>,
    produces: Vec<&'static str>,
}

/// Parameters that are told once for a document, by their name there.
pub(super) type Shared<'a> = BTreeMap<String, Node<'a>>;

/// Hands out every path, sorted. Gives back the parameters that they refer to.
pub(super) fn each<'a>(
    schema: &'a Schema,
    resources: &[&'a ServedResource],
    flavor: Flavor,
    texts: &'a Descriptions,
    take: &mut dyn FnMut(&str, Node<'_>),
) -> Shared<'a> {
    let mut custom: BTreeMap<(&str, &str, String), String> = BTreeMap::new();
    for resource in resources.iter().filter(|resource| resource.custom.is_some()) {
        for kind in [resource.kind.to_string(), resource.list_kind()] {
            let name = super::custom::model_name(&resource.group, &resource.version, &kind);
            custom.insert((&resource.group, &resource.version, kind), name);
        }
    }
    let mut builder = Builder { schema, flavor, texts, custom, paths: BTreeMap::new(), shared: BTreeMap::new() };
    let mut versions: BTreeSet<(&str, &str)> = BTreeSet::new();
    for resource in resources {
        // Upstream tells nothing of the discovery of custom resources.
        if resource.custom.is_none() {
            versions.insert((&resource.group, &resource.version));
        }
        builder.resource(resource);
    }
    for (group, version) in versions {
        builder.resource_list(group, version);
    }
    for (path, item) in std::mem::take(&mut builder.paths) {
        take(&path, item);
    }
    builder.shared
}

/// Documents of what is no resource: paths of v3 (`apis/apps`), and what they tell.
pub(super) fn each_root(
    schema: &Schema,
    resources: &[&ServedResource],
    flavor: Flavor,
    texts: &Descriptions,
    take: &mut dyn FnMut(&str, &str, Node<'_>),
) {
    let builder =
        Builder { schema, flavor, texts, custom: BTreeMap::new(), paths: BTreeMap::new(), shared: BTreeMap::new() };
    for (document, path, operation) in builder.roots(resources) {
        take(&document, &path, object([("get", operation)]));
    }
}

/// Makes one document.
struct Builder<'a> {
    schema: &'a Schema,
    flavor: Flavor,
    texts: &'a Descriptions,
    /// Definitions of kinds that the table does not have.
    custom: BTreeMap<(&'a str, &'a str, String), String>,
    paths: BTreeMap<String, Node<'a>>,
    shared: Shared<'a>,
}

impl<'a> Builder<'a> {
    fn resource(&mut self, resource: &'a ServedResource) {
        let root = format!("/{}", resource.path());
        let scope = if resource.namespaced { "Namespaced" } else { "" };
        let stem = format!("{}{}", camel_group(&resource.group), camel(&resource.version));
        let kind = (resource.group.as_ref(), resource.version.as_ref(), resource.kind.as_ref());
        let list = self.reference((kind.0, kind.1, &resource.list_kind()));
        let name = resource.kind.as_ref();

        let mut collection = Vec::new();
        if resource.has("list") {
            let name = format!("list{stem}{scope}{name}");
            collection.push(self.list(resource, name, list.clone()));
        }
        if resource.has("create") {
            let text = format!("create{}{name}", article(name));
            collection.push(Operation {
                text,
                outcomes: ANY_OUTCOME,
                body: self.contents(kind),
                parameters: self.options("CreateOptions", &[]),
                ..self.operation(resource, "post", "post", format!("create{stem}{scope}{name}"), kind)
            });
        }
        if resource.has("deletecollection") {
            let mut parameters = self.options("ListOptions", &["watch", "allowWatchBookmarks"]);
            let mut body = None;
            // Upstream's routes of custom resources take no body here.
            if resource.custom.is_none() {
                parameters.extend(self.options("DeleteOptions", &[]));
                body = self.delete_options();
            } else {
                parameters = self.options("ListOptions", &[]);
            }
            collection.push(Operation {
                text: format!("delete collection of {name}"),
                body,
                parameters,
                response: self.reference(("", "v1", "Status")),
                ..self.operation(
                    resource,
                    "delete",
                    "deletecollection",
                    format!("delete{stem}Collection{scope}{name}"),
                    kind,
                )
            });
        }
        let mut item = self.reads_and_writes(resource, &resource.verbs, &format!("{scope}{name}"), "", kind);
        if resource.has("delete") {
            let response = match resource.returns_deleted {
                true => self.reference(kind),
                false => self.reference(("", "v1", "Status")),
            };
            item.push(Operation {
                text: format!("delete{}{name}", article(name)),
                outcomes: ACCEPTED,
                body: self.delete_options(),
                parameters: self.options("DeleteOptions", &[]),
                response,
                ..self.operation(resource, "delete", "delete", format!("delete{stem}{scope}{name}"), kind)
            });
        }

        let place = |prefix: &str| match resource.namespaced {
            true => format!("{root}{prefix}/namespaces/{{namespace}}/{}", resource.plural),
            false => format!("{root}{prefix}/{}", resource.plural),
        };
        let (base, watched) = (place(""), place("/watch"));
        let item_path = format!("{base}/{{name}}");
        if resource.namespaced && resource.has("list") {
            let all = self.list(resource, format!("list{stem}{name}ForAllNamespaces"), list);
            self.put(format!("{root}/{}", resource.plural), vec![all]);
        }
        self.put(base, collection);
        self.put(item_path.clone(), item);
        if resource.has("watch") && resource.custom.is_none() {
            let several = |name: String| self.watch(resource, "watchlist", name);
            let one = self.watch(resource, "watch", format!("watch{stem}{scope}{name}"));
            let mut operations =
                vec![(format!("{watched}/{{name}}"), one), (watched, several(format!("watch{stem}{scope}{name}List")))];
            if resource.namespaced {
                let path = format!("{root}/watch/{}", resource.plural);
                operations.push((path, several(format!("watch{stem}{name}ListForAllNamespaces"))));
            }
            for (path, operation) in operations {
                self.put(path, vec![operation]);
            }
        }
        for subresource in &resource.subresources {
            self.subresource(resource, subresource, &format!("{item_path}/{}", subresource.name), &stem, scope);
        }
    }

    fn subresource(
        &mut self,
        resource: &'a ServedResource,
        subresource: &'a ServedSubresource,
        path: &str,
        stem: &str,
        scope: &str,
    ) {
        let kind = (subresource.group.as_ref(), subresource.version.as_ref(), subresource.kind.as_ref());
        let name = format!("{scope}{}{}", resource.kind, camel(&subresource.name));
        let mut operations = self.reads_and_writes(resource, &subresource.verbs, &name, &subresource.name, kind);
        let has = |verb: &str| subresource.verbs.iter().any(|known| known == verb);
        let owner = resource.kind.as_ref();
        if has("create") {
            operations.push(Operation {
                text: format!("create {} of{}{owner}", subresource.name, article(owner)),
                outcomes: ANY_OUTCOME,
                body: self.contents(kind),
                parameters: self.options("CreateOptions", &[]),
                ..self.operation(resource, "post", "post", format!("create{stem}{name}"), kind)
            });
        }
        if has("log") {
            let mut log = self.operation(resource, "get", "get", format!("read{stem}{name}"), kind);
            log.text = format!("read {} of the specified {owner}", subresource.name);
            log.parameters.extend(self.options("PodLogOptions", &[]).into_iter().skip(1));
            log.produces.insert(0, "text/plain");
            log.response = Some(text_schema());
            operations.push(log);
        }
        if resource.custom.is_some() {
            // Upstream says of `scale`, too, that it is of the kind.
            let own = (resource.group.as_ref(), resource.version.as_ref(), owner);
            operations.iter_mut().for_each(|operation| operation.kind = own);
        }
        self.put(path.to_owned(), operations);
        for (verb, methods, suffix) in [
            ("connect", &STREAM_METHODS[..], ""),
            ("proxy", &PROXY_METHODS[..], ""),
            ("proxy", &PROXY_METHODS, "WithPath"),
        ] {
            if !has(verb) {
                continue;
            }
            let connect = |method: &&'static str| {
                let mut parameters = self.options(kind.2, &[]);
                // Streams are not printed.
                parameters.retain(|parameter| parameter.name != "pretty");
                if !suffix.is_empty() {
                    parameters.push(parameter("path", "path", "path to the resource", "string"));
                }
                let word = method.to_ascii_uppercase();
                Operation {
                    text: format!("connect {word} requests to {} of {owner}", subresource.name),
                    parameters,
                    response: Some(text_schema()),
                    consumes: vec![ANY_TYPE],
                    produces: vec![ANY_TYPE],
                    ..self.operation(
                        resource,
                        method,
                        "connect",
                        format!("connect{stem}{}{name}{suffix}", camel(method)),
                        kind,
                    )
                }
            };
            let operations = methods.iter().map(connect).collect();
            let path = if suffix.is_empty() { path.to_owned() } else { format!("{path}/{{path}}") };
            self.put(path, operations);
        }
    }

    /// `get`, `update` and `patch` of an object or a subresource.
    fn reads_and_writes(
        &self,
        resource: &'a ServedResource,
        verbs: &[std::borrow::Cow<'static, str>],
        name: &str,
        subresource: &str,
        kind: (&'a str, &'a str, &'a str),
    ) -> Vec<Operation<'a>> {
        let stem = format!("{}{}", camel_group(&resource.group), camel(&resource.version));
        let of = match subresource {
            "" => format!("the specified {}", resource.kind),
            subresource => format!("{subresource} of the specified {}", resource.kind),
        };
        let has = |verb: &str| verbs.iter().any(|known| known == verb);
        let mut operations = Vec::new();
        if has("get") {
            let operation = self.operation(resource, "get", "get", format!("read{stem}{name}"), kind);
            operations.push(Operation { text: format!("read {of}"), ..operation });
        }
        if has("update") {
            operations.push(Operation {
                text: format!("replace {of}"),
                outcomes: CREATED,
                body: self.contents(kind),
                parameters: self.options("UpdateOptions", &[]),
                ..self.operation(resource, "put", "put", format!("replace{stem}{name}"), kind)
            });
        }
        if has("patch") {
            let (consumes, outcomes) = match resource.custom {
                Some(_) => (CUSTOM_PATCH_TYPES.to_vec(), OK),
                None => (PATCH_TYPES.to_vec(), CREATED),
            };
            let schema = reference(self.flavor.prefix(), PATCH);
            operations.push(Operation {
                text: format!("partially update {of}"),
                outcomes,
                body: Some(Contents { schema, required: true, shared: true }),
                parameters: self.options("PatchOptions", &[]),
                consumes,
                ..self.operation(resource, "patch", "patch", format!("patch{stem}{name}"), kind)
            });
        }
        operations
    }

    /// What operations have in common: a plain answer of the kind, and no options.
    fn operation(
        &self,
        resource: &ServedResource,
        method: &'static str,
        action: &'static str,
        name: String,
        kind: (&'a str, &'a str, &'a str),
    ) -> Operation<'a> {
        let (consumes, produces) = match resource.custom {
            Some(_) => (CUSTOM_MEDIA_TYPES.to_vec(), CUSTOM_MEDIA_TYPES.to_vec()),
            None => (vec![ANY_TYPE], MEDIA_TYPES.to_vec()),
        };
        Operation {
            method,
            action,
            name,
            tag: format!("{}_{}", tag(&resource.group), resource.version),
            text: String::new(),
            kind,
            parameters: vec![pretty()],
            body: None,
            response: self.reference(kind),
            outcomes: OK,
            consumes,
            produces,
        }
    }

    fn list(&self, resource: &'a ServedResource, name: String, list: Option<Node<'static>>) -> Operation<'a> {
        let kind = (resource.group.as_ref(), resource.version.as_ref(), resource.kind.as_ref());
        let mut operation = self.operation(resource, "get", "list", name, kind);
        let verb = if resource.has("watch") { "list or watch" } else { "list" };
        operation.text = format!("{verb} objects of kind {}", resource.kind);
        operation.response = list;
        operation.parameters = self.options("ListOptions", &[]);
        operation.produces.extend_from_slice(streams(resource));
        operation
    }

    /// Of the paths below `watch/`, from before lists could be watched.
    fn watch(&self, resource: &'a ServedResource, action: &'static str, name: String) -> Operation<'a> {
        let kind = (resource.group.as_ref(), resource.version.as_ref(), resource.kind.as_ref());
        let mut operation = self.operation(resource, "get", action, name, kind);
        let kind = &resource.kind;
        operation.text = match action {
            "watch" => format!(
                "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
            ),
            _ => format!(
                "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
            ),
        };
        operation.response = self.reference(("", "v1", "WatchEvent"));
        operation.parameters = self.options("ListOptions", &[]);
        operation.produces.extend_from_slice(streams(resource));
        operation
    }

    /// The fields of a kind of options that fit into a query, and `pretty`. Upstream: `AddObjectParams`.
    fn options(&self, kind: &str, without: &[&str]) -> Vec<Parameter> {
        let mut parameters = vec![pretty()];
        let Some(kind) = self.schema.kind("", "v1", kind) else { return parameters };
        for field in kind.fields().iter().filter(|field| !without.contains(&&*field.name)) {
            let shape = match &field.shape {
                Shape::List(element) => element,
                shape => shape,
            };
            let form = match shape {
                Shape::Bool => "boolean",
                Shape::Int32 | Shape::Int64 => "integer",
                Shape::String if !matches!(&*field.name, "kind" | "apiVersion") => "string",
                _ => continue,
            };
            // `dryRun` is a list, which upstream tells as one text.
            parameters.push(parameter(&field.name, "query", self.texts.of_field(kind.name(), &field.name), form));
        }
        parameters
    }

    fn contents(&self, kind: (&str, &str, &str)) -> Option<Contents> {
        Some(Contents { schema: self.reference(kind)?, required: true, shared: false })
    }

    fn delete_options(&self) -> Option<Contents> {
        Some(Contents { schema: self.reference(("", "v1", "DeleteOptions"))?, required: false, shared: true })
    }

    fn put(&mut self, path: String, mut operations: Vec<Operation<'a>>) {
        let Some(first) = operations.first() else { return };
        let mut placed = Vec::new();
        if path.contains("{name}") {
            placed.push(parameter("name", "path", &format!("name of the {}", first.kind.2), "string"));
        }
        if path.contains("{namespace}") {
            let text = "object name and auth scope, such as for teams and projects";
            placed.push(parameter("namespace", "path", text, "string"));
        }
        for operation in &mut operations {
            operation.parameters.extend(placed.iter().cloned());
            operation.parameters.sort_by(|a, b| (&a.name, a.place).cmp(&(&b.name, b.place)));
            operation.parameters.dedup_by(|a, b| a.is(b));
        }
        // What every operation takes is told of the path.
        let mut common = operations.first().map(|operation| operation.parameters.clone()).unwrap_or_default();
        common.retain(|known| {
            operations.iter().all(|operation| operation.parameters.iter().any(|parameter| parameter.is(known)))
        });
        let mut item = Object::default();
        for mut operation in operations {
            operation.parameters.retain(|parameter| !common.iter().any(|known| known.is(parameter)));
            let (method, node) = (operation.method, self.write(operation));
            item.push(method, node);
        }
        if !common.is_empty() {
            let common = common.iter().map(|known| self.parameter(known)).collect();
            item.push("parameters", Node::Array(common));
        }
        self.paths.insert(path, Node::Object(item));
    }

    fn write(&mut self, operation: Operation<'a>) -> Node<'a> {
        let mut node = Object::default();
        node.push("description", Node::string(operation.text));
        let mut parameters: Vec<(String, Node<'a>)> =
            operation.parameters.iter().map(|known| (known.name.clone(), self.parameter(known))).collect();
        match self.flavor {
            Flavor::V2 => {
                node.push("consumes", strings(operation.consumes));
                node.push("produces", strings(operation.produces.iter().copied()));
                node.push("schemes", strings(["https"]));
                if let Some(body) = &operation.body {
                    let mut parameter = Object::default();
                    parameter.push("name", Node::string("body"));
                    parameter.push("in", Node::string("body"));
                    if body.required {
                        parameter.push("required", Node::Bool(true));
                    }
                    parameter.push("schema", body.schema.clone());
                    let body = self.once(Node::Object(parameter), "body", body.shared);
                    let at = parameters.partition_point(|(name, _)| name.as_str() < "body");
                    parameters.insert(at, ("body".to_owned(), body));
                }
            }
            Flavor::V3 => {
                if let Some(body) = &operation.body {
                    let mut request = Object::default();
                    request.push("content", content(&operation.consumes, &body.schema));
                    if body.required {
                        request.push("required", Node::Bool(true));
                    }
                    node.push("requestBody", Node::Object(request));
                }
            }
        }
        node.push("tags", strings([operation.tag]));
        node.push("operationId", Node::string(operation.name));
        if !parameters.is_empty() {
            node.push("parameters", Node::Array(parameters.into_iter().map(|(_, parameter)| parameter).collect()));
        }
        node.push("responses", self.responses(&operation.response, operation.outcomes, &operation.produces));
        let (group, version, kind) = operation.kind;
        node.push("x-kubernetes-action", Node::string(operation.action));
        node.push("x-kubernetes-group-version-kind", group_version_kind(group, version, kind));
        Node::Object(node)
    }

    fn responses(
        &self,
        schema: &Option<Node<'static>>,
        outcomes: &[(&'static str, &'static str)],
        produces: &[&'static str],
    ) -> Node<'a> {
        let mut responses = Object::default();
        for (code, text) in outcomes {
            let mut response = Object::default();
            response.push("description", Node::string(*text));
            if let Some(schema) = schema {
                match self.flavor {
                    Flavor::V2 => response.push("schema", schema.clone()),
                    Flavor::V3 => response.push("content", content(produces, schema)),
                }
            }
            responses.push(*code, Node::Object(response));
        }
        responses.push("401", object([("description", Node::string("Unauthorized"))]));
        Node::Object(responses)
    }

    fn parameter(&mut self, known: &Parameter) -> Node<'a> {
        let own = (known.place == "path" && known.name == "name") || NEVER_SHARED.contains(&known.name.as_str());
        let mut node = Object::default();
        match self.flavor {
            // In this order upstream takes the hash.
            Flavor::V2 => {
                node.push("uniqueItems", Node::Bool(true));
                node.push("type", Node::string(known.form));
                known.describe(&mut node);
                self.once(Node::Object(node), &known.name, !own)
            }
            Flavor::V3 => {
                known.describe(&mut node);
                let schema = [("type", Node::string(known.form)), ("uniqueItems", Node::Bool(true))];
                node.push("schema", object(schema));
                Node::Object(node)
            }
        }
    }

    /// A parameter of v2: itself, or where the document has it.
    fn once(&mut self, node: Node<'a>, name: &str, shared: bool) -> Node<'a> {
        if !shared {
            return node;
        }
        let name = format!("{name}-{}", hash(&node.to_json()));
        let reference = reference("#/parameters/", &name);
        self.shared.entry(name).or_insert(node);
        reference
    }

    /// The list of resources of a group and version.
    fn resource_list(&mut self, group: &str, version: &str) {
        let name = format!("get{}{}APIResources", camel_group(group), camel(version));
        let root = Root {
            text: "get available resources",
            name,
            tag: format!("{}_{version}", tag(group)),
            consumes: &MEDIA_TYPES,
            produces: &MEDIA_TYPES,
            answer: self.reference(("", "v1", "APIResourceList")),
        };
        let item = object([("get", self.root(root))]);
        let path = if group.is_empty() { format!("/api/{version}/") } else { format!("/apis/{group}/{version}/") };
        self.paths.insert(path, item);
    }

    /// Document of v3, path and operation of what lists groups and versions, and of the server's own documents.
    fn roots(&self, resources: &[&ServedResource]) -> Vec<(String, String, Node<'a>)> {
        let meta = |kind| self.reference(("", "v1", kind));
        let group_root = |text, name: String, tag: String, answer| Root {
            text,
            name,
            tag,
            consumes: &GROUP_TYPES,
            produces: &GROUP_TYPES,
            answer,
        };
        let plain = |text, name: &str, tag: &str, produces, answer| Root {
            text,
            name: name.to_owned(),
            tag: tag.to_owned(),
            consumes: &[],
            produces,
            answer,
        };
        let versions = "get available API versions";
        let mut roots = vec![
            ("api".to_owned(), group_root(versions, "getCoreAPIVersions".into(), "core".into(), meta("APIVersions"))),
            ("apis".to_owned(), group_root(versions, "getAPIVersions".into(), "apis".into(), meta("APIGroupList"))),
            (
                "version".to_owned(),
                Root {
                    consumes: &[JSON],
                    ..plain(
                        "get the version information for this server",
                        "getCodeVersion",
                        "version",
                        &[JSON],
                        Some(reference(self.flavor.prefix(), VERSION_INFO)),
                    )
                },
            ),
            (
                ".well-known/openid-configuration".to_owned(),
                plain(
                    "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
                    "getServiceAccountIssuerOpenIDConfiguration",
                    "WellKnown",
                    &[JSON],
                    Some(text_schema()),
                ),
            ),
            (
                "openid/v1/jwks".to_owned(),
                plain(
                    "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
                    "getServiceAccountIssuerOpenIDKeyset",
                    "openid",
                    &["application/jwk-set+json"],
                    Some(text_schema()),
                ),
            ),
        ];
        let own = resources.iter().filter(|resource| resource.custom.is_none() && !resource.group.is_empty());
        for group in own.map(|resource| &*resource.group).collect::<BTreeSet<_>>() {
            let name = format!("get{}APIGroup", camel_group(group));
            let root = group_root("get information of a group", name, tag(group), meta("APIGroup"));
            roots.push((format!("apis/{group}"), root));
        }
        roots.into_iter().map(|(path, root)| (path.clone(), format!("/{path}/"), self.root(root))).collect()
    }

    fn root(&self, root: Root) -> Node<'a> {
        let mut node = Object::default();
        node.push("description", Node::string(root.text));
        if self.flavor == Flavor::V2 {
            if !root.consumes.is_empty() {
                node.push("consumes", strings(root.consumes.iter().copied()));
            }
            node.push("produces", strings(root.produces.iter().copied()));
            node.push("schemes", strings(["https"]));
        }
        node.push("tags", strings([root.tag]));
        node.push("operationId", Node::string(root.name));
        node.push("responses", self.responses(&root.answer, OK, root.produces));
        Node::Object(node)
    }

    fn reference(&self, (group, version, kind): (&str, &str, &str)) -> Option<Node<'static>> {
        match self.custom.get(&(group, version, kind.to_owned())) {
            Some(name) => Some(reference(self.flavor.prefix(), name)),
            None => reference_to(self.schema, self.flavor, group, version, kind),
        }
    }
}

/// The definition of what `/version` answers, which is no kind.
pub(super) const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// An operation on no resource.
struct Root {
    text: &'static str,
    name: String,
    tag: String,
    consumes: &'static [&'static str],
    produces: &'static [&'static str],
    answer: Option<Node<'static>>,
}

impl Parameter {
    fn is(&self, other: &Parameter) -> bool {
        self.name == other.name && self.place == other.place && self.text == other.text
    }

    fn describe(&self, node: &mut Object<'_>) {
        if !self.text.is_empty() {
            node.push("description", Node::string(self.text.clone()));
        }
        node.push("name", Node::string(self.name.clone()));
        node.push("in", Node::string(self.place));
        if self.place == "path" {
            node.push("required", Node::Bool(true));
        }
    }
}

fn parameter(name: &str, place: &'static str, text: &str, form: &'static str) -> Parameter {
    Parameter { name: name.to_owned(), place, text: text.to_owned(), form }
}

fn pretty() -> Parameter {
    parameter("pretty", "query", PRETTY_TEXT, "string")
}

fn text_schema() -> Node<'static> {
    object([("type", Node::string("string"))])
}

fn streams(resource: &ServedResource) -> &'static [&'static str] {
    if resource.custom.is_some() { &CUSTOM_STREAM_TYPES } else { &STREAM_TYPES }
}

/// What names a parameter by its contents. Upstream: FNV-1 of 64 bits over its JSON.
fn hash(json: &[u8]) -> String {
    let hash = json
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte));
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Eight letters of six bits.
    (0..8).map(|letter| char::from(LETTERS[(hash >> (58 - 6 * letter) & 63) as usize])).collect()
}

fn content<'a>(types: &[&'static str], schema: &Node<'a>) -> Node<'a> {
    Node::Object(Object(types.iter().map(|media| ((*media).into(), object([("schema", schema.clone())]))).collect()))
}

/// With the spaces around it; of what reads as several things there is none. Upstream: `GetArticleForNoun`.
fn article(kind: &str) -> &'static str {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return " ";
    }
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { " an " } else { " a " }
}

fn group_stem(group: &str) -> &str {
    group.strip_suffix(".k8s.io").unwrap_or(group)
}

/// `core`, `apps`, `flowcontrolApiserver`.
fn tag(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let mut parts = group_stem(group).split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |tag, part| tag + &camel(part))
}

/// `AuthorizationK8sIo` without its suffix, `Core` for the group without name.
fn camel_group(group: &str) -> String {
    if group.is_empty() {
        return "Core".to_owned();
    }
    group_stem(group).split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(camel).collect()
}

fn camel(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(characters)
        .filter(|character| character.is_ascii_alphanumeric() || *character == '_')
        .collect()
}
