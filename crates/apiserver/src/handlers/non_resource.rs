//! Paths outside of the API groups: discovery, health, version, metrics, OpenAPI. Upstream: `apiserver/pkg/server`.

use std::sync::atomic::Ordering;

use apimachinery::ApiError;
use http::Method;
use serde_json::json;

use crate::{
    discovery,
    respond::{self, Answer},
    server::{ApiServer, Call},
    version,
};

pub(crate) async fn non_resource(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let path = call.info.path.trim_end_matches('/').to_owned();
    if let Some(handler) = server.inner.paths.get(&path) {
        only_get(&call)?;
        let (content_type, body) = handler.get()?;
        return Ok(respond::with_type(200, content_type, crate::body::Body::whole(body)));
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        [] | [""] => {
            only_get(&call)?;
            root(server)
        }
        ["api"] | ["apis"] | ["api", _] | ["apis", _] | ["apis", _, _] => {
            only_get(&call)?;
            discovery::serve(server, &call, &parts)
        }
        ["version"] => {
            only_get(&call)?;
            let info = serde_json::to_vec(&version::info()).map_err(ApiError::internal)?;
            Ok(respond::json(200, info))
        }
        ["healthz" | "livez" | "readyz", check @ ..] => {
            only_get(&call)?;
            Ok(health(server, &call, parts[0], check))
        }
        ["metrics"] => {
            only_get(&call)?;
            Ok(respond::text(200, server.inner.metrics.render()))
        }
        ["openapi", "v2"] => {
            only_get(&call)?;
            server.inner.openapi.v2(server, &call)
        }
        ["openapi", "v3", rest @ ..] => {
            only_get(&call)?;
            server.inner.openapi.v3(server, &call, &rest.join("/"))
        }
        _ => Ok(respond::not_found()),
    }
}

fn only_get(call: &Call) -> Result<(), ApiError> {
    if matches!(call.parts.method, Method::GET | Method::HEAD) { Ok(()) } else { Err(ApiError::method_not_allowed()) }
}

fn root(server: &ApiServer) -> Result<Answer, ApiError> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for kind in server.registry().kinds() {
        if !kind.gvk.group.is_empty() {
            paths.push(format!("/apis/{}", kind.gvk.group));
            paths.push(format!("/apis/{}", kind.gvk.api_version()));
        }
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned),
    );
    paths.extend(server.inner.paths.keys().cloned());
    paths.sort();
    paths.dedup();
    let body = serde_json::to_vec(&json!({ "paths": paths })).map_err(ApiError::internal)?;
    Ok(respond::json(200, body))
}

/// Upstream: `server/healthz`.
fn health(server: &ApiServer, call: &Call, endpoint: &str, single: &[&str]) -> Answer {
    let is_ready = server.inner.ready.load(Ordering::Acquire);
    let ending = server.inner.shutdown.is_cancelled();
    let mut checks = vec![("ping", true), ("log", true), ("etcd", true)];
    if endpoint == "readyz" {
        checks.push(("informer-sync", is_ready));
        checks.push(("poststarthook/start-apiserver-admission-initializer", true));
        checks.push(("poststarthook/rbac/bootstrap-roles", is_ready));
        checks.push(("shutdown", !ending));
    } else {
        checks.push(("poststarthook/start-apiserver-admission-initializer", true));
    }
    let excluded: Vec<&str> =
        call.query.iter().filter(|(key, _)| key == "exclude").map(|(_, value)| value.as_str()).collect();
    if let [name] = single {
        return match checks.iter().find(|(check, _)| check == name) {
            Some((_, true)) => respond::text(200, "ok"),
            Some((_, false)) => respond::text(500, format!("internal server error: {name} failed\n")),
            None => respond::not_found(),
        };
    }
    let mut lines = String::new();
    let mut failed = false;
    for (name, good) in checks {
        if excluded.contains(&name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if good {
            lines.push_str(&format!("[+]{name} ok\n"));
        } else {
            failed = true;
            lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
        }
    }
    if failed {
        return respond::text(500, format!("{lines}{endpoint} check failed\n"));
    }
    if call.query.iter().any(|(key, _)| key == "verbose") {
        respond::text(200, format!("{lines}{endpoint} check passed\n"))
    } else {
        respond::text(200, "ok")
    }
}
