//! The node's sign of life: a Lease renewed every ten seconds. Upstream: component-helpers/apimachinery/lease.

use std::sync::Arc;
use std::time::Duration;

use informer::Backoff;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;

use super::INTERVAL;
use crate::shared::Shared;

const NAMESPACE: &str = "kube-node-lease";

/// Never ends.
pub(crate) async fn keep_lease(shared: Arc<Shared>) {
    let leases: Api<Lease> = Api::namespaced(shared.client.clone(), NAMESPACE);
    let mut held: Option<Lease> = None;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(7));
    // The lease belongs to the node, whose UID must be known first.
    shared.node.wait_until(|cache| !cache.is_empty()).await;
    loop {
        match renew(&shared, &leases, held.take()).await {
            Ok(lease) => {
                held = Some(lease);
                backoff.reset();
                tokio::time::sleep(INTERVAL).await;
            }
            Err(error) => {
                let delay = backoff.next_delay();
                tracing::warn!(%error, ?delay, "node lease not renewed");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

async fn renew(shared: &Shared, leases: &Api<Lease>, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let name = &shared.config.node_name;
    let existing = match held {
        Some(lease) => Some(lease),
        None => leases.get_opt(name).await?,
    };
    match existing {
        Some(mut lease) => {
            lease.metadata.managed_fields = None;
            lease.spec = Some(spec(shared));
            leases.replace(name, &PostParams::default(), &lease).await
        }
        None => {
            let owner =
                shared.node.list().first().and_then(|node| node.metadata.uid.clone()).map(|uid| OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Node".to_owned(),
                    name: name.clone(),
                    uid,
                    ..OwnerReference::default()
                });
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(NAMESPACE.to_owned()),
                    owner_references: owner.map(|owner| vec![owner]),
                    ..ObjectMeta::default()
                },
                spec: Some(spec(shared)),
            };
            leases.create(&PostParams::default(), &lease).await
        }
    }
}

fn spec(shared: &Shared) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(shared.config.node_name.clone()),
        lease_duration_seconds: i32::try_from(shared.config.lease_duration.as_secs()).ok(),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    }
}
