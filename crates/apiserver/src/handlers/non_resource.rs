//! Paths outside of the API groups: discovery, health, version, metrics, OpenAPI. Upstream: `apiserver/pkg/server`.

use apimachinery::ApiError;
use http::Method;
use serde_json::json;

use super::{debug, health};
use crate::{
    discovery,
    respond::{self, Answer},
    server::{ApiServer, Call},
    version,
};

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

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
            let endpoint = match parts[0] {
                "healthz" => "healthz",
                "livez" => "livez",
                _ => "readyz",
            };
            Ok(health::serve(server, &call, endpoint, &check.join("/")).await)
        }
        ["metrics"] => {
            only_get(&call)?;
            Ok(respond::with_type(200, METRICS, crate::body::Body::whole(server.inner.metrics.render(server))))
        }
        ["metrics", "slis"] => {
            only_get(&call)?;
            Ok(respond::with_type(200, METRICS, crate::body::Body::whole(server.inner.probes.render())))
        }
        ["openapi", "v2"] => {
            only_get(&call)?;
            server.inner.openapi.v2(server, &call)
        }
        ["openapi", "v3", rest @ ..] => {
            only_get(&call)?;
            server.inner.openapi.v3(server, &call, &rest.join("/"))
        }
        ["statusz"] => {
            only_get(&call)?;
            debug::statusz(server, &call)
        }
        ["flagz"] => {
            only_get(&call)?;
            debug::flagz(server, &call)
        }
        ["debug", "api_priority_and_fairness", what] => {
            only_get(&call)?;
            Ok(debug::flow(server, &call, what))
        }
        ["debug", "pprof", rest @ ..] if server.inner.options.profiling => {
            only_get(&call)?;
            super::pprof::answer(&call, &rest.join("/")).await
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
        ["/flagz", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/statusz", "/version"]
            .map(str::to_owned),
    );
    paths.extend(health::paths(server));
    paths.extend(server.inner.paths.keys().cloned());
    paths.sort();
    paths.dedup();
    let body = serde_json::to_vec(&json!({ "paths": paths })).map_err(ApiError::internal)?;
    Ok(respond::json(200, body))
}
