//! The node's HTTPS API: logs, exec, attach, port-forward, pods, statistics. Inside one process the API server calls
//! `Kubelet::handle` directly, without TLS; it has then authorised the caller itself.
//! Upstream: pkg/kubelet/server.

mod authorize;
mod channels;
mod exec;
mod exec_spdy;
mod logs;
mod port_forward;
mod serve;
mod spdy;
mod stats;
mod upgrade;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

pub use self::authorize::{ApiAuthorizer, Authorizer, User};
use crate::kubelet::Kubelet;
use crate::shared::{ContainerView, View};

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A request's query, decoded.
type Query = Vec<(String, String)>;

/// Longest command line of an exec, all words together.
const MAX_COMMAND: usize = 128 * 1024;

/// An answer other than success, as upstream words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
struct Refused {
    status: StatusCode,
    message: String,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Pods,
    Metrics,
    Stats,
    Logs { namespace: &'a str, pod: &'a str, container: &'a str },
    Exec { namespace: &'a str, pod: &'a str, container: &'a str },
    Attach { namespace: &'a str, pod: &'a str, container: &'a str },
    Run { namespace: &'a str, pod: &'a str, container: &'a str },
    PortForward { namespace: &'a str, pod: &'a str },
}

impl Kubelet {
    /// Answers one request of a caller that is already authorised. An upgrade is taken from the request, so that a
    /// client's own connection can be handed through.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: Send + 'static,
    {
        match self.answer(request).await {
            Ok(response) => response,
            Err(refused) => text(refused.status, refused.message),
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Response<Body>, Refused>
    where
        B: Send + 'static,
    {
        let uri = request.uri().clone();
        let query = parse_query(uri.query().unwrap_or_default());
        let route = route(uri.path()).ok_or_else(|| refuse(StatusCode::NOT_FOUND, "404 page not found"))?;
        let streaming = matches!(route, Route::Exec { .. } | Route::Attach { .. } | Route::PortForward { .. });
        let method_fits = match route {
            Route::Run { .. } => request.method() == Method::POST,
            _ if streaming => matches!(*request.method(), Method::GET | Method::POST),
            _ => matches!(*request.method(), Method::GET | Method::HEAD),
        };
        if !method_fits {
            return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"));
        }
        match route {
            Route::Health => Ok(text(StatusCode::OK, "ok".to_owned())),
            Route::Pods => Ok(self.pods()),
            Route::Metrics => Ok(stats::metrics(&self.shared).await),
            Route::Stats => Ok(stats::summary(&self.shared).await),
            Route::Logs { namespace, pod, container } => logs::answer(&self.shared, namespace, pod, container, &query),
            Route::Exec { namespace, pod, container } => {
                let (view, container) = self.container(namespace, pod, container)?;
                exec::exec(&self.shared, request, &view, &container, &query)
            }
            Route::Attach { namespace, pod, container } => {
                let (view, container) = self.container(namespace, pod, container)?;
                exec::attach(&self.shared, request, &view, &container, &query)
            }
            Route::Run { namespace, pod, container } => {
                let (_, container) = self.container(namespace, pod, container)?;
                exec::run(&self.shared, &container, &query).await
            }
            Route::PortForward { namespace, pod } => {
                let view = self.view(namespace, pod)?;
                port_forward::answer(&self.shared, request, &view, &query)
            }
        }
    }

    fn pods(&self) -> Response<Body> {
        let pods: Vec<Pod> = self.shared.pods.all().iter().map(|entry| (*entry.view.read().pod).clone()).collect();
        json_response(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}))
    }

    fn view(&self, namespace: &str, pod: &str) -> Result<View, Refused> {
        match self.shared.pods.find(namespace, pod) {
            Some(entry) => Ok(entry.view.read().clone()),
            None => Err(refuse(StatusCode::NOT_FOUND, format!("pod does not exist: pods {pod:?} not found"))),
        }
    }

    /// A container that runs.
    fn container(&self, namespace: &str, pod: &str, container: &str) -> Result<(View, ContainerView), Refused> {
        let view = self.view(namespace, pod)?;
        let found =
            view.containers.iter().find(|own| own.name == container && own.running && own.id.is_some()).cloned();
        match found {
            Some(found) => Ok((view, found)),
            None => Err(refuse(
                StatusCode::NOT_FOUND,
                format!("unable to upgrade connection: container not found (\"{container}\")"),
            )),
        }
    }
}

fn route(path: &str) -> Option<Route<'_>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if parts.iter().any(|part| part.is_empty() && path != "/") {
        return None;
    }
    Some(match parts.as_slice() {
        ["healthz"] => Route::Health,
        ["pods"] => Route::Pods,
        ["metrics"] => Route::Metrics,
        ["stats", "summary"] => Route::Stats,
        ["containerLogs", namespace, pod, container] => Route::Logs { namespace, pod, container },
        // With the pod's UID in between, as old API servers ask.
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            Route::Exec { namespace, pod, container }
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            Route::Attach { namespace, pod, container }
        }
        ["run", namespace, pod, container] | ["run", namespace, pod, _, container] => {
            Route::Run { namespace, pod, container }
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => Route::PortForward { namespace, pod },
        _ => return None,
    })
}

fn parse_query(text: &str) -> Query {
    let decode = |part: &str| {
        let plus = part.replace('+', " ");
        percent_encoding::percent_decode_str(&plus).decode_utf8_lossy().into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// A query's flag, under the kubelet's own name for it or the API's.
fn flag(query: &Query, names: [&str; 2]) -> bool {
    let found = query.iter().find(|(name, _)| names.contains(&name.as_str()));
    found.is_some_and(|(_, value)| matches!(value.as_str(), "1" | "true" | "True" | "TRUE" | "t" | "T"))
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Refused {
    Refused { status, message: message.into() }
}

fn text(status: StatusCode, message: String) -> Response<Body> {
    let mut response = Response::new(full(message));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json_response(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        assert_eq!(route("/exec/ns/p/c"), Some(Route::Exec { namespace: "ns", pod: "p", container: "c" }));
        assert_eq!(route("/exec/ns/p/uid/c"), Some(Route::Exec { namespace: "ns", pod: "p", container: "c" }));
        assert_eq!(route("/portForward/ns/p"), Some(Route::PortForward { namespace: "ns", pod: "p" }));
        assert_eq!(route("/containerLogs/ns/p"), None);
        assert_eq!(route("/exec//p/c"), None);
        assert_eq!(route("/"), None);
    }

    #[test]
    fn queries() {
        let query = parse_query("command=sh&command=-c&command=echo+a%20b&input=1");
        assert_eq!(query[2].1, "echo a b");
        assert!(flag(&query, ["input", "stdin"]));
        assert!(!flag(&query, ["tty", "tty"]));
    }
}
