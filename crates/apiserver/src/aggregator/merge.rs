//! What extension servers serve, as this server tells of it: in discovery, and where their OpenAPI is to be had.
//! Upstream: `handler_discovery.go` and `pkg/controllers/openapiv3` of kube-aggregator.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Limited};
use registry::UserInfo;
use serde_json::{Value, json};

use super::{Remote, proxy};
use crate::{
    others::{OtherDocument, OtherServers, OtherVersion},
    server::ApiServer,
};

/// Largest OpenAPI document of an extension server.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// OpenAPI documents of one extension server, as they were when it last became available.
#[derive(Clone, Default)]
pub(crate) struct Documents {
    pub(crate) v2: Option<Arc<Value>>,
    pub(crate) v3: Option<(String, String)>,
    /// Of a server without v3: made of its v2, as far as that goes.
    pub(crate) made: Option<Bytes>,
}

/// The server's own view of others. It is held by the server, and holds it in turn until the process ends.
pub(super) struct Others(pub(super) ApiServer);

impl OtherServers for Others {
    fn generation(&self) -> u64 {
        self.0.inner.aggregator.generation()
    }

    fn groups(&self) -> Vec<OtherVersion> {
        let remotes = self.0.inner.aggregator.remotes();
        remotes.iter().filter(|remote| !remote.group.is_empty()).map(|remote| version(remote)).collect()
    }

    fn documents(&self) -> Vec<OtherDocument> {
        let remotes = self.0.inner.aggregator.remotes();
        let known = remotes.iter().filter_map(|remote| remote.documents.load_full());
        let told = |documents: Arc<Documents>| OtherDocument {
            v2: documents.v2.clone(),
            v3: documents.v3.clone(),
            made: documents.made.clone(),
        };
        known.map(told).collect()
    }
}

fn version(remote: &Remote) -> OtherVersion {
    let listed = remote.resources.load();
    let listed: Value = listed.as_deref().and_then(|list| serde_json::from_slice(list).ok()).unwrap_or_default();
    OtherVersion {
        group: remote.group.clone(),
        version: remote.version.clone(),
        group_priority: remote.group_priority,
        version_priority: remote.version_priority,
        resources: resources(&listed, &remote.group, &remote.version),
        current: remote.is_available,
    }
}

/// From an `APIResourceList` to `APIVersionDiscovery.resources`. Upstream: `ConvertGroupVersionIntoToDiscovery`.
fn resources(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let mut resources: Vec<Value> = Vec::new();
    let kind = |resource: &Value| {
        let or = |field: &str, fallback: &str| resource[field].as_str().unwrap_or(fallback).to_owned();
        json!({"group": or("group", group), "version": or("version", version), "kind": or("kind", "")})
    };
    let listed = list["resources"].as_array().into_iter().flatten();
    let (own, under): (Vec<&Value>, Vec<&Value>) =
        listed.partition(|resource| !resource["name"].as_str().unwrap_or_default().contains('/'));
    for resource in own {
        let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut entry = json!({
            "resource": resource["name"], "responseKind": kind(resource), "scope": scope,
            "singularResource": resource["singularName"], "verbs": resource["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if resource[field].is_array() {
                entry[field] = resource[field].clone();
            }
        }
        resources.push(entry);
    }
    for resource in under {
        let Some((parent, name)) = resource["name"].as_str().and_then(|name| name.split_once('/')) else { continue };
        let entry = json!({"subresource": name, "responseKind": kind(resource), "verbs": resource["verbs"]});
        let Some(parent) = resources.iter_mut().find(|known| known["resource"] == parent) else { continue };
        match parent["subresources"].as_array_mut() {
            Some(known) => known.push(entry),
            None => parent["subresources"] = json!([entry]),
        }
    }
    resources
}

/// Asks an extension server for its OpenAPI. One that has none is as good.
pub(super) async fn documents(remote: &Remote) -> Documents {
    let mut documents = Documents::default();
    let path = format!("apis/{}/{}", remote.group, remote.version);
    if let Some(index) = get(remote, "/openapi/v3").await
        && let Some(url) = index["paths"][path.as_str()]["serverRelativeURL"].as_str()
        && url.starts_with("/openapi/v3/")
    {
        documents.v3 = Some((path.clone(), url.to_owned()));
    }
    let v2 = get(remote, "/openapi/v2").await.filter(|document| document["swagger"] == "2.0");
    let v2 = v2.map(|document| only(document, &remote.discovery_path()));
    if let (None, Some(v2)) = (&documents.v3, &v2) {
        let made = Bytes::from(schema::openapi::to_v3(v2).to_string());
        let url = format!("/openapi/v3/{path}?hash={}", crate::openapi::fingerprint(&made));
        (documents.v3, documents.made) = (Some((path, url)), Some(made));
    }
    documents.v2 = v2.map(Arc::new);
    documents
}

/// The document without what is not the group's, and what only that needs: every extension server describes its own
/// `/version` and `/healthz`.
fn only(mut document: Value, prefix: &str) -> Value {
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|path, _| path.trim_end_matches('/') == prefix || path.starts_with(&format!("{prefix}/")));
    }
    schema::openapi::beside(&Value::Null, [document]).pop().unwrap_or_default()
}

async fn get(remote: &Remote, path: &'static str) -> Option<Value> {
    let client = remote.client.as_ref().ok()?;
    // Upstream: `aggregatorUser`.
    let user = UserInfo::new("system:aggregator", [UserInfo::AUTHENTICATED_GROUP]);
    let mut request = Request::new(outbound::empty());
    *request.uri_mut() = http::Uri::from_static(path);
    *request.headers_mut() = proxy::identity_headers(&user).ok()?;
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answer = client.send(request).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let body = Limited::new(answer.into_body(), MAX_DOCUMENT).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_discovery() {
        let list = json!({"kind": "APIResourceList", "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get"], "shortNames": ["pm"]},
            {"name": "pods/scale", "singularName": "", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
            {"name": "nothing/x", "kind": "X", "verbs": []},
        ]});
        let expected = json!([{
            "resource": "pods", "responseKind": {"group": "m", "version": "v1", "kind": "PodMetrics"}, "scope": "Namespaced",
            "singularResource": "pod", "verbs": ["get"], "shortNames": ["pm"],
            "subresources": [{"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]}],
        }]);
        assert_eq!(Value::from(resources(&list, "m", "v1")), expected);
        assert!(resources(&Value::Null, "m", "v1").is_empty());
    }
}
