//! Pods from their creation to their end.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::fixture::{Fixture, phase, ready};

fn one(name: &str) -> serde_json::Value {
    json!({"containers": [{"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent"}]})
}

fn container(pod: &Pod) -> k8s_openapi::api::core::v1::ContainerStatus {
    pod.status.clone().unwrap().container_statuses.unwrap()[0].clone()
}

#[tokio::test]
async fn a_pod_runs_and_goes() {
    let fixture = Fixture::start().await;
    fixture.create("a", one("c")).await;
    let pod = fixture.wait("a", "ready", ready).await;
    let status = pod.status.clone().unwrap();
    assert_eq!(phase(&pod), "Running");
    assert!(status.pod_ip.unwrap().starts_with("10.42.0."));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.10"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let own = container(&pod);
    assert!(own.container_id.unwrap().starts_with("tiphys://container"));
    assert_eq!((own.ready, own.started, own.restart_count), (true, Some(true), 0));
    let events = fixture.events("a", "Started").await;
    assert!(
        events.contains(
            &"Pulled: Container image \"busybox\" already present on machine and can be accessed by the pod".to_owned()
        ),
        "{events:?}"
    );
    assert!(events.contains(&"Created: Container created".to_owned()), "{events:?}");
    assert!(events.contains(&"Started: Container started".to_owned()), "{events:?}");

    fixture.delete("a").await;
    fixture.wait_gone("a").await;
    assert_eq!(fixture.runtime.sandbox_count(), 0);
    assert!(fixture.events("a", "Killing").await.contains(&"Killing: Stopping container c".to_owned()));
    let left: Vec<_> = std::fs::read_dir(fixture.cluster.directory().join("node/pods")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn crashes_are_restarted_with_a_back_off() {
    let fixture = Fixture::start().await;
    fixture.create("a", one("c")).await;
    fixture.wait("a", "ready", ready).await;
    fixture.runtime.end("c", 3);
    let pod = fixture.wait("a", "restarted", |pod| ready(pod) && container(pod).restart_count == 1).await;
    let last = container(&pod).last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    fixture.runtime.end("c", 3);
    let waiting = |pod: &Pod| {
        let state = container(pod).state.unwrap_or_default();
        state.waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    };
    fixture.wait("a", "in back-off", waiting).await;
    let events = fixture.events("a", "BackOff").await;
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("BackOff: Back-off restarting failed container c in pod a_default(")),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_pod_that_ends_succeeds() {
    let fixture = Fixture::start().await;
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["exit", "0"]}]});
    fixture.create("a", spec).await;
    let pod = fixture.wait("a", "succeeded", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(container(&pod).state.unwrap().terminated.unwrap().reason.as_deref(), Some("Completed"));
    fixture.delete("a").await;
    fixture.wait_gone("a").await;
}

#[tokio::test]
async fn a_command_that_is_not_there() {
    let fixture = Fixture::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["nonsense"]}]});
    fixture.create("a", spec).await;
    let failed = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let mut ended = statuses.filter_map(|status| status.last_state.as_ref()?.terminated.as_ref());
        ended.any(|ended| ended.exit_code == 128)
    };
    fixture.wait("a", "failed", failed).await;
    let events = fixture.events("a", "Failed").await;
    assert!(
        events.contains(&"Failed: Error: exec: \"nonsense\": executable file not found in $PATH".to_owned()),
        "{events:?}"
    );
}

