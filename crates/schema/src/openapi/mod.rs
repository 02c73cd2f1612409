//! OpenAPI documents for the resources that a server serves, made from the table when somebody asks.
//!
//! They are large and seldom asked for: the caller keeps what it was given, this crate keeps nothing. v2 exists as JSON
//! and as protobuf, because kubectl asks for nothing else; v3 is one document for each group and version.
//! It must not know which resources exist. Upstream: `kube-openapi` builder and handlers.

mod convert;
mod custom;
mod definitions;
mod gnostic;
mod merge;
mod node;
mod paths;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::json::{Node, write_key};
use crate::table::{Descriptions, Schema, TypeId, descriptions};
pub use convert::to_v3;
pub use custom::CustomKind;
use definitions::Definitions;
pub use merge::beside;

/// The media type of v2 in protobuf that clients ask for.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The media type that the answer has to have: the other one is no valid media type, and clients refuse it.
pub const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A resource as discovery tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedResource {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub namespaced: bool,
    /// As in discovery: `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`.
    pub verbs: Vec<Cow<'static, str>>,
    /// Whether a deletion answers with the object instead of a `Status`.
    pub returns_deleted: bool,
    pub subresources: Vec<ServedSubresource>,
    /// Set on kinds that the table does not have.
    pub custom: Option<Arc<CustomKind>>,
}

/// A subresource; its kind may belong to another group, as `Scale` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedSubresource {
    pub name: Cow<'static, str>,
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    /// `create`, `get`, `patch`, `update`; `connect` for streams, `proxy` for what passes on everything, `log` for logs.
    pub verbs: Vec<Cow<'static, str>>,
}

/// The maker of documents.
#[derive(Clone, Copy, Debug)]
pub struct OpenApi<'s> {
    schema: &'s Schema,
    resources: &'s [ServedResource],
    /// The server's version: `v1.36.0`.
    version: &'s str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavor {
    V2,
    V3,
}

// === impl ServedResource ===

impl ServedResource {
    /// `api/v1` or `apis/apps/v1`.
    pub fn path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }

    fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

// === impl OpenApi ===

impl<'s> OpenApi<'s> {
    pub fn new(schema: &'s Schema, resources: &'s [ServedResource], version: &'s str) -> Self {
        Self { schema, resources, version }
    }

    /// `/openapi/v2` as JSON. `others` are whole documents of other servers: what they have beside is merged in.
    pub fn v2_json(&self, others: &[&serde_json::Value]) -> Vec<u8> {
        let texts = descriptions();
        let mut out = Vec::with_capacity(4 << 20);
        out.extend_from_slice(b"{\"swagger\":\"2.0\",\"info\":");
        self.info().write_json(&mut out);
        out.extend_from_slice(b",\"paths\":");
        let all: Vec<&ServedResource> = self.resources.iter().collect();
        let shared = self.write_paths(&all, Flavor::V2, &texts, others, &mut out);
        out.extend_from_slice(b",\"definitions\":");
        self.write_definitions(&all, Flavor::V2, &texts, others, &mut out);
        out.extend_from_slice(b",\"parameters\":");
        let mut members = Members::new(others, &mut out);
        shared.iter().for_each(|(name, parameter)| members.push(name, parameter));
        each_other(others, "parameters", &mut |name, parameter| members.push(name, &parameter));
        members.end();
        out.extend_from_slice(
            br#","securityDefinitions":{"BearerToken":{"description":"Bearer Token authentication","type":"apiKey","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}"#,
        );
        out
    }

