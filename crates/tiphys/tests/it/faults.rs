//! A cluster with its node: what is killed heals, and whoever kills the server does not stop the Service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, ContainerStatus, Event, Pod, Service},
    discovery::v1::EndpointSlice,
};
use futures::StreamExt as _;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, create, free_port, wait, wait_for},
    machine::{ended, left_of_pods, monitor_of_pod, processes_of_pod, signal, suffix},
    traffic::Traffic,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_heals_and_its_services_go_on() {
    let mut cluster = Cluster::with_images(&["nginx", "busybox"]);
    cluster.start();
    let client = cluster.client().await;
    // Its waits are the longest: it goes on beside all others.
    let crashing = create::<Pod>(&client, sleeper("crash", "exit 3")).await;
    web(&client).await;
    pods_heal(&client).await;
    probes_decide(&client).await;
    traffic_goes_on(&mut cluster).await;
    ends_are_noticed_later(&mut cluster).await;
    crash_loops_back_off(&cluster.client().await, &crashing).await;
    drop(client);
    kills_amid_pods_leave_nothing(&mut cluster).await;
    cluster.reset();
}

fn sleeper(name: &str, script: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", script]}],
        },
    })
}

/// Two nginx and a Service for them.
async fn web(client: &Client) {
    create::<Deployment>(
        client,
        json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{
                        "name": "nginx",
                        "image": "nginx:latest",
                        "ports": [{"containerPort": 80}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1, "failureThreshold": 1},
                        // Long enough for every node to have heard that the endpoint goes.
                        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                    }]},
                },
            },
        }),
    )
    .await;
    create::<Service>(
        client,
        json!({
            "metadata": {"name": "web"},
            "spec": {
                "type": "LoadBalancer",
                "selector": {"app": "web"},
                "ports": [{"port": free_port(), "targetPort": 80}],
            },
        }),
    )
    .await;
    available(client).await;
}

async fn available(client: &Client) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    wait_for(&deployments, "web", "all available and none too many", |web| {
        let status = web.status.clone()?;
        let replicas = web.spec.as_ref()?.replicas;
        let all = [status.available_replicas, status.updated_replicas, status.replicas];
        (all.iter().all(|count| *count == replicas) && status.observed_generation == web.metadata.generation)
            .then_some(())
    })
    .await;
}

fn only_container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn is_ready(pod: &Pod) -> bool {
    only_container(pod).is_some_and(|container| container.ready)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn web_pods() -> ListParams {
    ListParams::default().labels("app=web")
}

async fn messages(client: &Client, pod: &str, reason: &str) -> Vec<String> {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let about = ListParams::default().fields(&format!("involvedObject.name={pod},reason={reason}"));
    // Events are written behind what they tell of.
    wait(&events, &format!("an event {reason}"), &about, |events| {
        (!events.is_empty()).then(|| events.iter().filter_map(|event| event.message.clone()).collect())
    })
    .await
}

// === what is killed ===

async fn pods_heal(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let [first, second] = &pods.list(&web_pods()).await.expect("list").items[..] else { panic!("two pods") };

    // A deleted pod is replaced.
    pods.delete(name(first), &DeleteParams::default()).await.expect("delete");
    let replaced = |pods: &[Pod]| {
        (pods.len() == 2 && pods.iter().all(|pod| is_ready(pod) && uid(pod) != uid(first))).then_some(())
    };
    wait(&pods, "a new pod in the place of the deleted", &web_pods(), replaced).await;

    // A killed process is one restart.
    for pid in processes_of_pod(uid(second)) {
        // The first one takes the others along.
        signal(pid, Signal::SIGKILL);
    }
    let restarted = |count: i32| {
        move |pod: &Pod| (only_container(pod)?.restart_count == count && is_ready(pod)).then(|| pod.clone())
    };
    let pod = wait_for(&pods, name(second), "one restart", restarted(1)).await;
    let last =
        only_container(&pod).and_then(|container| container.last_state.clone()?.terminated).expect("a last state");
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("Error")));

    // With its monitor a pod loses everything: it gets a new sandbox.
    let before = pod.status.as_ref().and_then(|status| status.start_time.clone());
    signal(monitor_of_pod(uid(second)), Signal::SIGKILL);
    let pod = wait_for(&pods, name(second), "a restart in a new sandbox", restarted(2)).await;
    assert_eq!(pod.status.as_ref().and_then(|status| status.start_time.clone()), before);
    let changed = messages(client, name(second), "SandboxChanged").await;
    assert_eq!(changed, ["Pod sandbox changed, it will be killed and re-created."]);
    let last =
        only_container(&pod).and_then(|container| container.last_state.clone()?.terminated).expect("a last state");
    assert_eq!(last.exit_code, 137, "{last:?}");
    assert!(last.started_at.is_some());
    available(client).await;
}