#[tokio::test]
async fn images_that_are_not_there() {
    let fixture = Fixture::start().await;
    fixture.create("a", json!({"containers": [{"name": "c", "image": "nothere"}]})).await;
    let waiting = |pod: &Pod| {
        let state =
            pod.status.clone().and_then(|status| status.container_statuses).and_then(|list| list[0].state.clone());
        state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason).unwrap_or_default()
    };
    fixture.wait("a", "in error", |pod| waiting(pod) == "ErrImagePull").await;
    fixture.wait("a", "in back-off", |pod| waiting(pod) == "ImagePullBackOff").await;
    // The last of them; they are written one after the other.
    fixture.event("a", "Failed", "Error: ImagePullBackOff").await;
    let events = fixture.events("a", "BackOff").await;
    for wanted in [
        "Pulling: Pulling image \"nothere\"",
        "Failed: Failed to pull image \"nothere\": nothere:latest: not found",
        "Failed: Error: ErrImagePull",
        "BackOff: Back-off pulling image \"nothere\"",
        "Failed: Error: ImagePullBackOff",
    ] {
        assert!(events.iter().any(|event| event == wanted), "{wanted}: {events:?}");
    }
    fixture.delete("a").await;
    fixture.wait_gone("a").await;
}

#[tokio::test]
async fn configuration_is_waited_for_and_followed() {
    let fixture = Fixture::start().await;
    let spec = json!({
        "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "key"}}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]});
    fixture.create("a", spec).await;
    let events = fixture.events("a", "FailedMount").await;
    assert!(
        events
            .contains(&"FailedMount: MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found".to_owned()),
        "{events:?}"
    );

    let maps: Api<ConfigMap> = Api::namespaced(fixture.client.clone(), "default");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"key": "one"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    fixture.wait("a", "ready", ready).await;
    let config = fixture.runtime.config("c");
    assert!(config.envs.contains(&("KEY".to_owned(), "one".to_owned())), "{:?}", config.envs);
    assert!(config.envs.contains(&("KUBERNETES_SERVICE_HOST".to_owned(), "10.43.0.1".to_owned())), "{:?}", config.envs);
    let mount = config.mounts.iter().find(|mount| mount.container_path == "/v").unwrap();
    let file = std::path::Path::new(&mount.host_path).join("key");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");

    let patch = json!({"data": {"key": "two"}});
    maps.patch("m", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let changed = async {
        // The agent has no way to tell that it has written: the file itself is the fact.
        while std::fs::read_to_string(&file).ok().as_deref() != Some("two") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), changed).await.expect("the file follows the object");
}

#[tokio::test]
async fn a_restart_of_the_agent_restarts_nothing() {
    let mut fixture = Fixture::start().await;
    fixture.create("a", one("c")).await;
    let before = container(&fixture.wait("a", "ready", ready).await).container_id;
    fixture.create("b", one("d")).await;
    fixture.wait("b", "ready", ready).await;
    fixture.restart().await;
    // What ends afterwards is noticed.
    fixture.runtime.end("d", 1);
    fixture.wait("b", "restarted", |pod| ready(pod) && container(pod).restart_count == 1).await;
    let pod = fixture.pods().get("a").await.unwrap();
    assert_eq!(container(&pod).container_id, before);
    assert_eq!(container(&pod).restart_count, 0);
    assert_eq!(fixture.runtime.calls().iter().filter(|call| call.starts_with("sandbox ")).count(), 2);
}

#[tokio::test]
async fn liveness_probes_restart() {
    let fixture = Fixture::start().await;
    let spec = json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent",
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}}]});
    fixture.create("a", spec).await;
    fixture.wait("a", "restarted", |pod| container(pod).restart_count >= 1).await;
    let events = fixture.events("a", "Killing").await;
    assert!(events.contains(&"Unhealthy: Liveness probe failed: output".to_owned()), "{events:?}");
    assert!(events.contains(&"Killing: Container c failed liveness probe, will be restarted".to_owned()), "{events:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let fixture = Fixture::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "busybox", "resources": {"requests": {"cpu": "4000"}}}]});
    fixture.create("a", spec).await;
    let pod = fixture.wait("a", "failed", |pod| phase(pod) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert!(
        status
            .message
            .unwrap()
            .starts_with("Pod was rejected: Node didn't have enough resource: cpu, requested: 4000000")
    );
}