    /// `/openapi/v2` as protobuf, merged as JSON is.
    pub fn v2_protobuf(&self, others: &[&serde_json::Value]) -> Vec<u8> {
        let texts = descriptions();
        let all: Vec<&ServedResource> = self.resources.iter().collect();
        let mut document = gnostic::Document::new("Kubernetes", self.version);
        let mut seen = BTreeSet::new();
        let mut path = |path: &str, item: Node<'_>| {
            if others.is_empty() || seen.insert(path.to_owned()) {
                document.path(path, &item);
            }
        };
        let shared = paths::each(self.schema, &all, Flavor::V2, &texts, &mut path);
        paths::each_root(self.schema, &all, Flavor::V2, &texts, &mut |_, name, item| path(name, item));
        each_other(others, "paths", &mut path);
        document.end_paths();
        let mut seen = BTreeSet::new();
        let mut definition = |name: &str, definition: Node<'_>| {
            if others.is_empty() || seen.insert(name.to_owned()) {
                document.definition(name, &definition);
            }
        };
        self.definitions(&all, Flavor::V2, &texts).each(&mut definition);
        each_other(others, "definitions", &mut definition);
        let mut seen = BTreeSet::new();
        let mut parameter = |name: &str, parameter: Node<'_>| {
            if others.is_empty() || seen.insert(name.to_owned()) {
                document.parameter(name, &parameter);
            }
        };
        shared.into_iter().for_each(|(name, node)| parameter(&name, node));
        each_other(others, "parameters", &mut parameter);
        document.finish()
    }

    /// `/openapi/v3`: where the document of each group and version is.
    pub fn v3_index(&self) -> Vec<u8> {
        let mut out = b"{\"paths\":{".to_vec();
        for (index, path) in self.v3_paths().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_key(path, &mut out);
            let url = format!("/openapi/v3/{path}?hash={}", self.v3_hash(path));
            out.extend_from_slice(b"{\"serverRelativeURL\":");
            Node::string(url).write_json(&mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"}}");
        out
    }

    /// `api/v1`, `apis/apps/v1`, … sorted.
    pub fn v3_paths(&self) -> Vec<String> {
        let all: Vec<&ServedResource> = self.resources.iter().collect();
        let mut paths: BTreeSet<String> = self.resources.iter().map(ServedResource::path).collect();
        let texts = Descriptions::default();
        paths::each_root(self.schema, &all, Flavor::V3, &texts, &mut |document, _, _| {
            paths.insert(document.to_owned());
        });
        paths.into_iter().collect()
    }

    /// Changes whenever the document changes: what it is made from is hashed, so that the index is cheap.
    pub fn v3_hash(&self, path: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.version);
        hasher.update(env!("CARGO_PKG_VERSION"));
        hasher.update(include_str!("../../generated/table.txt"));
        for resource in self.resources.iter().filter(|resource| resource.path() == path) {
            hasher.update(format!("{resource:?}"));
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// The document of `api/v1` or `apis/GROUP/VERSION`; nothing when none of the resources is there.
    pub fn v3_document(&self, path: &str) -> Option<Vec<u8>> {
        let resources: Vec<&ServedResource> =
            self.resources.iter().filter(|resource| resource.path() == path).collect();
        let texts = descriptions();
        if resources.is_empty() {
            return self.v3_root(path, &texts);
        }
        let mut out = self.v3_head();
        self.write_paths(&resources, Flavor::V3, &texts, &[], &mut out);
        out.extend_from_slice(b",\"components\":{\"schemas\":");
        self.write_definitions(&resources, Flavor::V3, &texts, &[], &mut out);
        out.extend_from_slice(V3_TAIL);
        Some(out)
    }

    fn v3_head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 << 20);
        out.extend_from_slice(b"{\"openapi\":\"3.0.0\",\"info\":");
        self.info().write_json(&mut out);
        out.extend_from_slice(b",\"paths\":");
        out
    }

    /// The document of a path that is no group in a version: `apis/apps`, `version`.
    fn v3_root(&self, document: &str, texts: &Descriptions) -> Option<Vec<u8>> {
        let all: Vec<&ServedResource> = self.resources.iter().collect();
        let mut out = self.v3_head();
        let mut members = Members::new(&[], &mut out);
        let mut found = false;
        paths::each_root(self.schema, &all, Flavor::V3, texts, &mut |known, path, item| {
            if known == document {
                members.push(path, &item);
                found = true;
            }
        });
        members.end();
        out.extend_from_slice(b",\"components\":{\"schemas\":");
        let kind = match document {
            "api" => "APIVersions",
            "apis" => "APIGroupList",
            _ if document.starts_with("apis/") => "APIGroup",
            _ => "",
        };
        let roots = self.schema.kind("", "v1", kind).map(|kind| kind.id()).into_iter().collect();
        let own = if document == "version" { version_info() } else { BTreeMap::new() };
        let mut members = Members::new(&[], &mut out);
        let definitions = Definitions::new(self.schema, Flavor::V3, texts, roots, Vec::new(), own);
        definitions.each(&mut |name, definition| members.push(name, &definition));
        members.end();
        out.extend_from_slice(V3_TAIL);
        found.then_some(out)
    }

    fn info(&self) -> Node<'s> {
        node::object([("title", Node::string("Kubernetes")), ("version", Node::string(self.version))])
    }

    /// Gives back what the paths of v2 refer to.
    fn write_paths<'a>(
        &'a self,
        resources: &[&'a ServedResource],
        flavor: Flavor,
        texts: &'a Descriptions,
        others: &[&serde_json::Value],
        out: &mut Vec<u8>,
    ) -> paths::Shared<'a> {
        let mut members = Members::new(others, out);
        let shared = paths::each(self.schema, resources, flavor, texts, &mut |path, item| members.push(path, &item));
        if flavor == Flavor::V2 {
            let push = &mut |_: &str, path: &str, item: Node<'_>| members.push(path, &item);
            paths::each_root(self.schema, resources, flavor, texts, push);
        }
        each_other(others, "paths", &mut |path, item| members.push(path, &item));
        members.end();
        shared
    }

    fn write_definitions(
        &self,
        resources: &[&ServedResource],
        flavor: Flavor,
        texts: &Descriptions,
        others: &[&serde_json::Value],
        out: &mut Vec<u8>,
    ) {
        let mut members = Members::new(others, out);
        self.definitions(resources, flavor, texts).each(&mut |name, definition| members.push(name, &definition));
        each_other(others, "definitions", &mut |name, definition| members.push(name, &definition));
        members.end();
    }

    /// Everything that the paths of these resources refer to.
    fn definitions<'d>(
        &self,
        resources: &[&ServedResource],
        flavor: Flavor,
        texts: &'d Descriptions,
    ) -> Definitions<'s, 'd> {
        let mut roots: BTreeSet<TypeId> = BTreeSet::new();
        let mut add = |group: &str, version: &str, kind: &str| {
            roots.extend(self.schema.kind(group, version, kind).map(|kind| kind.id()));
        };
        let mut has_custom = false;
        for resource in resources {
            if resource.custom.is_some() {
                has_custom = true;
            } else {
                add(&resource.group, &resource.version, &resource.kind);
                add(&resource.group, &resource.version, &resource.list_kind());
            }
            // Options of streams are told as parameters.
            let is_stream = |verb: &Cow<'_, str>| matches!(&**verb, "connect" | "proxy");
            for subresource in resource.subresources.iter().filter(|known| !known.verbs.iter().any(is_stream)) {
                add(&subresource.group, &subresource.version, &subresource.kind);
            }
        }
        add("", "v1", "DeleteOptions");
        add("", "v1", "WatchEvent");
        add("", "v1", "Status");
        add("", "v1", "APIResourceList");
        if flavor == Flavor::V2 {
            for kind in ["APIGroup", "APIGroupList", "APIVersions"] {
                add("", "v1", kind);
            }
        }
        if has_custom {
            roots.extend(custom::REFERRED.iter().filter_map(|name| Some(self.schema.named(name)?.id())));
        }
        let mut versions: Vec<(String, String)> =
            resources.iter().map(|resource| (resource.group.to_string(), resource.version.to_string())).collect();
        versions.sort();
        versions.dedup();
        let mut own = if flavor == Flavor::V2 { version_info() } else { BTreeMap::new() };
        for (resource, custom) in resources.iter().filter_map(|resource| Some((resource, resource.custom.as_ref()?))) {
            let (group, version, kind) = (&*resource.group, &*resource.version, &*resource.kind);
            own.insert(custom::model_name(group, version, kind), custom.definition(flavor, group, version, kind));
            own.insert(
                custom::model_name(group, version, &custom.list_kind),
                custom.list_definition(flavor, group, version, kind, &resource.plural),
            );
        }
        Definitions::new(self.schema, flavor, texts, roots, versions, own)
    }
}

