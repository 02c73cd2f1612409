//! One cluster, one node, real containers without a network.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use images::{Puller, PullerConfig, Store, pack};
use informer::{Cache, Caches, ObjectKey};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use kubelet::{Config, Kubelet, Parts};
use runtime::{LoopbackOnly, Runtime, RuntimeConfig};
use serde_json::{Value, json};
use supervisor::Supervisor;
use test_cluster::{ControlGroups, TestCluster};

const NODE: &str = "node-1";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub cluster: TestCluster,
    pub client: Client,
    pub kubelet: Kubelet,
    supervisor: Supervisor,
    directory: tempfile::TempDir,
    pods: Cache<Pod>,
    _caches: Caches,
    /// Last: what is in the groups goes first.
    _groups: ControlGroups,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let cluster = TestCluster::start().await.expect("a cluster");
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(directory.path().join("images")).expect("open store");
        let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/debian-packages");
        let archive =
            tokio::task::spawn_blocking(move || pack::pack(&pack::busybox(), &cache).expect("pack busybox").archive);
        store.import_stream(&*archive.await.expect("packed"), &[]).expect("import busybox");
        let client = cluster.client();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        accounts
            .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
            .await
            .expect("default account");
        let caches = Caches::new(client.clone(), cluster.supervisor());
        let pods = caches.of::<Pod>();
        let supervisor = Supervisor::new();
        let groups = ControlGroups::new(cgroup_root(directory.path()));
        let kubelet = start(&cluster, directory.path().to_owned(), &supervisor).await;
        Fixture { cluster, client, kubelet, supervisor, directory, pods, _caches: caches, _groups: groups }
    }

    /// Ends runtime and agent as a process that is replaced does, and starts others.
    pub(crate) async fn restart(&mut self) {
        self.supervisor.shutdown().await;
        self.supervisor = Supervisor::new();
        self.kubelet = start(&self.cluster, self.directory.path().to_owned(), &self.supervisor).await;
    }

    pub(crate) async fn create(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!(NODE);
        if spec.get("automountServiceAccountToken").is_none() {
            spec["automountServiceAccountToken"] = json!(false);
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        self.api().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.expect("pod is created");
    }

    pub(crate) fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.api().delete(name, &DeleteParams::default()).await.expect("pod is deleted");
    }

    pub(crate) async fn wait(&self, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        let key = ObjectKey::new("default", name);
        let waiting = self.pods.wait_until(|cache| cache.get(&key).is_some_and(|pod| holds(&pod)));
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let last = self.pods.get(&key).map(|pod| (*pod).clone());
            let text = serde_json::to_string_pretty(&last.and_then(|pod| pod.status)).unwrap();
            panic!("{name} did not become {what}: {text}\n{}", self.events(name).await.join("\n"));
        }
        self.pods.get(&key).map(|pod| (*pod).clone()).expect("pod")
    }

    pub(crate) async fn wait_gone(&self, name: &str) {
        let key = ObjectKey::new("default", name);
        let waiting = self.pods.wait_until(|cache| cache.get(&key).is_none());
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("{name} did not go: {}", self.events(name).await.join("\n"));
        }
    }

    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), "default");
        let list = api.list(&Default::default()).await.expect("events");
        let of = |event: &&k8s_openapi::api::core::v1::Event| event.involved_object.name.as_deref() == Some(name);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        list.items.iter().filter(of).map(|event| format!("{}: {}", text(&event.reason), text(&event.message))).collect()
    }

    pub(crate) async fn logs(&self, name: &str) -> String {
        let request =
            Request::get(format!("/containerLogs/default/{name}/c")).body(Empty::<bytes::Bytes>::new()).unwrap();
        let body = self.kubelet.handle(request).await.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    }

    /// Runs a pod of one container to its end and gives its log.
    pub(crate) async fn output(&self, name: &str, mut spec: Value) -> String {
        spec["restartPolicy"] = json!("Never");
        self.create(name, spec).await;
        let pod = self.wait(name, "done", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
        let text = self.logs(name).await;
        assert_eq!(phase(&pod), "Succeeded", "{text}");
        text
    }

    /// CPU time of this process and of the children it has waited for.
    pub(crate) fn cpu(&self) -> Duration {
        use nix::sys::resource::{UsageWho, getrusage};
        let of = |who| {
            let usage = getrusage(who).unwrap();
            let of = |time: nix::sys::time::TimeVal| {
                Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
            };
            of(usage.user_time()) + of(usage.system_time())
        };
        of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
    }

    /// Stops everything and looks at what is left.
    pub(crate) async fn finish(self) {
        let root = self.directory.path().to_owned();
        let left = || {
            let of = |path: &str| std::fs::read_dir(root.join(path)).map(|entries| entries.count()).unwrap_or(0);
            [of("kubelet/pods"), of("kubelet/memory"), of("kubelet/pod-logs")]
        };
        // A pod that had ended goes from the API at once, and from the node a little later.
        let cleaned = async {
            while left() != [0; 3] {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, cleaned).await.is_err() {
            panic!("files of pods are left: {:?}", left());
        }
        self.supervisor.shutdown().await;
        nix::mount::umount(&root.join("kubelet/memory")).ok();
        runtime::reset(&root.join("runtime")).expect("reset");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = root.to_string_lossy().into_owned();
        assert!(!mounts.contains(&ours), "{mounts}");
        self.cluster.stop().await;
    }
}

pub(crate) fn cgroup_root(directory: &std::path::Path) -> String {
    let name = directory.file_name().unwrap().to_string_lossy().replace('.', "");
    format!("/tiphys-test-{name}")
}

async fn start(cluster: &TestCluster, directory: PathBuf, supervisor: &Supervisor) -> Kubelet {
    let store = Store::open(directory.join("images")).expect("open store");
    let runtime = Runtime::open(RuntimeConfig {
        root: directory.join("runtime"),
        puller: Puller::new(store, PullerConfig::default()),
        network: Arc::new(LoopbackOnly),
        default_cgroup_parent: cgroup_root(&directory),
        helper: None,
        version: ("tiphys".to_owned(), "test".to_owned()),
        supervisor: supervisor.clone(),
    })
    .await
    .expect("open runtime");
    let runtime = Arc::new(runtime);
    let mut config = Config::new(NODE, directory.join("kubelet"));
    config.node_ips = vec!["192.0.2.10".parse().unwrap()];
    config.cluster_dns = vec!["10.43.0.10".parse().unwrap()];
    config.cgroup_root = cgroup_root(&directory);
    let parts = Parts {
        config,
        client: cluster.client_as("system:node:node-1", &["system:nodes"]),
        runtime: runtime.clone(),
        images: runtime,
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
