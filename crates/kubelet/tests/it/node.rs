//! The node's own object and lease.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::fixture::{Fixture, NODE};

#[tokio::test]
async fn the_node_registers_and_renews_its_lease() {
    let fixture = Fixture::start().await;
    let caches = informer::Caches::new(fixture.client.clone(), fixture.cluster.supervisor());
    let nodes = caches.of::<Node>();
    let leases = caches.of::<Lease>();
    let seen = async {
        nodes
            .wait_until(|cache| {
                cache.list().iter().any(|node| node.status.as_ref().is_some_and(|status| status.conditions.is_some()))
            })
            .await;
        leases.wait_until(|cache| cache.list().iter().any(|lease| lease.metadata.name.as_deref() == Some(NODE))).await;
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.expect("node and lease");
    let node = Api::<Node>::all(fixture.client.clone()).get(NODE).await.unwrap();
    let status = node.status.unwrap();
    let condition =
        |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap().clone();
    assert_eq!(condition("Ready").reason.as_deref(), Some("KubeletReady"));
    assert_eq!(condition("MemoryPressure").status, "False");
    assert_eq!(node.metadata.labels.unwrap()["kubernetes.io/hostname"], NODE);
    assert!(status.capacity.unwrap().contains_key("memory"));
    assert_eq!(status.node_info.unwrap().container_runtime_version, "fake://1.0");
}
