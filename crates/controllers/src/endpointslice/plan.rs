//! Which slices a service needs; pure. Upstream: `endpointslice/reconciler.go` and `utils.go`.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    ObjectMeta,
    core::v1::{Node, ObjectReference, Pod, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    owner::{controller_reference, is_controlled_by},
    pod,
    service::{self, HEADLESS_LABEL},
};
use jiff::Timestamp;

use super::slices;
use crate::service_pods::{IncludeTerminating, TRIGGER_TIME, addresses, annotate, has_endpoint, hostname};

pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) struct View<'a> {
    pub(super) service: &'a Service,
    /// The pods it selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// The slices this controller wrote for it.
    pub(super) existing: &'a [Arc<EndpointSlice>],
    pub(super) node: &'a dyn Fn(&str) -> Option<Arc<Node>>,
    /// When what is new happened.
    pub(super) trigger: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// What makes two endpoints the same one. Upstream: `hashEndpoint`.
pub(super) type EndpointId = (Vec<String>, Option<String>, Option<String>);

pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let families = families(view.service);
    for slice in view.existing {
        if !families.contains(&slice.address_type) {
            plan.delete.push(slice.clone());
        }
    }
    for family in &families {
        plan_family(view, family, &mut plan);
    }
    if view.service.metadata.deletion_timestamp.is_some() {
        // The garbage collector takes the slices; new ones would race with it.
        plan.create.clear();
    }
    for slice in plan.create.iter_mut().chain(&mut plan.update) {
        annotate(&mut slice.metadata.annotations, view.trigger);
    }
    plan
}

/// Names by which one slice's endpoints are addressed.
pub(super) fn zone(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(ZONE).filter(|zone| !zone.is_empty())
}

pub(super) fn id_of(endpoint: &Endpoint) -> EndpointId {
    let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
    (endpoint.addresses.clone(), endpoint.hostname.clone(), pod)
}

/// A slice without endpoints, as the service's slices are made. Upstream: `newEndpointSlice`.
pub(super) fn empty_slice(service: &Service, family: &str, ports: &[EndpointPort]) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(Vec::new()),
        ports: Some(ports.to_vec()),
    }
}

/// The service's own labels and those by which its slices are found. Upstream: `setEndpointSliceLabels`.
pub(super) fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    if service::is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn plan_family(view: &View<'_>, family: &str, plan: &mut Plan) {
    let service = view.service;
    let mut existing = BTreeMap::<String, Vec<Arc<EndpointSlice>>>::new();
    let mut count = 0;
    for slice in view.existing.iter().filter(|slice| slice.address_type == family) {
        existing.entry(ports_key(slice.ports.as_deref().unwrap_or_default())).or_default().push(slice.clone());
        count += 1;
    }
    let mut desired = BTreeMap::<String, (Vec<EndpointPort>, BTreeMap<EndpointId, Endpoint>)>::new();
    for pod in view.pods.iter().filter(|pod| has_endpoint(pod, IncludeTerminating::Yes)) {
        let Some(endpoint) = endpoint(view, pod, family) else { continue };
        let ports = ports(service, pod);
        let (_, endpoints) = desired.entry(ports_key(&ports)).or_insert_with(|| (ports, BTreeMap::new()));
        endpoints.insert(id_of(&endpoint), endpoint);
    }
    let (mut create, mut update, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    for (key, (ports, endpoints)) in desired {
        let slices = existing.remove(&key).unwrap_or_default();
        let change = slices::reconcile(service, family, &ports, &slices, endpoints);
        create.extend(change.create);
        update.extend(change.update);
        delete.extend(change.delete);
    }
    delete.extend(existing.into_values().flatten());
    // A service without endpoints has one empty slice, so that its consumers know that there are none.
    if count == delete.len() && create.is_empty() {
        let placeholder = empty_slice(service, family, &[]);
        match delete.as_slice() {
            [only] if is_placeholder(only, &placeholder) => delete.clear(),
            _ => create.push(placeholder),
        }
    }
    reuse(service, &mut create, &mut update, &mut delete);
    plan.create.extend(create);
    plan.update.extend(update);
    plan.delete.extend(delete);
}

/// What would be deleted is overwritten by what would be created, where that is allowed: one write instead of two.
fn reuse(
    service: &Service,
    create: &mut Vec<EndpointSlice>,
    update: &mut Vec<EndpointSlice>,
    delete: &mut Vec<Arc<EndpointSlice>>,
) {
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    delete.retain(|old| {
        let usable = is_controlled_by(&old.metadata, uid);
        let Some(mut slice) = (if usable { create.pop() } else { None }) else { return true };
        slice.metadata.name = old.metadata.name.clone();
        slice.metadata.generate_name = old.metadata.generate_name.clone();
        slice.metadata.uid = old.metadata.uid.clone();
        slice.metadata.resource_version = old.metadata.resource_version.clone();
        update.push(slice);
        false
    });
}

fn is_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    let mut annotations = slice.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    slice.endpoints.as_ref().is_none_or(Vec::is_empty)
        && slice.ports.as_ref().is_none_or(Vec::is_empty)
        && slice.metadata.labels == placeholder.metadata.labels
        && slice.metadata.owner_references == placeholder.metadata.owner_references
        && slice.address_type == placeholder.address_type
        && annotations.is_empty()
}

fn endpoint(view: &View<'_>, pod: &Pod, family: &str) -> Option<Endpoint> {
    let addresses: Vec<_> = addresses(pod).filter(|address| family_of(address) == family).map(str::to_owned).collect();
    if addresses.is_empty() {
        return None;
    }
    let publish_not_ready =
        view.service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let node_name = pod::node_name(pod);
    let node = node_name.and_then(|name| (view.node)(name));
    // A pod on a node that is gone cannot be reached, unless its address is asked for regardless.
    if node_name.is_some() && node.is_none() && !publish_not_ready {
        return None;
    }
    let (serving, terminating) = (pod::is_ready(pod), pod::is_terminating(pod));
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(publish_not_ready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(pod, view.service),
        node_name: node_name.map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: node.and_then(|node| zone(&node).cloned()),
        ..Endpoint::default()
    })
}

/// The service's ports as this pod has them; one whose name the pod does not know is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports
        .into_iter()
        .flatten()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(service::find_port(pod, port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// Equal for the same ports in any order.
fn ports_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<_> = ports
        .iter()
        .map(|port| {
            let name = port.name.as_deref().unwrap_or_default();
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            format!("{name}/{:?}/{protocol}/{:?}", port.port, port.app_protocol)
        })
        .collect();
    keys.sort();
    keys.join(",")
}

fn family_of(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

/// The address types the service has slices for. Upstream: `getAddressTypesForService`.
fn families(service: &Service) -> Vec<String> {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if !named.is_empty() {
        return named;
    }
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
    vec![family_of(address).to_owned()]
}
