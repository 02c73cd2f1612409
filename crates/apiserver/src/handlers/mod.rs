//! From a request that is allowed to the registry's verb. Upstream: `endpoints/installer.go`, `endpoints/handlers`.

mod apply;
mod debug;
mod delete;
mod freshness;
mod health;
mod list;
mod non_resource;
pub(crate) mod pace;
mod pprof;
mod read;
mod subresource;
mod watch;
mod websocket;
mod write;

use std::sync::Arc;

use apimachinery::{ApiError, fields::FieldSelector};
use futures::future::{BoxFuture, FutureExt as _};
use registry::{Handler, Kind, Subresource};

use crate::{
    metrics,
    respond::{self, Answer},
    server::{ApiServer, Call},
};

pub(crate) use non_resource::non_resource;

/// A future of its own on the heap: those of the verbs differ much in size.
pub(crate) fn resource(server: ApiServer, call: Call) -> BoxFuture<'static, Result<Answer, ApiError>> {
    async move { dispatch(&server, call).await }.boxed()
}

async fn dispatch(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let info = &call.info;
    let Some(kind) = server.inner.registry.kind(&info.group, &info.version, &info.resource) else {
        return Ok(respond::not_found());
    };
    check_place(&kind, &call)?;
    freshness::of_shared_store(server, &call).await?;
    let mut texts = kind.resource.custom().map(|custom| custom.warnings().to_vec()).unwrap_or_default();
    if let Some(text) = deprecation(&kind) {
        metrics::asked_for_deprecated(&kind.gvr.group, &kind.gvr.version, &kind.gvr.resource, &call.info.subresource);
        call.audit.annotate("k8s.io/deprecated", "true".to_owned());
        texts.push(text.to_owned());
    }
    let answer = serve(server, call, &kind).await;
    if texts.is_empty() {
        return answer;
    }
    let mut answer = answer.unwrap_or_else(|error| respond::error(&error));
    respond::add_warnings(&mut answer, &texts);
    Ok(answer)
}

/// What is told everybody who asks for an old kind. Upstream: `APILifecycleDeprecated` of the types.
fn deprecation(kind: &Kind) -> Option<&'static str> {
    match (kind.gvr.group.as_str(), kind.gvr.version.as_str(), kind.gvr.resource.as_str()) {
        ("", "v1", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "v1", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        _ => None,
    }
}

async fn serve(server: &ApiServer, call: Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    let info = &call.info;
    if !info.subresource.is_empty() {
        let Some(subresource) = find(kind, &info.subresource) else { return Ok(respond::not_found()) };
        if !info.rest.is_empty() && subresource.handler != Handler::ConnectPath {
            return Ok(respond::not_found());
        }
        return subresource::serve(server, call, kind, subresource).boxed().await;
    }
    if let Some(action) = kind.resource.create_action() {
        return match info.verb {
            "create" if info.name.is_empty() => {
                subresource::run_action(server, call, kind.gvk.clone(), &*action).boxed().await
            }
            _ => Err(ApiError::method_not_allowed()),
        };
    }
    if !kind.resource.verbs().contains(&info.verb) {
        return Err(ApiError::method_not_allowed());
    }
    match info.verb {
        "get" => read::get(server, &call, kind).await,
        "list" => list::list(server, &call, kind).await,
        "watch" => watch::watch(server, &call, kind).await,
        "create" if call.parts.uri.path().trim_end_matches('/').ends_with(&info.resource) => {
            write::create(server, call, kind).boxed().await
        }
        "update" if !info.name.is_empty() => write::update(server, call, kind).boxed().await,
        "patch" if !info.name.is_empty() => write::patch(server, call, kind).boxed().await,
        "delete" => delete::delete(server, call, kind).boxed().await,
        "deletecollection" => delete::delete_collection(server, call, kind).boxed().await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn find(kind: &Arc<Kind>, name: &str) -> Option<Subresource> {
    kind.resource.subresources().iter().find(|subresource| subresource.name == name).copied()
}

/// A name in the URL is a selector for it. Upstream: `listOpts`.
fn with_name(call: &Call, fields: FieldSelector) -> Result<FieldSelector, ApiError> {
    let name = &call.info.name;
    if name.is_empty() {
        return Ok(fields);
    }
    if fields.is_everything() {
        return FieldSelector::parse(&format!("metadata.name={name}"))
            .map_err(|error| ApiError::bad_request(error.to_string()));
    }
    match fields.requires_exact_match("metadata.name") {
        Some(selected) if selected == name => Ok(fields),
        _ => Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name")),
    }
}

/// Namespaced kinds are written in a namespace, cluster-scoped ones have none, and names are one path segment.
fn check_place(kind: &Kind, call: &Call) -> Result<(), ApiError> {
    let info = &call.info;
    let is_namespaces = info.resource == "namespaces" && info.group.is_empty();
    if !is_namespaces && !info.namespace.is_empty() && !kind.info().is_namespaced() {
        return Err(ApiError::path_not_found());
    }
    let across = matches!(info.verb, "list" | "watch");
    if kind.info().is_namespaced() && info.namespace.is_empty() && !across {
        // Upstream registers no such route.
        return Err(if info.name.is_empty() { ApiError::method_not_allowed() } else { ApiError::path_not_found() });
    }
    for (what, value) in [("Name", &info.name), ("Namespace", &info.namespace)] {
        if value.is_empty() {
            continue;
        }
        if let Some(message) = apimachinery::names::is_path_segment_name(value).first() {
            let value = apimachinery::field::go_quote(value);
            return Err(ApiError::bad_request(format!("{what} parameter invalid: {value}: {message}")));
        }
    }
    Ok(())
}