async fn crash_loops_back_off(client: &Client, pod: &Pod) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let (container, pod) = wait_for(&pods, name(pod), "back-off of 20 s", |pod| {
        let container = only_container(pod)?;
        (container.restart_count >= 2 && container.state.as_ref()?.waiting.is_some())
            .then(|| (container.clone(), pod.clone()))
    })
    .await;
    let waiting = container.state.and_then(|state| state.waiting).expect("it waits");
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let message = waiting.message.unwrap_or_default();
    let which = format!("restarting failed container=c pod=crash_default({})", uid(&pod));
    assert!(message.starts_with("back-off ") && message.ends_with(&which), "{message}");
    let last = container.last_state.and_then(|state| state.terminated).expect("a last state");
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    let status = pod.status.as_ref().expect("a status");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let condition = |kind: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .map(|c| (c.status.as_str(), c.reason.as_deref()))
    };
    assert_eq!(condition("Ready"), Some(("False", Some("ContainersNotReady"))));
    assert_eq!(condition("Initialized"), Some(("True", None)));
    let back_off = messages(client, "crash", "BackOff").await;
    let expected = format!("Back-off restarting failed container c in pod crash_default({})", uid(&pod));
    assert!(back_off.iter().all(|message| *message == expected), "{back_off:?}");
}

// === probes ===

async fn probes_decide(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut live = sleeper("live", "touch /tmp/ok; sleep 1; rm /tmp/ok; sleep 100000");
    live["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["cat", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1});
    create::<Pod>(client, live).await;

    // A stopped process answers no probe: its endpoint goes, and comes back with it.
    let found = pods.list(&web_pods()).await.expect("list");
    let pod = found.items.first().expect("a pod");
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).expect("an address");
    let processes = processes_of_pod(uid(pod));
    let send = |what: Signal| processes.iter().for_each(|pid| signal(*pid, what));
    for (what, wanted) in [(Signal::SIGSTOP, false), (Signal::SIGCONT, true)] {
        send(what);
        let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
        let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
        wait(&slices, "the endpoint follows the probe", &of_web, |slices| {
            let mut endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
            let endpoint = endpoints.find(|endpoint| endpoint.addresses.contains(&address))?;
            (endpoint.conditions.as_ref()?.ready == Some(wanted)).then_some(())
        })
        .await;
    }
    let restarts = |pod: &Pod| only_container(pod).map(|container| container.restart_count);
    assert_eq!(restarts(&pods.get(name(pod)).await.expect("get")), restarts(pod), "readiness restarts nothing");

    wait_for(&pods, "live", "a restart by the liveness probe", |pod| (restarts(pod)? >= 1).then_some(())).await;
    let killing = messages(client, "live", "Killing").await;
    assert!(killing.iter().all(|text| text == "Container c failed liveness probe, will be restarted"), "{killing:?}");
    let unhealthy = messages(client, "live", "Unhealthy").await;
    assert!(unhealthy.iter().all(|text| text.starts_with("Liveness probe failed: cat: ")), "{unhealthy:?}");
    pods.delete("live", &DeleteParams::default().grace_period(0)).await.expect("delete");
}

// === traffic ===

/// Restart counts and processes of the Service's pods.
async fn life_of_web(client: &Client) -> BTreeMap<String, (i32, BTreeSet<u32>)> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let found = pods.list(&web_pods()).await.expect("list").items;
    let life = |pod: &Pod| {
        let restarts = only_container(pod).map_or(-1, |container| container.restart_count);
        (uid(pod).to_owned(), (restarts, processes_of_pod(uid(pod))))
    };
    found.iter().map(life).collect()
}

async fn traffic_goes_on(cluster: &mut Cluster) {
    let client = cluster.client().await;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let (cluster_ip, port) = wait_for(&services, "web", "an address of its load balancer", |service| {
        let spec = service.spec.as_ref()?;
        service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
        Some((spec.cluster_ip.clone()?, spec.ports.clone()?.first()?.clone()))
    })
    .await;
    let node_port = u16::try_from(port.node_port.expect("a node port")).expect("a port");
    let service_port = u16::try_from(port.port).expect("a port");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let script = format!(
        "while :; do wget -q -O /dev/null http://{cluster_ip}:{service_port}/ && echo ok || echo failed; sleep 0.02; done"
    );
    create::<Pod>(&client, sleeper("client", &script)).await;
    wait_for(&pods, "client", "running", |pod| is_ready(pod).then_some(())).await;
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let by_cluster_ip = SocketAddr::new(cluster_ip.parse().expect("an address"), service_port);
    let traffic = Traffic::start(&[local(node_port), local(service_port), by_cluster_ip]);
    traffic.flow(100);

    let before = life_of_web(&client).await;
    killed_and_started_again(cluster, &traffic).await;
    assert!(cluster.terminate().success(), "SIGTERM is no failure");
    traffic.flow(200);
    cluster.start();
    traffic.flow(100);
    let client = cluster.client().await;
    assert_eq!(life_of_web(&client).await, before, "containers went on as they were");

    roll_out(&client, "1").await;
    available(&client).await;
    // A rollout that is half done goes on where it was.
    roll_out(&client, "2").await;
    let new = ListParams::default().labels("app=web");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    wait(&pods, "a first pod of the new template", &new, |pods| {
        pods.iter().any(|pod| release(pod) == Some("2")).then_some(())
    })
    .await;
    cluster.kill();
    traffic.flow(100);
    cluster.start();
    let client = cluster.client().await;
    available(&client).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let gone = |pods: &[Pod]| (pods.len() == 2 && pods.iter().all(|pod| release(pod) == Some("2"))).then_some(());
    wait(&pods, "only pods of the new template", &new, gone).await;

    let log = pods.logs("client", &LogParams::default()).await.expect("logs");
    let (answered, failures) = traffic.stop();
    assert_eq!(failures, [""; 0], "of {answered} requests");
    let of_pod = log.lines().filter(|line| *line == "ok").count();
    assert_eq!(
        log.lines().filter(|line| *line != "ok").collect::<Vec<_>>(),
        [""; 0],
        "of {of_pod} requests from a pod"
    );
    println!("{answered} requests from the node and {of_pod} from a pod, none failed");
    pods.delete("client", &DeleteParams::default().grace_period(0)).await.expect("delete");
}

