//! Streams to nodes: exec, attach, port-forward, logs and proxy. Upgraded connections are passed on byte for byte.
//!
//! What is dialled is an address out of a stored object, checked once and used as checked; redirects are never followed,
//! and the client's own credentials never go to a node. Upstream: `registry/core/pod/rest`, `util/proxy`.

mod dial;
mod forward;
mod options;
pub(crate) mod relay;
mod resolve;
mod rewrite;
mod target;

use std::sync::Arc;

use api::core::v1::Pod;
use apimachinery::ApiError;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use registry::{
    AnyObject, Handler, Kind, Subresource, Verb,
    admission::{AdmissionRequest, Operation},
};

pub use dial::{NodeAddress, NodeDialer, NodeStream, TlsDialer};
use relay::Redirects;
pub use resolve::Services;

use crate::{
    respond::Answer,
    server::{ApiServer, Call},
};

/// How much of a node's refusal is read. Upstream: `maxReadLength`.
const MAX_REFUSAL: usize = 50_000;

pub(crate) async fn serve(
    server: &ApiServer,
    call: Call,
    kind: &Arc<Kind>,
    subresource: Subresource,
) -> Result<Answer, ApiError> {
    let allowed = match subresource.handler {
        Handler::Log => call.parts.method == Method::GET,
        Handler::Connect => matches!(call.parts.method, Method::GET | Method::POST),
        _ => true,
    };
    if !allowed {
        return Err(ApiError::method_not_allowed());
    }
    if subresource.handler != Handler::Log {
        admit(server, &call, kind, subresource).await?;
    }
    match (kind.gvr.resource.as_str(), subresource.name) {
        ("pods", "proxy") => target::pod(server, call).await,
        ("services", "proxy") => target::service(server, call).await,
        ("nodes", "proxy") => node_proxy(server, call).await,
        ("pods", name) => to_pod(server, call, name).await,
        _ => Err(ApiError::path_not_found()),
    }
}

async fn admit(server: &ApiServer, call: &Call, kind: &Kind, subresource: Subresource) -> Result<(), ApiError> {
    let cx = call.context(server, Verb::Create);
    let mut options = options::of(call, subresource);
    let object = options.as_mut().map(|options| options as &mut dyn AnyObject);
    let mut request =
        AdmissionRequest { object, ..AdmissionRequest::at(server.registry(), kind, &cx, Operation::Connect) };
    server.registry().admit(&mut request).await?;
    server.registry().validate_admission(&request).await
}

/// exec, attach, portforward and log of a pod, served by its kubelet.
async fn to_pod(server: &ApiServer, call: Call, what: &str) -> Result<Answer, ApiError> {
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    // What is asked for wrongly is so whether the pod is there or not.
    let log_query = if what == "log" { log_query(&call)? } else { String::new() };
    let gvr = apimachinery::Gvr::new("", "v1", "pods");
    let pod: Pod =
        server.registry().reader().get("", "pods", namespace, name).ok_or_else(|| ApiError::not_found(&gvr, name))?;
    let container = if what == "portforward" { String::new() } else { container(&pod, call.param("container"))? };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    if node.is_empty() {
        if what == "log" {
            // The pod has not started yet, so it has said nothing.
            return Ok(crate::respond::with_type(200, "text/plain", crate::body::Body::empty()));
        }
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let (path, query) = match what {
        "log" => (format!("/containerLogs/{namespace}/{name}/{container}"), log_query),
        "portforward" => (format!("/portForward/{namespace}/{name}"), port_query(&call)),
        "exec" | "attach" => (format!("/{what}/{namespace}/{name}/{container}"), stream_query(&call, what)?),
        _ => return Err(ApiError::path_not_found()),
    };
    // A stream cannot be had otherwise. Upstream: `UpgradeRequired` of the proxy handler.
    if what != "log" && !relay::is_upgrade(&call.parts.headers) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let mut address = target::node_address(server, &node)?;
    // What it shows of the logs may be anybody's, and the client says so. Upstream: `LogLocation`.
    address.unverified = what == "log" && call.flag("insecureSkipTLSVerifyBackend");
    let answer = reach(server, call, &address, &path, &query, &Redirects::Reject).await?;
    if what == "log" { explain(answer, pod.metadata.name.as_deref().unwrap_or_default()).await } else { Ok(answer) }
}

/// A node refuses in plain words; clients want a Status. Upstream: `GenericHttpResponseChecker`.
async fn explain(answer: Answer, pod: &str) -> Result<Answer, ApiError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = Limited::new(answer.into_body(), MAX_REFUSAL).collect().await.map(http_body_util::Collected::to_bytes);
    let text = String::from_utf8_lossy(&body.unwrap_or_default()).trim_end().to_owned();
    Err(match status {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => {
            ApiError::not_found(&apimachinery::Gvr::new("", "v1", "pods"), &format!("{pod}: {text}"))
        }
        _ => ApiError::internal(text),
    })
}

/// Any path of a kubelet, or of another server on a node's address. Upstream: `node.ResourceLocation`.
async fn node_proxy(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let target = target::Target::parse(&call.info.name, "node")?;
    let (scheme, port) = (target.scheme.to_owned(), target.port.to_owned());
    let address = target::node_address(server, target.name)?;
    if !port.is_empty() && port != address.port.to_string() {
        return target::dial(server, call, &scheme, address.host, &port).await;
    }
    let path = target::backend_path(&call);
    if let Some(redirect) = relay::root_redirect(&call, &path) {
        return Ok(redirect);
    }
    let authority = std::net::SocketAddr::new(address.host, address.port).to_string();
    let redirects = Redirects::Rewrite(target::rewriter(&call, &path, &authority));
    let query = call.parts.uri.query().unwrap_or_default().to_owned();
    let path = if path.is_empty() { "/" } else { &path };
    reach(server, call, &address, path, &query, &redirects).await
}

