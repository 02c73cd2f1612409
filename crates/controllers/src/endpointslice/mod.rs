//! Writes the endpoints of services with a selector as EndpointSlices. Upstream: `pkg/controller/endpointslice` and
//! `staging/src/k8s.io/endpointslice`.

mod plan;
mod slices;
#[cfg(test)]
mod tests;

use api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
    service,
};
use apimachinery::ObjectKey;
use informer::{
    Cache, Change, Controller, EventKind, Expectations, Index, Next, Reconcile, ReconcileError, Recorder, uid_of,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};

use self::plan::{MANAGED_BY, MANAGER, SERVICE_NAME, View, plan};
use crate::{
    Context, Entry, Rule, Watch,
    pod_control::{is_namespace_terminating, message_of},
    service_pods::{TriggerTimes, by_node, pods_of, services_of},
};

pub(crate) const ENTRY: Entry = Entry {
    name: "endpointslice-controller",
    service_account: "endpointslice-controller",
    watches: &[
        Watch::of("", "services"),
        Watch::of("", "pods"),
        Watch::of("", "nodes"),
        Watch::of("discovery.k8s.io", "endpointslices"),
    ],
    rules: &[
        Rule::of("discovery.k8s.io", "endpointslices", &["create", "update", "delete"]),
        Rule::of("", "services/finalizers", &["update"]),
        Rule::EVENTS,
    ],
    start,
};

struct EndpointSlices {
    client: Client,
    recorder: Recorder,
    services: Cache<Service>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    slices_of_service: Index<EndpointSlice>,
    triggers: TriggerTimes,
    written: Expectations<EndpointSlice>,
}

fn start(context: Context) {
    let services = context.caches.of::<Service>();
    let pods = context.caches.of::<Pod>();
    let nodes = context.caches.of::<Node>();
    let slices = context.caches.of::<EndpointSlice>();
    let reconciler = EndpointSlices {
        client: context.client,
        recorder: context.recorder,
        services: services.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
        slices_of_service: slices
            .index("managed-by-us", |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect()),
        triggers: TriggerTimes::default(),
        written: Expectations::new(&slices),
    };
    let pods_by_node = by_node(&pods);
    Controller::new(ENTRY.name, reconciler)
        .watch(&services)
        .watch_for(&pods, {
            let services = services.clone();
            move |change, keys| services_of(&services, change, keys)
        })
        .watch_for(&slices, |change, keys| {
            keys.extend(change.old.iter().chain(&change.new).filter_map(|slice| service_of(slice)));
        })
        .watch_for(&nodes, move |change, keys| services_on_node(&services, &pods_by_node, change, keys))
        .start(&context.supervisor);
}

/// The service of a slice of ours.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), labels.get(SERVICE_NAME)?))
}

/// Endpoints carry their node's zone, and those on a node that is unknown wait for it.
fn services_on_node(services: &Cache<Service>, pods: &Index<Pod>, change: &Change<Node>, keys: &mut Vec<ObjectKey>) {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && plan::zone(old) == plan::zone(new)
    {
        return;
    }
    for pod in pods.get(&change.key.name) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for service in services.list_namespace(namespace) {
            if service::selects(&service, pod.metadata.labels.as_ref()) {
                keys.push(ObjectKey::new(namespace, service.metadata.name.as_deref().unwrap_or_default()));
            }
        }
    }
}

impl Reconcile for EndpointSlices {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.written.settled(key).await;
        let Some(service) = self.services.get(key) else {
            // The slices go with their owner.
            self.triggers.forget(key);
            return Ok(Next::Await);
        };
        if service::selector(&service).is_none() {
            return Ok(Next::Await);
        }
        let pods = pods_of(&self.pods, &service);
        let existing = self.slices_of_service.get(&key.to_string());
        let trigger = self.triggers.observe(key, &service, &pods);
        let node = |name: &str| self.nodes.get(&ObjectKey::cluster(name));
        let plan = plan(&View { service: &service, pods: &pods, existing: &existing, node: &node, trigger });
        let outcome = self.carry_out(key, plan).await;
        if let Err(error) = &outcome {
            let message = format!("Error updating Endpoint Slices for Service {key}: {}", message_of(error));
            self.recorder.object(&*service, EventKind::Warning, "FailedToUpdateEndpointSlices", message);
        }
        outcome?;
        Ok(Next::Await)
    }
}

impl EndpointSlices {
    async fn carry_out(&self, key: &ObjectKey, plan: plan::Plan) -> Result<(), kube::Error> {
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        for slice in &plan.create {
            match api.create(&PostParams::default(), slice).await {
                Ok(created) => self.written.wrote(key, &created),
                Err(error) if is_namespace_terminating(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for slice in &plan.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let updated = api.replace(name, &PostParams::default(), slice).await?;
            self.written.wrote(key, &updated);
        }
        for slice in &plan.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let preconditions = Preconditions { uid: Some(uid_of(&**slice).to_owned()), resource_version: None };
            match api.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
                Ok(_) => self.written.deleted(key, slice),
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
