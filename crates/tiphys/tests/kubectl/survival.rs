//! A server that is killed leaves its containers running, and knows everything again that it had acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use api::core::v1::{ConfigMap, Pod, Service};
use futures::TryStreamExt as _;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;

use crate::{cluster::Cluster, workloads::answer};

const LIMIT_SECONDS: u32 = 120;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Watches the pod until it is as wanted; a deleted pod is `None`.
async fn wait(client: &Client, name: &str, wanted: impl Fn(Option<&Pod>) -> bool) -> Option<Pod> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let first = pods.get_opt(name).await.unwrap();
    if wanted(first.as_ref()) {
        return first;
    }
    let version = first.and_then(|pod| pod.metadata.resource_version).unwrap_or_else(|| "0".to_owned());
    let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(LIMIT_SECONDS);
    let mut events = Box::pin(pods.watch(&only, &version).await.unwrap());
    let mut last = None;
    while let Some(event) = events.try_next().await.unwrap() {
        let now = match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Some(pod),
            WatchEvent::Deleted(_) => None,
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(error) => panic!("{error:?}"),
        };
        if wanted(now.as_ref()) {
            return now;
        }
        last = now;
    }
    panic!("pod {name} is not as wanted: {last:#?}");
}

fn is_ready(pod: Option<&Pod>) -> bool {
    pod.is_some_and(api::pod::is_ready)
}

fn container(pod: &Pod) -> String {
    let status = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
    format!("{} restarted {}", status.container_id.as_deref().unwrap(), status.restart_count)
}

pub(crate) fn containers_outlive_the_server(cluster: &mut Cluster) {
    let (address, before) = block_on(async {
        let client = cluster.client().await;
        let create = PostParams::default();
        let pod = json!({"metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]}});
        let service =
            json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        let pods = Api::<Pod>::default_namespaced(client.clone());
        pods.create(&create, &serde_json::from_value(pod).unwrap()).await.unwrap();
        let services = Api::<Service>::default_namespaced(client.clone());
        let service = services.create(&create, &serde_json::from_value(service).unwrap()).await.unwrap();
        let pod = wait(&client, "web", is_ready).await.unwrap();
        (format!("{}:80", service.spec.unwrap().cluster_ip.unwrap()), pod)
    });
    let ends = Arc::new(AtomicBool::new(false));
    let traffic = thread::spawn({
        let (ends, address) = (ends.clone(), address.clone());
        move || {
            let mut requests = 0;
            let mut failed = Vec::new();
            // The rule for a new Service may still be on its way.
            while answer(&address).is_err() && !ends.load(Ordering::Relaxed) {}
            while !ends.load(Ordering::Relaxed) {
                requests += 1;
                match answer(&address) {
                    Ok(line) if line == "HTTP/1.1 200 OK" => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            (requests, failed)
        }
    });
    let acknowledged = block_on(async {
        let maps = Api::<ConfigMap>::default_namespaced(cluster.client().await);
        let mut versions = Vec::new();
        for number in 0..50 {
            let map = json!({"metadata": {"name": format!("kept-{number}")}});
            let created = maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
            versions.push((created.metadata.name, created.metadata.resource_version));
        }
        versions
    });
    cluster.kill();
    cluster.start_again();
    block_on(async {
        let client = cluster.client().await;
        let maps = Api::<ConfigMap>::default_namespaced(client.clone());
        for (name, version) in acknowledged {
            let map = maps.get(name.as_deref().unwrap()).await.unwrap();
            assert_eq!(map.metadata.resource_version, version, "{name:?}");
        }
        let after = wait(&client, "web", is_ready).await.unwrap();
        assert_eq!(container(&after), container(&before), "the container was not taken over");
    });
    ends.store(true, Ordering::Relaxed);
    let (requests, failed) = traffic.join().unwrap();
    assert!(requests > 0 && failed.is_empty(), "{} of {requests} requests failed: {failed:?}", failed.len());

    // What was taken over is still looked after.
    block_on(async {
        let client = cluster.client().await;
        let pods = Api::<Pod>::default_namespaced(client.clone());
        pods.delete("web", &DeleteParams::default()).await.unwrap();
        wait(&client, "web", |pod| pod.is_none()).await;
    });
    assert!(answer(&address).is_err(), "the pod still answers");
}
