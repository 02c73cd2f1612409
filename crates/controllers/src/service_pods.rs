//! What both endpoint controllers ask about pods and services. Upstream: `endpointslice/util/controller_utils.go`
//! and `trigger_time_tracker.go`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api::{
    core::v1::{Pod, Service},
    pod, service,
};
use apimachinery::ObjectKey;
use informer::{Cache, Change, Index};
use jiff::Timestamp;
use parking_lot::Mutex;

/// When the change happened that an endpoint object reflects; kube-proxy measures by it.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Pods with an address that have not ended; of those being deleted, none or all.
pub(crate) fn has_endpoint(pod: &Pod, include_terminating: IncludeTerminating) -> bool {
    if pod::is_terminal(pod) || addresses(pod).next().is_none() {
        return false;
    }
    include_terminating == IncludeTerminating::Yes || !pod::is_terminating(pod)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncludeTerminating {
    Yes,
    No,
}

/// The pod's addresses of all families.
pub(crate) fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let all =
        status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|address| address.ip.as_str());
    let only = status.and_then(|status| status.pod_ip.as_deref());
    let only = only.filter(|_| status.is_some_and(|status| status.pod_ips.as_ref().is_none_or(Vec::is_empty)));
    all.chain(only).filter(|address| !address.is_empty())
}

/// The name under which DNS knows the pod in the service's subdomain.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_ref().filter(|hostname| !hostname.is_empty())?;
    (spec.subdomain.is_some()
        && spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace)
        .then(|| hostname.clone())
}

/// The services whose endpoints a change of a pod may change.
pub(crate) fn services_of(services: &Cache<Service>, change: &Change<Pod>, keys: &mut Vec<ObjectKey>) {
    let (old, new) = (change.old.as_deref(), change.new.as_deref());
    if let (Some(old), Some(new)) = (old, new)
        && !matters(old, new)
    {
        return;
    }
    for service in services.list_namespace(&change.key.namespace) {
        let selected =
            [old, new].into_iter().flatten().any(|pod| service::selects(&service, pod.metadata.labels.as_ref()));
        if selected {
            let name = service.metadata.name.as_deref().unwrap_or_default();
            keys.push(ObjectKey::new(&change.key.namespace, name));
        }
    }
}

/// Whether anything an endpoint is made of has changed. Upstream: `podEndpointsChanged`.
fn matters(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        (
            addresses(pod).map(str::to_owned).collect::<Vec<_>>(),
            pod::is_ready(pod),
            pod::is_terminal(pod),
            pod::is_terminating(pod),
            pod::node_name(pod).map(str::to_owned),
            spec.and_then(|spec| spec.hostname.clone()),
            spec.and_then(|spec| spec.subdomain.clone()),
            pod.metadata.uid.clone(),
        )
    };
    old.metadata.labels != new.metadata.labels || facts(old) != facts(new)
}

/// The pods of a service, by name.
pub(crate) fn pods_of(pods: &Cache<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut selected = pods.list_namespace(namespace);
    selected.retain(|pod| service::selects(service, pod.metadata.labels.as_ref()));
    selected
}

/// Pods by the node they are bound to.
pub(crate) fn by_node(pods: &Cache<Pod>) -> Index<Pod> {
    pods.index("node", |pod| pod::node_name(pod).map(str::to_owned).into_iter().collect())
}

/// Remembers what was reflected last, to find the moment of what changed since. Bound: the services there are.
#[derive(Debug, Default)]
pub(crate) struct TriggerTimes {
    known: Mutex<HashMap<ObjectKey, Known>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    service: Option<Timestamp>,
    pods: BTreeMap<String, Timestamp>,
}

impl TriggerTimes {
    /// The earliest of the changes since the last call; for a new service, the moment of its creation.
    pub(crate) fn observe(&self, key: &ObjectKey, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let mut known = self.known.lock();
        let before = known.get(key).cloned();
        let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let mut earliest: Option<Timestamp> = None;
        let mut changed = |time: Timestamp| earliest = Some(earliest.map_or(time, |earliest| earliest.min(time)));
        let mut times = BTreeMap::new();
        for pod in pods {
            let condition = pod::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
            let (Some(time), Some(name)) = (condition.map(|time| time.0), pod.metadata.name.clone()) else { continue };
            if before.as_ref().and_then(|before| before.pods.get(&name)).is_none_or(|known| time > *known) {
                changed(time);
            }
            times.insert(name, time);
        }
        if created > before.as_ref().and_then(|before| before.service) {
            created.into_iter().for_each(&mut changed);
        }
        known.insert(key.clone(), Known { service: created, pods: times });
        if before.is_some() { earliest } else { created }
    }

    /// The service is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.known.lock().remove(key);
    }
}

/// Sets or removes the annotation that tells of the change.
pub(crate) fn annotate(annotations: &mut Option<BTreeMap<String, String>>, trigger: Option<Timestamp>) {
    match trigger {
        Some(time) => {
            // Upstream writes RFC 3339 with nanoseconds where there are any; creation and readiness have none.
            annotations.get_or_insert_default().insert(TRIGGER_TIME.to_owned(), time.to_string());
        }
        None => {
            if let Some(annotations) = annotations {
                annotations.remove(TRIGGER_TIME);
            }
        }
    }
    if annotations.as_ref().is_some_and(BTreeMap::is_empty) {
        *annotations = None;
    }
}
