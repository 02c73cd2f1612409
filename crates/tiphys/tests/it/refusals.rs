//! What a server refuses to start on, two clusters on one machine, and what a reset leaves: nothing.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use serde_json::json;

use crate::{
    cluster::{Cluster, create, free_port, wait_for},
    machine::{left_over, processes_of_pod, suffix},
    traffic::ask,
};

/// What a server says that does not start.
fn refused(cluster: &Cluster, flags: &[&str]) -> String {
    let output = cluster.command().args(flags).output().expect("run the server");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let cluster = Cluster::control_plane();
    fs::set_permissions(&cluster.data, fs::Permissions::from_mode(0o777)).expect("chmod");
    let said = refused(&cluster, &[]);
    assert!(said.contains("can be written by others than root"), "{said}");
    assert_eq!(fs::read_dir(&cluster.data).expect("list").count(), 0, "nothing was written");
    fs::set_permissions(&cluster.data, fs::Permissions::from_mode(0o700)).expect("chmod");
}

#[test]
fn a_port_that_somebody_has_is_named() {
    let cluster = Cluster::control_plane();
    let _taken = TcpListener::bind(("0.0.0.0", cluster.api_port)).expect("take the port");
    let said = refused(&cluster, &[]);
    assert!(said.contains(&format!("0.0.0.0:{}", cluster.api_port)) && said.contains("--secure-port"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let mut cluster = Cluster::control_plane();
    cluster.log_path = "/dev/full".into();
    cluster.start();
    create::<ConfigMap>(&cluster.client().await, json!({"metadata": {"name": "kept"}})).await;
    assert!(cluster.terminate().success());
}

async fn pod_with_port(cluster: &Cluster) -> (Pod, u16) {
    let client = cluster.client().await;
    let pod = json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "nginx", "image": "nginx"}], "terminationGracePeriodSeconds": 1},
    });
    let pod = create::<Pod>(&client, pod).await;
    let spec =
        json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": free_port(), "targetPort": 80}]});
    let service = create::<Service>(&client, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let node_port = service.spec.and_then(|spec| spec.ports?.first()?.node_port).expect("a node port");
    wait_for(&Api::<Pod>::default_namespaced(client), "web", "ready", |pod| {
        pod.status.as_ref()?.container_statuses.as_ref()?.first()?.ready.then_some(())
    })
    .await;
    (pod, u16::try_from(node_port).expect("a port"))
}

/// Service rules follow pods by a moment.
async fn answers(port: u16) {
    let asking = async {
        while !ask(([127, 0, 0, 1], port).into()).is_ok_and(|answer| answer.contains("</html>")) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, asking).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_live_side_by_side_and_a_reset_leaves_nothing() {
    let (mut one, mut other) = (Cluster::with_images(&["nginx"]), Cluster::with_images(&["nginx"]));
    one.start();
    other.start();
    let ((_, one_port), (pod, other_port)) = (pod_with_port(&one).await, pod_with_port(&other).await);
    answers(one_port).await;
    answers(other_port).await;

    let said = refused(&one, &[]);
    assert!(said.contains(&format!("a server (process {}) is running on", one.pid())), "{said}");
    answers(one_port).await;

    let (uid, one_suffix, other_suffix) = (pod.metadata.uid.expect("a uid"), suffix(&one.log()), suffix(&other.log()));
    let processes = processes_of_pod(&uid);
    assert!(!processes.is_empty());
    one.reset();
    assert_eq!(left_over(&one.data, &one_suffix), [""; 0]);
    assert_eq!(processes_of_pod(&uid), processes, "the other cluster's pod goes on");
    answers(other_port).await;
    one.reset();

    // Also without a server to ask, killed in the midst of its work.
    other.kill();
    other.reset();
    assert_eq!(left_over(&other.data, &other_suffix), [""; 0]);
}
