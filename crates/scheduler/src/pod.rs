//! A pod as the scheduler sees it: what it asks for, computed once.

use std::sync::Arc;

use api::{
    core::v1::{NodeAffinity, Pod, Toleration},
    requests,
};
use apimachinery::ObjectKey;

/// What a container without requests counts as when nodes are compared, so that many of them do not all land on one
/// node. Upstream: `DefaultMilliCPURequest` and `DefaultMemoryRequest`.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of the resources every node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Basic {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
}

/// A port of the host that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    pub(crate) protocol: String,
    /// `0.0.0.0` for all addresses.
    pub(crate) ip: String,
    pub(crate) port: i32,
}

/// What a pod asks for.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: ObjectKey,
    pub(crate) priority: i32,
    pub(crate) requests: Basic,
    /// As `requests`, with the defaults for containers that ask for nothing.
    pub(crate) scoring: Basic,
    /// Other resources: name and amount.
    pub(crate) extended: Vec<(String, i64)>,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) images: Vec<String>,
}

impl PodInfo {
    /// Computes it.
    pub fn new(pod: Arc<Pod>) -> Self {
        let amounts = requests::pod_requests(&pod);
        let mut info = Self {
            key: ObjectKey::new(
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                pod.metadata.name.as_deref().unwrap_or_default(),
            ),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
            requests: Basic::default(),
            scoring: Basic::default(),
            extended: Vec::new(),
            ports: Vec::new(),
            images: Vec::new(),
            pod,
        };
        for (name, quantity) in &amounts {
            match name.as_str() {
                "cpu" => info.requests.milli_cpu = quantity.milli_value(),
                "memory" => info.requests.memory = quantity.value(),
                "ephemeral-storage" => info.requests.ephemeral_storage = quantity.value(),
                // Asking for none of something must not keep a pod off nodes that do not have it.
                _ if quantity.is_zero() => {}
                _ => info.extended.push((name.clone(), quantity.value())),
            }
        }
        info.scoring = info.requests;
        if let Some(spec) = info.pod.spec.clone() {
            for container in &spec.containers {
                let own = requests::of_container(container, requests::Side::Requests);
                info.scoring.milli_cpu += if own.contains_key("cpu") { 0 } else { DEFAULT_MILLI_CPU };
                info.scoring.memory += if own.contains_key("memory") { 0 } else { DEFAULT_MEMORY };
                info.images.extend(container.image.as_deref().map(normalized_image));
                for port in container.ports.iter().flatten() {
                    let number = port.host_port.unwrap_or(0);
                    if number > 0 {
                        info.ports.push(HostPort {
                            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                            ip: port
                                .host_ip
                                .clone()
                                .filter(|ip| !ip.is_empty())
                                .unwrap_or_else(|| "0.0.0.0".to_owned()),
                            port: number,
                        });
                    }
                }
            }
        }
        info
    }

    pub(crate) fn tolerations(&self) -> &[Toleration] {
        self.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    pub(crate) fn node_affinity(&self) -> Option<&NodeAffinity> {
        self.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
    }

    pub(crate) fn gates(&self) -> impl Iterator<Item = &str> {
        self.pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten()).map(|gate| gate.name.as_str())
    }

    pub(crate) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// Image names without a tag mean `latest`. Upstream: `normalizedImageName` of ImageLocality.
pub(crate) fn normalized_image(name: &str) -> String {
    let after_host = name.rfind('/').map_or(0, |at| at + 1);
    if name[after_host..].contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}
