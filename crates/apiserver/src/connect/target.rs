//! From the name of a node, pod or service to an address that may be dialled.

use std::net::IpAddr;

use api::core::v1::{Node, Pod};
use apimachinery::{ApiError, Gvr, field::go_quote};
use http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::{
    NodeAddress,
    relay::{self, Redirects, Relay},
    rewrite::Rewriter,
};
use crate::{
    respond::Answer,
    server::{ApiServer, Call},
};

const KUBELET_PORT: u16 = 10250;
/// What Go escapes in a path.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Upstream: `kubelet/client.NodeConnectionInfoGetter`, preferring the internal address.
pub(super) fn node_address(server: &ApiServer, name: &str) -> Result<NodeAddress, ApiError> {
    let node: Node = server
        .registry()
        .reader()
        .get("", "nodes", "", name)
        .ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", "nodes"), name))?;
    let status = node.status.unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    let of = |kind: &str| {
        addresses
            .iter()
            .filter(|address| address.type_ == kind)
            .find_map(|address| address.address.parse::<IpAddr>().ok())
    };
    let mut preferred = server.inner.options.node_address_types.iter();
    let host = preferred.find_map(|kind| of(kind)).ok_or_else(|| {
        ApiError::internal(format!("no preferred addresses found; known addresses: {}", addresses.len()))
    })?;
    let port = status
        .daemon_endpoints
        .and_then(|endpoints| endpoints.kubelet_endpoint)
        .and_then(|endpoint| u16::try_from(endpoint.port).ok())
        .filter(|port| *port > 0)
        .unwrap_or(KUBELET_PORT);
    Ok(NodeAddress { node: name.to_owned(), host, port, unverified: false })
}

/// `name`, `name:port`, `scheme:name:port`. Upstream: `utilnet.SplitSchemeNamePort`.
pub(super) struct Target<'a> {
    pub(super) scheme: &'a str,
    pub(super) name: &'a str,
    pub(super) port: &'a str,
}

impl<'a> Target<'a> {
    pub(super) fn parse(text: &'a str, what: &str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = match parts.as_slice() {
            [name] => Self { scheme: "", name, port: "" },
            [name, port] => Self { scheme: "", name, port },
            [scheme @ ("http" | "https" | ""), name, port] => Self { scheme, name, port },
            _ => Self { scheme: "", name: "", port: "" },
        };
        if parsed.name.is_empty() {
            return Err(ApiError::bad_request(format!("invalid {what} request {}", go_quote(text))));
        }
        Ok(parsed)
    }
}

pub(super) async fn pod(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let target = Target::parse(&call.info.name, "pod")?;
    let name = target.name;
    let pod: Pod = server
        .registry()
        .reader()
        .get("", "pods", &call.info.namespace, name)
        .ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", "pods"), name))?;
    let first = || {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.flat_map(|container| container.ports.iter().flatten()).map(|port| port.container_port).next()
    };
    let port = match target.port {
        "" => first().map(|port| port.to_string()).unwrap_or_default(),
        port => port.to_owned(),
    };
    let status = pod.status.unwrap_or_default();
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).next();
    let host: IpAddr = listed
        .or(status.pod_ip.as_deref())
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| ApiError::bad_request("address not allowed"))?;
    let scheme = target.scheme.to_owned();
    dial(server, call, &scheme, host, &port).await
}

pub(super) async fn service(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let target = Target::parse(&call.info.name, "service")?;
    let (namespace, name) = (&call.info.namespace, target.name);
    let services = &server.inner.services;
    let service =
        services.service(namespace, name).ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", "services"), name))?;
    // A number means the port of that number, by whatever name it has.
    let port_name = match target.port.parse::<i64>() {
        Ok(number) => {
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            let port = ports.into_iter().find(|port| port["port"] == number).ok_or_else(|| {
                ApiError::service_unavailable(format!("no service port {number} found for service {}", go_quote(name)))
            })?;
            port["name"].as_str().unwrap_or_default().to_owned()
        }
        Err(_) => target.port.to_owned(),
    };
    let family = service["spec"]["ipFamilies"][0].as_str().unwrap_or("IPv4");
    // Only pods are proxied to: endpoints may be written by those who may not reach what they point at.
    let reader = server.registry().reader();
    let is_pod = |endpoint: &Value| {
        let (kind, pod) = (&endpoint["targetRef"]["kind"], endpoint["targetRef"]["name"].as_str());
        let Some(pod) = pod.filter(|_| kind == "Pod") else { return false };
        let Some(pod) = reader.raw("", "pods", namespace, pod) else { return false };
        let Ok(pod) = serde_json::from_slice::<Value>(&pod) else { return false };
        let mut addresses = pod["status"]["podIPs"].as_array().into_iter().flatten().map(|ip| &ip["ip"]);
        addresses.any(|address| *address == endpoint["addresses"][0])
    };
    let address = services.endpoint(namespace, name, &port_name, family, &is_pod).ok_or_else(|| {
        ApiError::service_unavailable(format!("no endpoints available for service {}", go_quote(&call.info.name)))
    })?;
    let scheme = target.scheme.to_owned();
    dial(server, call, &scheme, address.ip(), &address.port().to_string()).await
}

/// Passes the call on to an address that is no server's own. Upstream: `proxyutil.IsProxyableIP`, the proxy transport.
pub(super) async fn dial(
    server: &ApiServer,
    call: Call,
    scheme: &str,
    host: IpAddr,
    port: &str,
) -> Result<Answer, ApiError> {
    if !outbound::is_proxyable(host) {
        return Err(ApiError::bad_request("address not allowed"));
    }
    let scheme = if scheme == "https" { "https" } else { "http" };
    let default = if scheme == "https" { 443 } else { 80 };
    let port: u16 = match port {
        "" => default,
        port => port.parse().map_err(|_| ApiError::bad_request(format!("invalid port {}", go_quote(port))))?,
    };
    let path = backend_path(&call);
    if let Some(redirect) = relay::root_redirect(&call, &path) {
        return Ok(redirect);
    }
    let backend = std::net::SocketAddr::new(host, port).to_string();
    let redirects = Redirects::Rewrite(rewriter(&call, &path, &backend));
    let query = call.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { &path };
    let uri: Uri = format!("{scheme}://{backend}{path}{query}")
        .parse()
        .map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
    let client = &server.inner.proxy;
    Relay { client, uri, headers: HeaderMap::new(), redirects, timeout: None }.run(server, call).await
}

/// The path that the backend is asked for: what follows the subresource, without steps upwards.
pub(super) fn backend_path(call: &Call) -> String {
    let mut clean: Vec<&str> = Vec::new();
    for segment in call.info.rest.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            segment => clean.push(segment),
        }
    }
    let slash = if call.parts.uri.path().ends_with('/') { "/" } else { "" };
    if clean.is_empty() {
        return slash.to_owned();
    }
    format!("/{}{slash}", utf8_percent_encode(&clean.join("/"), PATH))
}

pub(super) fn rewriter(call: &Call, path: &str, backend: &str) -> Rewriter {
    let own = call.parts.uri.path();
    let host = call.parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    Rewriter {
        prefix: own.strip_suffix(path).unwrap_or(own).trim_end_matches('/').to_owned(),
        path: path.to_owned(),
        backend: backend.to_owned(),
        host: host.or(call.parts.uri.authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned(),
    }
}
