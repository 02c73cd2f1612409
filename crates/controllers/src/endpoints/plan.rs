//! The Endpoints a service needs; pure. Upstream: `endpoints_controller.go` `syncService`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    ObjectMeta,
    core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort},
    pod,
    service::{self, HEADLESS_LABEL},
};
use jiff::Timestamp;

use super::repack::repack;
use crate::service_pods::{IncludeTerminating, addresses, annotate, has_endpoint, hostname};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// At most so many addresses; consumers of more must read slices. Upstream: `maxCapacity`.
const MAX: usize = 1000;

#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    Create(Box<Endpoints>),
    Update(Box<Endpoints>),
}

pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) == Some(MANAGER)
}

pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: Option<&Endpoints>,
    trigger: Option<Timestamp>,
) -> Plan {
    let mut subsets = repack(subsets(service, pods));
    let truncated = truncate(&mut subsets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    if service::is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());

    let mut new = existing.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    let annotated = new.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(OVER_CAPACITY));
    let unchanged = existing.is_some_and(|existing| {
        existing.subsets.clone().unwrap_or_default() == subsets
            && existing.metadata.labels.as_ref() == Some(&labels)
            && annotated == truncated
    });
    if unchanged {
        return Plan::Nothing;
    }
    new.subsets = (!subsets.is_empty()).then_some(subsets);
    new.metadata.labels = Some(labels);
    annotate(&mut new.metadata.annotations, trigger);
    if truncated {
        let annotations: &mut BTreeMap<_, _> = new.metadata.annotations.get_or_insert_default();
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = new.metadata.annotations.as_mut() {
        annotations.remove(OVER_CAPACITY);
    }
    if existing.is_some() { Plan::Update(Box::new(new)) } else { Plan::Create(Box::new(new)) }
}

/// One subset for each pod and port; they are packed afterwards.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.as_ref();
    let publish_not_ready = spec.is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let terminating = if publish_not_ready { IncludeTerminating::Yes } else { IncludeTerminating::No };
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let mut subsets = Vec::new();
    for pod in pods.iter().filter(|pod| has_endpoint(pod, terminating)) {
        let Some(address) = address(service, pod) else { continue };
        let ready = publish_not_ready || pod::is_ready(pod);
        let mut push = |port: Option<EndpointPort>| {
            let (addresses, not_ready) =
                if ready { (Some(vec![address.clone()]), None) } else { (None, Some(vec![address.clone()])) };
            subsets.push(EndpointSubset {
                addresses,
                not_ready_addresses: not_ready,
                ports: port.map(|port| vec![port]),
            });
        };
        if ports.is_empty() && service::is_headless(service) {
            push(None);
        }
        for port in ports {
            if let Some(number) = service::find_port(pod, port) {
                push(Some(endpoint_port(port, number)));
            }
        }
    }
    subsets
}

fn endpoint_port(port: &ServicePort, number: i32) -> EndpointPort {
    EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: number,
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

/// The pod's address of the service's first family; this kind of object has room for one.
fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let spec = service.spec.as_ref();
    let family = spec.and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    let v6 = match family.as_deref() {
        Some(family) => family == "IPv6",
        None => spec.and_then(|spec| spec.cluster_ip.as_deref()).is_some_and(|address| address.contains(':')),
    };
    let ip = addresses(pod).find(|address| address.contains(':') == v6)?.to_owned();
    Some(EndpointAddress {
        ip,
        hostname: hostname(pod, service),
        node_name: pod::node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Keeps as many addresses as are allowed, ready ones first, each subset its share. Whether any were dropped.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let count = |addresses: &Option<Vec<EndpointAddress>>| addresses.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| count(&subset.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|subset| count(&subset.not_ready_addresses)).sum();
    if ready + not_ready <= MAX {
        return false;
    }
    let keep_ready = ready.min(MAX);
    let keep_not_ready = MAX - keep_ready;
    let share = |addresses: &mut Option<Vec<EndpointAddress>>, keep: usize, total: usize, left: &mut usize| {
        let Some(list) = addresses else { return };
        let size = if total == 0 { 0 } else { (list.len() * keep).div_ceil(total) }.min(*left).min(list.len());
        list.truncate(size);
        *left -= size;
        if list.is_empty() {
            *addresses = None;
        }
    };
    let (mut ready_left, mut not_ready_left) = (keep_ready, keep_not_ready);
    for subset in subsets.iter_mut() {
        share(&mut subset.addresses, keep_ready, ready, &mut ready_left);
        share(&mut subset.not_ready_addresses, keep_not_ready, not_ready, &mut not_ready_left);
    }
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    true
}
