//! Registers the node and keeps its status: written when it changed, or after five minutes as a sign of life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::Quantity;
use informer::{Backoff, EventKind};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, ObjectReference,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::INTERVAL;
use super::conditions::{self, Measured};
use super::facts::{MachineFacts, architecture, memory_available};
use crate::config::Config;
use crate::shared::Shared;

/// Never ends.
pub(crate) async fn keep_status(shared: Arc<Shared>, facts: MachineFacts) {
    let mut keeper = Keeper { shared, facts, conditions: Vec::new(), told: Vec::new(), written: None };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
    loop {
        match keeper.register().await {
            Ok(()) => break,
            Err(error) => {
                let delay = backoff.next_delay();
                tracing::warn!(%error, ?delay, "node not registered");
                tokio::time::sleep(delay).await;
            }
        }
    }
    keeper.event("Starting", "Starting kubelet.");
    keeper.event("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
    keeper.tell_changes();
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = keeper.update().await {
            tracing::warn!(%error, "node status not written");
        }
        keeper.tell_changes();
    }
}

struct Keeper {
    shared: Arc<Shared>,
    facts: MachineFacts,
    conditions: Vec<NodeCondition>,
    /// Type and status of the conditions that events have told of.
    told: Vec<(String, String)>,
    /// What was written last, without times, and when.
    written: Option<(Value, Timestamp)>,
}

impl Keeper {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.shared.client.clone())
    }

    fn event(&self, reason: &str, message: &str) {
        let name = &self.shared.config.node_name;
        // Upstream names the node as its own UID.
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.clone()),
            uid: Some(name.clone()),
            ..ObjectReference::default()
        };
        self.shared.recorder.event(&about, EventKind::Normal, reason, message);
    }

    /// An event for every condition that is not what it was. Upstream: `recordNodeStatusEvent` of the setters.
    fn tell_changes(&mut self) {
        let now: Vec<(String, String)> =
            self.conditions.iter().map(|condition| (condition.type_.clone(), condition.status.clone())).collect();
        for condition in now.iter().filter(|condition| !self.told.contains(condition)) {
            let reason = conditions::event_reason(&condition.0, condition.1 == "True");
            self.event(reason, &format!("Node {} status is now: {reason}", self.shared.config.node_name));
        }
        self.told = now;
    }

    async fn register(&mut self) -> Result<(), kube::Error> {
        let name = self.shared.config.node_name.clone();
        let now = Timestamp::now();
        let status = self.status(now).await;
        let labels = labels(&self.shared.config);
        let node = Node {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels.clone()),
                annotations: Some(BTreeMap::from([(
                    "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                    "true".to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: Some(self.shared.config.taints.clone()).filter(|taints| !taints.is_empty()),
                ..NodeSpec::default()
            }),
            status: Some(status.clone()),
        };
        match self.nodes().create(&PostParams::default(), &node).await {
            Ok(created) if created.status.as_ref().is_some_and(|status| status.conditions.is_some()) => {
                self.written = Some((comparable(&status), now));
                Ok(())
            }
            // A server that takes a status only through its own subresource.
            Ok(_) => self.update().await,
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let existing = self.nodes().get(&name).await?;
                self.conditions = existing.status.and_then(|status| status.conditions).unwrap_or_default();
                let old = existing.metadata.labels.unwrap_or_default();
                if labels.iter().any(|(key, value)| old.get(key) != Some(value)) {
                    let patch = json!({"metadata": {"labels": labels}});
                    self.nodes().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
                }
                self.update().await
            }
            Err(error) => Err(error),
        }
    }

    async fn update(&mut self) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let status = self.status(now).await;
        let wanted = comparable(&status);
        let report = self.shared.config.status_report_frequency;
        let due = |written: &Timestamp| Duration::try_from(now.duration_since(*written)).unwrap_or_default() >= report;
        if self.written.as_ref().is_some_and(|(written, at)| *written == wanted && !due(at)) {
            return Ok(());
        }
        let mut patch = apimachinery::json::to_value(&status).map_err(kube::Error::SerdeError)?;
        if let Some(Value::Array(addresses)) = patch.get_mut("addresses") {
            // Merged by type otherwise, and there can be several of one type.
            addresses.insert(0, json!({"$patch": "replace"}));
        }
        let name = &self.shared.config.node_name;
        let patch = json!({"status": patch});
        match self.nodes().patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await {
            Ok(_) => {
                self.written = Some((wanted, now));
                Ok(())
            }
            // Somebody deleted it; a node that lives is registered.
            Err(kube::Error::Api(answer)) if answer.code == 404 => Box::pin(self.register()).await,
            Err(error) => Err(error),
        }
    }

    async fn status(&mut self, now: Timestamp) -> NodeStatus {
        let config = &self.shared.config;
        let stat = nix::sys::statvfs::statvfs(&config.root_dir).ok();
        let measured = Measured {
            memory_available: memory_available(),
            disk: stat.map(|stat| {
                let unit = stat.fragment_size();
                (stat.blocks_available() * unit, stat.blocks() * unit)
            }),
            inodes: stat.map(|stat| (stat.files_available(), stat.files())),
            runtime_error: self.shared.runtime.status().await.err().map(|error| error.to_string()),
        };
        self.conditions = conditions::conditions(&measured, &self.conditions, now);
        let mut addresses: Vec<_> = config
            .node_ips
            .iter()
            .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() })
            .collect();
        addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: config.hostname.clone() });
        let quantities = |map: &BTreeMap<String, Quantity>| {
            Some(map.iter().map(|(name, quantity)| (name.clone(), ApiQuantity(quantity.to_string()))).collect())
        };
        NodeStatus {
            addresses: Some(addresses),
            capacity: quantities(&self.facts.capacity),
            allocatable: quantities(&self.facts.allocatable),
            conditions: Some(self.conditions.clone()),
            daemon_endpoints: Some(k8s_openapi::api::core::v1::NodeDaemonEndpoints {
                kubelet_endpoint: Some(k8s_openapi::api::core::v1::DaemonEndpoint { port: i32::from(config.port) }),
            }),
            node_info: Some(self.facts.info.clone()),
            images: Some(self.images().await),
            ..NodeStatus::default()
        }
    }

    async fn images(&self) -> Vec<ContainerImage> {
        let mut images = self.shared.images.list_images().await.unwrap_or_default();
        images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
        images.truncate(self.shared.config.max_images_in_status);
        images
            .into_iter()
            .map(|image| {
                let mut names = image.repo_digests;
                names.extend(image.repo_tags);
                names.truncate(5);
                ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
            })
            .collect()
    }
}

fn labels(config: &Config) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", config.hostname.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// A status without heartbeats, which alone are no reason to write.
fn comparable(status: &NodeStatus) -> Value {
    let mut value = apimachinery::json::to_value(status).unwrap_or_default();
    for condition in value.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("lastHeartbeatTime");
        }
    }
    value
}
