//! Tokens that live in Secrets and that nobody uses.

use std::time::Duration;

use api::core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount};
use controllers::Options;
use serde_json::{Value, json};

use crate::harness::Harness;

const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

fn token(name: &str) -> Value {
    json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "builder"}},
        "type": "kubernetes.io/service-account-token"})
}

/// Nothing may be unused for any time at all, so that the test has not to wait for a year.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_nobody_uses_are_marked_and_deleted() -> anyhow::Result<()> {
    let harness =
        Harness::start_with(Options { legacy_token_clean_up_period: Duration::ZERO, ..Options::default() }).await?;
    let tracking = "kube-apiserver-legacy-service-account-token-tracking";
    let map = json!({"metadata": {"name": tracking}, "data": {"since": "2020-01-01"}});
    harness.create::<ConfigMap>("kube-system", map).await?;
    harness.create_cluster::<Namespace>(json!({"metadata": {"name": "team"}})).await?;
    let listed = json!([{"name": "unused"}, {"name": "in-use"}]);
    harness.create::<ServiceAccount>("team", json!({"metadata": {"name": "builder"}, "secrets": listed})).await?;
    harness.wait::<ServiceAccount>("team", "builder", |account| account.is_some()).await;
    let volumes = json!([{"name": "t", "secret": {"secretName": "in-use"}}]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i"}]}});
    harness.wait::<ServiceAccount>("team", "default", |account| account.is_some()).await;
    harness.create::<Pod>("team", pod).await?;
    harness.wait::<Pod>("team", "p", |pod| pod.is_some()).await;
    for name in ["in-use", "asked-for", "unused"] {
        harness.create::<Secret>("team", token(name)).await?;
    }
    let is_marked = |secret: Option<&Secret>| {
        secret
            .and_then(|secret| secret.metadata.labels.as_ref())
            .is_some_and(|labels| labels.contains_key(INVALID_SINCE))
    };
    harness.wait::<Secret>("team", "unused", is_marked).await;
    // Nobody missed it.
    for name in ["in-use", "asked-for", "unused"] {
        let patch = json!({"metadata": {"labels": {INVALID_SINCE: "2020-02-01"}}});
        harness.patch::<Secret>("team", name, patch).await?;
    }
    let left = harness.wait_all::<Secret>("team", |secrets| secrets.len() == 2).await;
    assert!(left.iter().all(|secret| secret.metadata.name.as_deref() != Some("unused")), "{left:?}");
    Ok(())
}