async fn reach(
    server: &ApiServer,
    call: Call,
    address: &NodeAddress,
    path: &str,
    query: &str,
    redirects: &Redirects,
) -> Result<Answer, ApiError> {
    let Some(dialer) = &server.inner.dialer else {
        return Err(ApiError::service_unavailable("this API server does not reach nodes"));
    };
    let authority = std::net::SocketAddr::new(address.host, address.port).to_string();
    let stream = dialer.dial(address).await.map_err(|error| {
        let words = outbound::go_words(&error);
        // Go says where it could not connect, and not where it did not like what it found.
        let place = if words.starts_with("tls: ") { String::new() } else { format!("dial tcp {authority}: ") };
        ApiError::internal(format!("error dialing backend: {place}{words}"))
    })?;
    forward::forward(server, call, stream, &authority, path, query, redirects).await
}

/// The container that is meant. Upstream: `pod.LogLocation`, `pod.streamLocation`.
fn container(pod: &Pod, wanted: &str) -> Result<String, ApiError> {
    let Some(spec) = &pod.spec else { return Err(ApiError::bad_request("pod has no spec")) };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let init = spec.init_containers.iter().flatten().map(|container| container.name.as_str());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| container.name.as_str());
    let main: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    if !wanted.is_empty() {
        let mut all = main.iter().copied().chain(init).chain(ephemeral);
        return if all.any(|known| known == wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    if let [only] = main.as_slice() {
        return Ok((*only).to_owned());
    }
    let mut message = format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
    let init: Vec<&str> = init.collect();
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    let ephemeral: Vec<&str> = ephemeral.collect();
    if !ephemeral.is_empty() {
        message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(ApiError::bad_request(message))
}

fn encode(pairs: &[(&str, String)]) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    pairs.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// The kubelet's names for the client's `PodExecOptions`.
fn stream_query(call: &Call, what: &str) -> Result<String, ApiError> {
    let mut pairs = Vec::new();
    let (stdin, stdout, tty) = (call.flag("stdin"), call.flag("stdout"), call.flag("tty"));
    // A terminal has no separate standard error.
    let stderr = call.flag("stderr") && !tty;
    if !stdin && !stdout && !stderr {
        return Err(ApiError::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    for (flag, name) in [(stdin, "input"), (stdout, "output"), (stderr, "error"), (tty, "tty")] {
        if flag {
            pairs.push((name, "1".to_owned()));
        }
    }
    if what == "exec" {
        let command = call.query.iter().filter(|(key, _)| key == "command");
        let before = pairs.len();
        pairs.extend(command.map(|(_, value)| ("command", value.clone())));
        if pairs.len() == before {
            return Err(ApiError::bad_request("you must specify a command"));
        }
    }
    Ok(encode(&pairs))
}

fn port_query(call: &Call) -> String {
    let ports = call.query.iter().filter(|(key, _)| key == "ports").map(|(_, value)| value.as_str());
    let pairs: Vec<(&str, String)> =
        ports.flat_map(|value| value.split(',')).map(|port| ("port", port.to_owned())).collect();
    encode(&pairs)
}

/// What of a container's output may be asked for. Upstream: `supportedLogStreams`.
const LOG_STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

/// Upstream: `validation.ValidatePodLogOptions`.
fn log_query(call: &Call) -> Result<String, ApiError> {
    use apimachinery::field::{Error, ErrorList, Path};
    let mut errors = ErrorList::new();
    let mut pairs = Vec::new();
    for (name, minimum, message) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        let text = call.param(name);
        if text.is_empty() {
            continue;
        }
        match text.parse::<i64>() {
            Ok(value) if value >= minimum => pairs.push((name, text.to_owned())),
            Ok(value) => errors.push(Error::invalid(&Path::new(name), value, message)),
            Err(_) => {
                let text = apimachinery::field::go_quote(text);
                return Err(ApiError::bad_request(format!("strconv.ParseInt: parsing {text}: invalid syntax")));
            }
        }
    }
    let since = call.param("sinceTime");
    if !since.is_empty() && since.parse::<jiff::Timestamp>().is_err() {
        let text = apimachinery::field::go_quote(since);
        let why = format!("parsing time {text} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text} as \"2006\"");
        return Err(ApiError::bad_request(why));
    }
    for name in ["sinceTime", "stream"] {
        let text = call.param(name);
        if !text.is_empty() {
            pairs.push((name, text.to_owned()));
        }
    }
    if !call.param("sinceTime").is_empty() && !call.param("sinceSeconds").is_empty() {
        errors.push(Error::forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let stream = call.param("stream");
    if !stream.is_empty() && !LOG_STREAMS.contains(&stream) {
        errors.push(Error::not_supported(&Path::new("stream"), stream, &LOG_STREAMS));
    }
    if !matches!(stream, "" | "All") && !call.param("tailLines").is_empty() {
        errors
            .push(Error::forbidden(&Path::new(""), "`tailLines` and specific `stream` are mutually exclusive for now"));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("", "PodLogOptions", &call.info.name, &errors));
    }
    for name in ["follow", "previous", "timestamps"] {
        if call.flag(name) {
            pairs.push((name, "true".to_owned()));
        }
    }
    Ok(encode(&pairs))
}
