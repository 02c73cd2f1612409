//! A control plane with controllers, and nodes that exist only as API clients: they run nothing, and report what a
//! kubelet would.

use std::{fmt::Debug, sync::Arc, time::Duration};

use api::core::v1::{Node, Pod};
use controllers::{ClientFactory, Options};
use informer::{Cache, Caches, Object, ObjectKey};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use test_cluster::TestCluster;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Harness {
    pub(crate) cluster: TestCluster,
    pub(crate) caches: Caches,
    pub(crate) client: Client,
}

impl Harness {
    /// All controllers, and a node `node` that runs what is created.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options { root_ca: "PEM".to_owned(), ..Options::default() }).await
    }

    pub(crate) async fn start_with(options: Options) -> anyhow::Result<Self> {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init()
            .is_ok();
        let cluster = TestCluster::start().await?;
        let client = cluster.client();
        let caches = Caches::new(client.clone(), cluster.supervisor());
        let server = cluster.server().clone();
        let clients: ClientFactory = Arc::new(move |name| {
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
            server.client(registry::UserInfo::new(format!("system:serviceaccount:kube-system:{name}"), groups))
        });
        controllers::run(&clients, &caches, cluster.supervisor(), options);
        Ok(Self { cluster, caches, client })
    }

    /// Adds a ready node whose kubelet binds and runs every pod that waits, and lets go those being deleted.
    pub(crate) async fn add_node(&self, name: &'static str) -> anyhow::Result<()> {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.create(&PostParams::default(), &node).await?;
        let status = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
        let mut changes = self.caches.of::<Pod>().subscribe();
        let client = self.client.clone();
        self.cluster.supervisor().spawn("kubelet-of-clay", async move {
            let mut number = 0u32;
            while let Some(change) = changes.next().await {
                let Some(pod) = change.new else { continue };
                number += 1;
                if let Err(error) = run(&client, name, &pod, number).await {
                    tracing::debug!(%error, pod = %change.key, "pod not run");
                }
            }
        });
        Ok(())
    }

    pub(crate) async fn create<K>(&self, namespace: &str, value: Value) -> anyhow::Result<K>
    where
        K: Object + Debug + serde::Serialize + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        Ok(api.create(&PostParams::default(), &serde_json::from_value(value)?).await?)
    }

    pub(crate) async fn create_cluster<K>(&self, value: Value) -> anyhow::Result<K>
    where
        K: Object + Debug + serde::Serialize + kube::Resource<Scope = ClusterResourceScope, DynamicType = ()>,
    {
        let api = Api::<K>::all(self.client.clone());
        Ok(api.create(&PostParams::default(), &serde_json::from_value(value)?).await?)
    }

    pub(crate) async fn patch<K>(&self, namespace: &str, name: &str, patch: Value) -> anyhow::Result<K>
    where
        K: Object + Debug + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    pub(crate) async fn delete<K>(&self, namespace: &str, name: &str, params: DeleteParams) -> anyhow::Result<()>
    where
        K: Object + Debug + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::<K>::namespaced(self.client.clone(), namespace).delete(name, &params).await?;
        Ok(())
    }

    pub(crate) fn cache<K>(&self) -> Cache<K>
    where
        K: Object + k8s_openapi::Resource + kube::Resource<DynamicType = ()>,
    {
        self.caches.of::<K>()
    }

    /// Waits for a fact about one object; fails with its last state.
    pub(crate) async fn wait<K>(
        &self,
        namespace: &str,
        name: &str,
        holds: impl Fn(Option<&K>) -> bool,
    ) -> Option<Arc<K>>
    where
        K: Object + Debug + k8s_openapi::Resource + kube::Resource<DynamicType = ()>,
    {
        let key = ObjectKey::new(namespace, name);
        let cache = self.cache::<K>();
        cache.synced().await;
        let fact = cache.wait_until(|cache| holds(cache.get(&key).as_deref()));
        if tokio::time::timeout(PATIENCE, fact).await.is_err() {
            panic!("{} {key} is {:#?}", K::KIND, cache.get(&key));
        }
        cache.get(&key)
    }

    /// Waits for a fact about all objects of a namespace; fails with the last state.
    pub(crate) async fn wait_all<K>(&self, namespace: &str, holds: impl Fn(&[Arc<K>]) -> bool) -> Vec<Arc<K>>
    where
        K: Object + Debug + k8s_openapi::Resource + kube::Resource<DynamicType = ()>,
    {
        let cache = self.cache::<K>();
        cache.synced().await;
        let fact = cache.wait_until(|cache| holds(&cache.list_namespace(namespace)));
        if tokio::time::timeout(PATIENCE, fact).await.is_err() {
            panic!("{}s in {namespace} are {:#?}", K::KIND, cache.list_namespace(namespace));
        }
        cache.list_namespace(namespace)
    }
}

/// What a kubelet does with a pod, all at once.
async fn run(client: &Client, node: &str, pod: &Pod, number: u32) -> Result<(), kube::Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    match api::pod::node_name(pod) {
        None if api::pod::is_terminating(pod) => {}
        None => {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"kind": "Node", "name": node}});
            let _: Value = api.create_subresource("binding", name, &PostParams::default(), &binding).await?;
        }
        Some(bound) if bound != node => {}
        Some(_) if api::pod::is_terminating(pod) => {
            let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            api.delete(name, &params).await?;
        }
        Some(_) if api::pod::phase(pod) == "Pending" => {
            let short = pod.metadata.labels.iter().flatten().any(|(key, _)| key == "short");
            let phase = if short { "Succeeded" } else { "Running" };
            let now = api::Time(jiff::Timestamp::now());
            let address = format!("10.42.{}.{}", number / 250, number % 250 + 1);
            let status = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": phase,
                "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": if short { "False" } else { "True" }, "lastTransitionTime": now}]}});
            api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
        }
        Some(_) => {}
    }
    Ok(())
}
