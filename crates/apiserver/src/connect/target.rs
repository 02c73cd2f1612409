//! From the name of a node, pod or service to an address that may be dialled.

use std::net::IpAddr;

use api::{
    IntOrString,
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use apimachinery::{ApiError, Gvr};
use tokio::net::TcpStream;

use super::{NodeAddress, forward};
use crate::{
    respond::Answer,
    server::{ApiServer, Call},
};

const KUBELET_PORT: u16 = 10250;

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
    let host = of("InternalIP").or_else(|| of("ExternalIP")).ok_or_else(|| {
        ApiError::internal(format!("no preferred addresses found; known addresses: {}", addresses.len()))
    })?;
    let port = status
        .daemon_endpoints
        .and_then(|endpoints| endpoints.kubelet_endpoint)
        .and_then(|endpoint| u16::try_from(endpoint.port).ok())
        .filter(|port| *port > 0)
        .unwrap_or(KUBELET_PORT);
    Ok(NodeAddress { node: name.to_owned(), host, port })
}

/// `name`, `name:port`, `scheme:name:port`. Upstream: `utilnet.SplitSchemeNamePort`.
fn split(text: &str) -> Result<(&str, &str), ApiError> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Ok((name, "")),
        [name, port] => Ok((name, port)),
        ["http" | "", name, port] => Ok((name, port)),
        ["https", ..] => Err(ApiError::bad_request("the https scheme is not supported by this proxy")),
        _ => Err(ApiError::bad_request(format!("invalid request {text:?}"))),
    }
}

pub(super) async fn pod(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let (name, port) = split(&call.info.name)?;
    let pod: Pod = server
        .registry()
        .reader()
        .get("", "pods", &call.info.namespace, name)
        .ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", "pods"), name))?;
    let port = match port {
        "" => pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .flat_map(|container| container.ports.iter().flatten())
            .map(|port| port.container_port)
            .next()
            .unwrap_or(80)
            .to_string(),
        port => port.to_owned(),
    };
    let address = pod.status.and_then(|status| status.pod_ip).unwrap_or_default();
    dial(server, call, &address, &port).await
}

pub(super) async fn service(server: &ApiServer, call: Call) -> Result<Answer, ApiError> {
    let (name, wanted) = split(&call.info.name)?;
    let (name, wanted) = (name.to_owned(), wanted.to_owned());
    let reader = server.registry().reader();
    let service: Service = reader
        .get("", "services", &call.info.namespace, &name)
        .ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", "services"), &name))?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let unavailable = || ApiError::service_unavailable(format!("no endpoints available for service \"{name}\""));
    let port = ports
        .iter()
        .find(|port| {
            wanted.is_empty() || port.name.as_deref() == Some(wanted.as_str()) || port.port.to_string() == wanted
        })
        .ok_or_else(|| {
            ApiError::service_unavailable(format!("no service port \"{wanted}\" found for service \"{name}\""))
        })?;
    let slices: Vec<EndpointSlice> = reader.list("discovery.k8s.io", "endpointslices", Some(&call.info.namespace));
    for slice in slices {
        let owner = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        if owner.map(String::as_str) != Some(name.as_str()) {
            continue;
        }
        let target = slice
            .ports
            .iter()
            .flatten()
            .find(|target| target.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default());
        let number = target.and_then(|target| target.port).or(match &port.target_port {
            Some(IntOrString::Int(number)) => Some(*number),
            _ => None,
        });
        let ready = slice
            .endpoints
            .iter()
            .flatten()
            .find(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
        if let (Some(number), Some(address)) = (number, ready.and_then(|endpoint| endpoint.addresses.first())) {
            let (address, number) = (address.clone(), number.to_string());
            return dial(server, call, &address, &number).await;
        }
    }
    Err(unavailable())
}

async fn dial(server: &ApiServer, call: Call, address: &str, port: &str) -> Result<Answer, ApiError> {
    let host: IpAddr = address.parse().map_err(|_| ApiError::service_unavailable("the address is not known yet"))?;
    let port: u16 = port.parse().map_err(|_| ApiError::bad_request(format!("invalid port {port:?}")))?;
    // Upstream: `proxyutil.IsProxyableIP`.
    let forbidden = host.is_loopback()
        || host.is_unspecified()
        || host.is_multicast()
        || matches!(host, IpAddr::V4(v4) if v4.is_link_local())
        || matches!(host, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if forbidden {
        return Err(ApiError::bad_request("address not allowed"));
    }
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| ApiError::service_unavailable(format!("error trying to reach service: {error}")))?;
    let path = format!("/{}", call.info.rest);
    let query = call.parts.uri.query().unwrap_or_default().to_owned();
    forward::forward(server, call, Box::new(stream), &format!("{host}:{port}"), &path, &query).await
}
