//! What is served: groups, versions, resources; one document a level, or all at once. Upstream: `endpoints/discovery`.

use std::sync::Arc;

use apimachinery::ApiError;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderValue, header};
use registry::{Handler, Info, Kind, Resource, Subresource};
use serde_json::{Value, json};

use crate::{
    body::Body,
    negotiate,
    others::OtherVersion,
    respond::{self, Answer},
    server::{ApiServer, Call},
};

/// Documents made from the list of kinds, until the list changes.
#[derive(Default)]
pub(crate) struct Discovery {
    made: ArcSwapOption<Made>,
}

/// The aggregated documents and the state of the world they describe.
struct Made {
    generations: (u64, u64),
    api: Document,
    apis: Document,
}

struct Document {
    v2: (Bytes, String),
    v2beta1: (Bytes, String),
}

/// Upstream's order of groups where one precedes another by priority.
const GROUP_ORDER: [&str; 21] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

struct Group {
    name: String,
    /// Preferred first.
    versions: Vec<Version>,
    /// Of groups that only another server serves.
    priority: Option<i64>,
}

struct Version {
    name: String,
    kinds: Vec<Arc<Kind>>,
    /// Set when another server serves it.
    other: Option<OtherVersion>,
}

pub(crate) fn serve(server: &ApiServer, call: &Call, parts: &[&str]) -> Result<Answer, ApiError> {
    match parts {
        ["api"] => aggregated_or(server, call, true, || {
            json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [
                    {"clientCIDR": "0.0.0.0/0", "serverAddress": server.inner.options.external_address},
                ],
            })
        }),
        ["apis"] => aggregated_or(server, call, false, || {
            let groups: Vec<Value> =
                groups(server).iter().filter(|group| !group.name.is_empty()).map(group_json).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }),
        ["apis", name] => {
            let groups = groups(server);
            let Some(group) = groups.iter().find(|group| group.name == *name && !name.is_empty()) else {
                return Ok(respond::not_found());
            };
            let mut value = group_json(group);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            plain(call, &value)
        }
        ["api", version] => resources(server, call, "", version),
        ["apis", group, version] => resources(server, call, group, version),
        _ => Ok(respond::not_found()),
    }
}

fn plain(call: &Call, value: &Value) -> Result<Answer, ApiError> {
    let output = negotiate::output(&call.parts.headers, call.flag("pretty"))?;
    let bytes = serde_json::to_vec(value).map_err(ApiError::internal)?;
    // Discovery has no protobuf form worth having: such clients take JSON too.
    let media = if output.media == negotiate::Media::Protobuf { negotiate::Media::Json } else { output.media };
    respond::object(200, bytes.into(), negotiate::Output { media, ..output })
}

fn resources(server: &ApiServer, call: &Call, group: &str, version: &str) -> Result<Answer, ApiError> {
    let kinds: Vec<_> = server
        .registry()
        .kinds()
        .into_iter()
        .filter(|kind| kind.gvk.group == group && kind.gvk.version == version)
        .collect();
    if kinds.is_empty() {
        return Ok(respond::not_found());
    }
    let mut list: Vec<Value> = kinds.iter().flat_map(|kind| resource_json(kind)).collect();
    list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let api_version = kinds[0].gvk.api_version();
    let mut answer = json!({"kind": "APIResourceList", "groupVersion": api_version, "resources": list});
    // The group without a name never had it. Upstream: `stripVersionNegotiatedSerializer`.
    if !group.is_empty() {
        answer["apiVersion"] = "v1".into();
    }
    plain(call, &answer)
}

fn groups(server: &ApiServer) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for kind in server.registry().kinds() {
        let version = version_in(&mut groups, &kind.gvk.group, &kind.gvk.version, None);
        version.kinds.push(kind);
    }
    for group in &mut groups {
        group.versions.sort_by_key(|version| std::cmp::Reverse(version_priority(&version.name)));
    }
    let mut others = server.inner.others.get().map(|others| others.groups()).unwrap_or_default();
    others.sort_by_key(|other| {
        let rank = std::cmp::Reverse((other.version_priority, version_priority(&other.version)));
        (std::cmp::Reverse(other.group_priority), rank)
    });
    for other in others {
        let version = version_in(&mut groups, &other.group, &other.version, Some(other.group_priority));
        if version.kinds.is_empty() {
            version.other = Some(other);
        }
    }
    let rank = |name: &str| GROUP_ORDER.iter().position(|known| *known == name).unwrap_or(GROUP_ORDER.len());
    groups.sort_by(|a, b| {
        let by_priority = b.priority.unwrap_or(OWN_PRIORITY).cmp(&a.priority.unwrap_or(OWN_PRIORITY));
        rank(&a.name).cmp(&rank(&b.name)).then(by_priority).then_with(|| a.name.cmp(&b.name))
    });
    groups
}