fn release(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.containers.first()?.env.as_ref()?.first()?.value.as_deref()
}

async fn roll_out(client: &Client, release: &str) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let containers = json!([{"name": "nginx", "env": [{"name": "RELEASE", "value": release}]}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.expect("patch");
}

/// What was acknowledged is there, and a watch from before goes on.
async fn killed_and_started_again(cluster: &mut Cluster, traffic: &Traffic) {
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client().await);
    let version =
        config_maps.list(&ListParams::default()).await.expect("list").metadata.resource_version.expect("a revision");
    let created = create::<ConfigMap>(&cluster.client().await, json!({"metadata": {"name": "kept"}})).await;
    cluster.kill();
    traffic.flow(200);
    cluster.start();
    traffic.flow(100);
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client().await);
    assert_eq!(config_maps.get("kept").await.expect("get"), created);
    let mut events = std::pin::pin!(config_maps.watch(&WatchParams::default(), &version).await.expect("watch"));
    match events.next().await {
        Some(Ok(WatchEvent::Added(seen))) => assert_eq!(seen, created),
        other => panic!("the watch did not go on: {other:?}"),
    }
}

// === the server is not there ===

/// A container that ends while nobody looks is restarted by whoever looks next, with its own exit code.
async fn ends_are_noticed_later(cluster: &mut Cluster) {
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = create::<Pod>(&client, sleeper("unseen", "trap 'exit 7' TERM; while :; do sleep 0.05; done")).await;
    wait_for(&pods, "unseen", "running", |pod| is_ready(pod).then_some(())).await;
    cluster.kill();
    let first = processes_of_pod(uid(&pod)).into_iter().next().expect("a process");
    signal(first, Signal::SIGTERM);
    ended(first).await;
    cluster.start();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client().await);
    let restarted = wait_for(&pods, "unseen", "one restart", |pod| {
        (only_container(pod)?.restart_count == 1 && is_ready(pod)).then(|| pod.clone())
    })
    .await;
    let last = only_container(&restarted).and_then(|container| container.last_state.clone()?.terminated);
    assert_eq!(last.map(|last| last.exit_code), Some(7), "its monitor has seen it");
    pods.delete("unseen", &DeleteParams::default().grace_period(0)).await.expect("delete");
}

/// Kills at instants that nobody chose, while pods come and go: in the end there are the pods that are wanted, and
/// when there are none, nothing of them.
async fn kills_amid_pods_leave_nothing(cluster: &mut Cluster) {
    let log = cluster.log();
    for (round, replicas) in [5, 1, 6, 0, 4, 2, 5, 0].into_iter().enumerate() {
        let client = cluster.client().await;
        let scale = json!({"spec": {"replicas": replicas, "template": {"spec": {"terminationGracePeriodSeconds": 1}}}});
        let deployments: Api<Deployment> = Api::default_namespaced(client);
        deployments.patch("web", &PatchParams::default(), &Patch::Strategic(scale)).await.expect("scale");
        // The instant is what is tried.
        tokio::time::sleep(Duration::from_millis(37 * round as u64)).await;
        cluster.kill();
        cluster.start();
    }
    let client = cluster.client().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let none = |pods: &[Pod]| pods.is_empty().then_some(());
    wait(&pods, "no pods of the Deployment", &web_pods(), none).await;
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await.expect("delete");
    wait(&pods, "no pods at all", &ListParams::default(), none).await;
    let suffix = suffix(&log);
    let mut left = left_of_pods(&cluster.data, &suffix);
    let cleaning = async {
        // The object goes before the last file does.
        while !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            left = left_of_pods(&cluster.data, &suffix);
        }
    };
    let cleaned = tokio::time::timeout(Duration::from_secs(20), cleaning).await;
    assert!(cleaned.is_ok(), "{left:?}");
}