/// What `/version` answers. Upstream: `version.Info`.
fn version_info() -> BTreeMap<String, serde_json::Value> {
    let text = |text: &str| serde_json::json!({"type": "string", "description": text});
    let plain = || serde_json::json!({"type": "string"});
    let info = serde_json::json!({
        "description": "Info contains versioning information. how we'll want to distribute that information.",
        "type": "object",
        "required": ["major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"],
        "properties": {
            "buildDate": plain(), "compiler": plain(), "gitCommit": plain(), "gitTreeState": plain(), "gitVersion": plain(),
            "goVersion": plain(), "platform": plain(),
            "emulationMajor": text("EmulationMajor is the major version of the emulation version"),
            "emulationMinor": text("EmulationMinor is the minor version of the emulation version"),
            "major": text("Major is the major version of the binary version"),
            "minCompatibilityMajor": text("MinCompatibilityMajor is the major version of the minimum compatibility version"),
            "minCompatibilityMinor": text("MinCompatibilityMinor is the minor version of the minimum compatibility version"),
            "minor": text("Minor is the minor version of the binary version"),
        },
    });
    BTreeMap::from([(paths::VERSION_INFO.to_owned(), info)])
}

/// What ends a document of v3, behind its schemas.
const V3_TAIL: &[u8] = br#","securitySchemes":{"BearerToken":{"description":"Bearer Token authentication","type":"apiKey","name":"authorization","in":"header"}}}}"#;

/// Hands out one part of other servers' documents.
fn each_other(others: &[&serde_json::Value], part: &str, take: &mut dyn FnMut(&str, Node<'_>)) {
    for other in others {
        for (name, value) in other.get(part).and_then(serde_json::Value::as_object).into_iter().flatten() {
            take(name, Node::from_value(value));
        }
    }
}

/// Members of an object as they are written. Of equal names the first one counts.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
    /// Kept only when documents are merged: alone they have no name twice.
    seen: Option<BTreeSet<String>>,
}

impl<'o> Members<'o> {
    fn new(others: &[&serde_json::Value], out: &'o mut Vec<u8>) -> Self {
        Self { out, first: true, seen: (!others.is_empty()).then(BTreeSet::new) }
    }

    fn push(&mut self, name: &str, value: &Node<'_>) {
        if self.seen.as_mut().is_some_and(|seen| !seen.insert(name.to_owned())) {
            return;
        }
        self.out.push(if std::mem::take(&mut self.first) { b'{' } else { b',' });
        write_key(name, self.out);
        value.write_json(self.out);
    }

    fn end(self) {
        self.out.extend_from_slice(if self.first { b"{}" } else { b"}" });
    }
}

#[cfg(test)]
mod tests;
