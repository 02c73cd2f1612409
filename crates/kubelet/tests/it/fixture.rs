//! One cluster with one node.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use kubelet::{Config, Kubelet, Parts};
use serde_json::{Value, json};
use supervisor::Supervisor;
use test_cluster::{ControlGroups, TestCluster};

use crate::fake::Fake;

pub(crate) const NODE: &str = "node-1";

pub(crate) struct Fixture {
    pub cluster: TestCluster,
    pub runtime: Fake,
    pub kubelet: Kubelet,
    pub supervisor: Supervisor,
    pub client: Client,
    /// Last: what is in the groups goes first.
    groups: ControlGroups,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let cluster = TestCluster::start().await.expect("a cluster");
        let runtime = Fake::new();
        let client = cluster.client();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), "default");
        accounts
            .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
            .await
            .expect("default account");
        let supervisor = Supervisor::new();
        let groups = ControlGroups::new(format!("/tiphys-test-{}", std::process::id()));
        let kubelet = start_kubelet(&cluster, &runtime, &supervisor, &groups).await;
        Fixture { cluster, runtime, kubelet, supervisor, client, groups }
    }

    /// Ends the agent and starts another over the same runtime and directory.
    pub(crate) async fn restart(&mut self) {
        self.supervisor.shutdown().await;
        self.supervisor = Supervisor::new();
        self.kubelet = start_kubelet(&self.cluster, &self.runtime, &self.supervisor, &self.groups).await;
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create(&self, name: &str, mut spec: Value) -> Pod {
        spec["nodeName"] = json!(NODE);
        spec["automountServiceAccountToken"] = json!(false);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.expect("pod is created")
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.expect("pod is deleted");
    }

    /// Waits until the pod is as it should be.
    pub(crate) async fn wait(&self, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        let last = std::cell::RefCell::new(None);
        let waiting = async {
            let caches = informer::Caches::new(self.client.clone(), self.cluster.supervisor());
            let cache = caches.of::<Pod>();
            let key = informer::ObjectKey::new("default", name);
            cache
                .wait_until(|cache| {
                    let pod = cache.get(&key);
                    let done = pod.as_ref().is_some_and(|pod| holds(pod));
                    *last.borrow_mut() = pod;
                    done
                })
                .await;
        };
        if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
            panic!(
                "{name} did not become {what}; last seen: {}",
                serde_json::to_string_pretty(&last.into_inner().map(|pod: std::sync::Arc<Pod>| (*pod).clone()))
                    .unwrap()
            );
        }
        self.pods().get(name).await.expect("pod")
    }

    pub(crate) async fn wait_gone(&self, name: &str) {
        let waiting = async {
            let caches = informer::Caches::new(self.client.clone(), self.cluster.supervisor());
            let cache = caches.of::<Pod>();
            cache.synced().await;
            let key = informer::ObjectKey::new("default", name);
            cache.wait_until(|cache| cache.get(&key).is_none()).await;
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("pod is gone");
    }

    /// Waits for an event with these words.
    pub(crate) async fn event(&self, name: &str, reason: &str, message: &str) {
        let waiting = async {
            let caches = informer::Caches::new(self.client.clone(), self.cluster.supervisor());
            let cache = caches.of::<Event>();
            let matches = |event: &Event| {
                event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
                    && event.message.as_deref() == Some(message)
            };
            cache.wait_until(|cache| cache.list().iter().any(|event| matches(event))).await;
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok();
        assert!(seen, "no event {reason}: {message} about {name}");
    }

    /// Events about a pod, as `reason: message`, in order of their names' times.
    pub(crate) async fn events(&self, name: &str, reason: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let waiting = async {
            let caches = informer::Caches::new(self.client.clone(), self.cluster.supervisor());
            let cache = caches.of::<Event>();
            let matches = |event: &Event| {
                event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
            };
            cache.wait_until(|cache| cache.list().iter().any(|event| matches(event))).await;
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok();
        let list = api.list(&ListParams::default()).await.expect("events");
        assert!(
            seen,
            "no event {reason} about {name}: {:?}",
            list.items.iter().map(|event| (&event.reason, &event.message)).collect::<Vec<_>>()
        );
        let of = |event: &&Event| event.involved_object.name.as_deref() == Some(name);
        list.items
            .iter()
            .filter(of)
            .map(|event| {
                format!("{}: {}", event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default())
            })
            .collect()
    }
}

async fn start_kubelet(
    cluster: &TestCluster,
    runtime: &Fake,
    supervisor: &Supervisor,
    groups: &ControlGroups,
) -> Kubelet {
    let mut config = Config::new(NODE, cluster.directory().join("node"));
    config.node_ips = vec!["192.0.2.10".parse().unwrap()];
    config.cluster_dns = vec!["10.43.0.10".parse().unwrap()];
    config.cgroup_root = groups.root().to_owned();
    let parts = Parts {
        config,
        client: cluster.client_as("system:node:node-1", &["system:nodes"]),
        runtime: Arc::new(runtime.clone()),
        images: Arc::new(runtime.clone()),
        supervisor: supervisor.clone(),
        services: None,
    };
    Kubelet::start(parts).await.expect("the agent starts")
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