/// Upstream's `groupPriorityMinimum` of groups of custom resources.
const OWN_PRIORITY: i64 = 1000;

/// A group's version, made where it is missing.
fn version_in<'g>(groups: &'g mut Vec<Group>, group: &str, version: &str, priority: Option<i64>) -> &'g mut Version {
    let index = groups.iter().position(|known| known.name == group).unwrap_or_else(|| {
        groups.push(Group { name: group.to_owned(), versions: Vec::new(), priority });
        groups.len() - 1
    });
    let versions = &mut groups[index].versions;
    let index = versions.iter().position(|known| known.name == version).unwrap_or_else(|| {
        versions.push(Version { name: version.to_owned(), kinds: Vec::new(), other: None });
        versions.len() - 1
    });
    &mut versions[index]
}

/// GA before beta before alpha, higher before lower. Upstream: `version.CompareKubeAwareVersionStrings`.
fn version_priority(version: &str) -> (u8, u64, u64) {
    let rest = version.strip_prefix('v').unwrap_or_default();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().unwrap_or(0);
    let (stage, minor) = match &rest[digits..] {
        "" if major > 0 => (3, ""),
        text if text.starts_with("beta") => (2, &text[4..]),
        text if text.starts_with("alpha") => (1, &text[5..]),
        _ => (0, ""),
    };
    (stage, major, minor.parse().unwrap_or(0))
}

fn group_json(group: &Group) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{}/{version}", group.name), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|known| version(&known.name)).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions.first()})
}

pub(crate) fn verbs(resource: &dyn Resource) -> Vec<&'static str> {
    if resource.create_action().is_some() { vec!["create"] } else { resource.verbs().to_vec() }
}

/// As `subresource_verbs`, with words of their own for streams, proxies and logs.
pub(crate) fn openapi_verbs(subresource: &Subresource) -> &'static [&'static str] {
    match subresource.handler {
        Handler::Connect => &["connect"],
        Handler::ConnectPath => &["proxy"],
        Handler::Log => &["log"],
        _ => subresource_verbs(subresource),
    }
}

fn subresource_verbs(subresource: &Subresource) -> &'static [&'static str] {
    match subresource.handler {
        Handler::Status | Handler::Scale | Handler::Update => &["get", "patch", "update"],
        Handler::UpdateOnly => &["update"],
        Handler::Action => &["create"],
        Handler::Connect => &["create", "get"],
        Handler::ConnectPath => &["create", "delete", "get", "patch", "update"],
        Handler::Log => &["get"],
    }
}

pub(crate) fn subresource_kind(info: &Info, subresource: &Subresource) -> (String, String, String) {
    match (subresource.body, subresource.handler) {
        (Some(body), _) => (body.group.to_owned(), body.version.to_owned(), body.kind.to_owned()),
        _ => (info.group.to_owned(), info.version.to_owned(), info.kind.to_owned()),
    }
}

fn resource_json(kind: &Kind) -> Vec<Value> {
    let info = kind.info();
    let mut own = json!({
        "name": info.plural, "singularName": info.singular_name(), "namespaced": info.is_namespaced(),
        "kind": info.kind, "verbs": verbs(&*kind.resource),
    });
    if !info.short.is_empty() {
        own["shortNames"] = info.short.into();
    }
    if !info.categories.is_empty() {
        own["categories"] = info.categories.into();
    }
    // What cannot be watched is not stored.
    if kind.resource.create_action().is_none() && kind.resource.verbs().contains(&"watch") {
        own["storageVersionHash"] = storage_version_hash(kind).into();
    }
    let mut out = vec![own];
    for subresource in kind.resource.subresources() {
        let (group, version, body_kind) = subresource_kind(info, subresource);
        let name = format!("{}/{}", info.plural, subresource.name);
        let mut entry = |name: String| {
            let mut value = json!({
                "name": name, "singularName": "", "namespaced": info.is_namespaced(),
                "kind": body_kind, "verbs": subresource_verbs(subresource),
            });
            // Said only where it is another than that of the list.
            if (group.as_str(), version.as_str()) != (info.group, info.version) {
                value["group"] = group.clone().into();
                value["version"] = version.clone().into();
            }
            out.push(value);
        };
        entry(name);
    }
    out
}

/// Changes when objects of the kind are stored otherwise. Upstream: `discovery.StorageVersionHash`.
fn storage_version_hash(kind: &Kind) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let info = kind.resource.hub().map_or(*kind.info(), |converted| *converted.hub.info());
    let version = kind.resource.custom().map_or(info.version, |custom| custom.storage_version());
    let digest = sha2::Sha256::digest(format!("{}/{version}/{}", info.group, info.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

// === aggregated ===

fn aggregated_or(
    server: &ApiServer,
    call: &Call,
    core: bool,
    legacy: impl FnOnce() -> Value,
) -> Result<Answer, ApiError> {
    let accept = negotiate::accept(&call.parts.headers);
    let wanted = negotiate::clauses(accept).iter().find_map(|clause| {
        if !matches!(clause.media, "application/json" | "*/*" | "application/*") {
            return None;
        }
        match (clause.get("as"), clause.get("g"), clause.get("v")) {
            (None, ..) => Some(None),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some(version @ ("v2" | "v2beta1"))) => {
                Some(Some(version.to_owned()))
            }
            _ => None,
        }
    });
    let Some(Some(version)) = wanted else {
        let mut answer = plain(call, &legacy())?;
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        return Ok(answer);
    };
    let made = server.inner.discovery.made(server)?;
    let document = if core { &made.api } else { &made.apis };
    let (bytes, etag) = if version == "v2" { &document.v2 } else { &document.v2beta1 };
    let content_type = if version == "v2" {
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    } else {
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    };
    let matches =
        call.parts.headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut answer = if matches {
        respond::with_type(304, content_type, Body::empty())
    } else {
        respond::with_type(200, content_type, Body::whole(bytes.clone()))
    };
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(answer)
}

impl Discovery {
    fn made(&self, server: &ApiServer) -> Result<Arc<Made>, ApiError> {
        let others = server.inner.others.get();
        // Before the groups are read: what changes meanwhile is made again.
        let generations = (server.registry().generation(), others.map_or(0, |others| others.generation()));
        if let Some(made) = self.made.load_full().filter(|made| made.generations == generations) {
            return Ok(made);
        }
        let (core, named): (Vec<_>, Vec<_>) = groups(server).into_iter().partition(|group| group.name.is_empty());
        let made = Arc::new(Made { generations, api: Document::make(&core)?, apis: Document::make(&named)? });
        self.made.store(Some(Arc::clone(&made)));
        Ok(made)
    }
}

impl Document {
    fn make(groups: &[Group]) -> Result<Self, ApiError> {
        let items: Vec<Value> = groups.iter().map(aggregated_group).collect();
        let encode = |version: &str| -> Result<(Bytes, String), ApiError> {
            let value = json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                "metadata": {}, "items": items,
            });
            let bytes = serde_json::to_vec(&value).map_err(ApiError::internal)?;
            let etag = format!("\"{}\"", crate::openapi::fingerprint(&bytes));
            Ok((bytes.into(), etag))
        };
        Ok(Self { v2: encode("v2")?, v2beta1: encode("v2beta1")? })
    }
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let (mut resources, current): (Vec<Value>, bool) = match &version.other {
                Some(other) => (other.resources.clone(), other.current),
                None => (version.kinds.iter().map(|kind| aggregated_resource(kind)).collect(), true),
            };
            resources.sort_by(|a, b| a["resource"].as_str().cmp(&b["resource"].as_str()));
            let freshness = if current { "Current" } else { "Stale" };
            let mut value = json!({"version": version.name, "freshness": freshness});
            if !resources.is_empty() {
                value["resources"] = resources.into();
            }
            value
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({ "name": group.name }) };
    json!({ "metadata": metadata, "versions": versions })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let info = kind.info();
    // Upstream names group and version of built-in kinds only where they are not those of the list.
    let response = |group: &str, version: &str, name: &str| match kind.resource.custom() {
        None if (group, version) == (info.group, info.version) => json!({"group": "", "version": "", "kind": name}),
        _ => json!({"group": group, "version": version, "kind": name}),
    };
    let scope = if info.is_namespaced() { "Namespaced" } else { "Cluster" };
    let subresources: Vec<Value> = kind
        .resource
        .subresources()
        .iter()
        .map(|subresource| {
            let (group, version, name) = subresource_kind(info, subresource);
            json!({
                "subresource": subresource.name,
                "responseKind": response(&group, &version, &name),
                "verbs": subresource_verbs(subresource),
            })
        })
        .collect();
    let mut value = json!({
        "resource": info.plural,
        "responseKind": response(info.group, info.version, info.kind),
        "scope": scope,
        "singularResource": info.singular_name(),
        "verbs": verbs(&*kind.resource),
    });
    if !info.short.is_empty() {
        value["shortNames"] = info.short.into();
    }
    if !info.categories.is_empty() {
        value["categories"] = info.categories.into();
    }
    if !subresources.is_empty() {
        value["subresources"] = subresources.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::version_priority;

    #[test]
    fn versions_are_ranked() {
        let mut versions = ["v1alpha1", "v2", "v1beta2", "v1", "v2beta1", "foo"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_priority(version)));
        assert_eq!(versions, ["v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
