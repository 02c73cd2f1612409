//! Deployments, their pods and the endpoints of their services; jobs.

use api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{Endpoints, Event, Pod, ResourceQuota, Service},
    discovery::v1::EndpointSlice,
    policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};

use crate::harness::Harness;

pub(crate) fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}}},
    })
}

fn condition(deployment: &Deployment, kind: &str) -> Option<(String, String)> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status.clone(), condition.reason.clone().unwrap_or_default()))
}

pub(crate) fn is_complete(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == replicas
        && status.available_replicas.unwrap_or(0) == replicas
        && status.replicas.unwrap_or(0) == replicas
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_and_its_endpoints_follow() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "type": "LoadBalancer",
        "ports": [{"port": 8086, "targetPort": 80}]}});
    harness.create::<Service>("default", service).await?;
    harness.create::<Deployment>("default", deployment("web", 3, "nginx:1")).await?;
    let done = harness.wait::<Deployment>("default", "web", |web| web.is_some_and(|web| is_complete(web, 3))).await;
    let web = harness
        .wait::<Deployment>("default", "web", |web| {
            web.and_then(|web| condition(web, "Progressing"))
                .is_some_and(|(_, reason)| reason == "NewReplicaSetAvailable")
        })
        .await
        .or(done)
        .expect("the deployment");
    assert_eq!(condition(&web, "Available"), Some(("True".into(), "MinimumReplicasAvailable".into())));
    assert_eq!(web.metadata.annotations.clone().unwrap_or_default()["deployment.kubernetes.io/revision"], "1");
    harness.wait_all::<EndpointSlice>("default", |slices| ready_endpoints(slices, "web") == 3).await;
    harness
        .wait::<Endpoints>("default", "web", |endpoints| {
            let subsets = endpoints.and_then(|endpoints| endpoints.subsets.clone()).unwrap_or_default();
            subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).count() == 3
        })
        .await;
    harness
        .wait::<Service>("default", "web", |service| {
            let status = service.and_then(|service| service.status.clone()).unwrap_or_default();
            let ingress = status.load_balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
            ingress.iter().any(|ingress| ingress.ip.as_deref() == Some("192.0.2.7"))
        })
        .await;

    // Another image: a second ReplicaSet takes over, the first is kept for rolling back.
    harness.patch::<Deployment>("default", "web", deployment("web", 3, "nginx:2")).await?;
    let changed = |web: &Deployment| {
        web.metadata.annotations.as_ref().is_some_and(|all| all["deployment.kubernetes.io/revision"] == "2")
    };
    harness
        .wait::<Deployment>("default", "web", |web| web.is_some_and(|web| changed(web) && is_complete(web, 3)))
        .await;
    let sets = harness.cache::<ReplicaSet>().list_namespace("default");
    let sizes: Vec<_> = sets.iter().map(|set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(-1)).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<i32>()), (2, 3), "{sizes:?}");

    // And back, as `kubectl rollout undo` does it.
    harness.patch::<Deployment>("default", "web", deployment("web", 3, "nginx:1")).await?;
    harness
        .wait::<Deployment>("default", "web", |web| {
            let annotations = web.and_then(|web| web.metadata.annotations.clone()).unwrap_or_default();
            annotations.get("deployment.kubernetes.io/revision").is_some_and(|revision| revision == "3")
                && web.is_some_and(|web| is_complete(web, 3))
        })
        .await;
    assert_eq!(harness.cache::<ReplicaSet>().list_namespace("default").len(), 2);
    harness.wait_all::<EndpointSlice>("default", |slices| ready_endpoints(slices, "web") == 3).await;
    harness
        .wait_all::<Event>("default", |events| {
            let has = |reason: &str| events.iter().any(|event| event.reason.as_deref() == Some(reason));
            has("ScalingReplicaSet") && has("SuccessfulCreate") && has("SuccessfulDelete")
        })
        .await;
    Ok(())
}

fn ready_endpoints(slices: &[std::sync::Arc<EndpointSlice>], service: &str) -> usize {
    let of_service = slices.iter().filter(|slice| {
        slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name")).map(String::as_str)
            == Some(service)
    });
    of_service
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_deleted_is_replaced() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    harness.create::<Deployment>("default", deployment("web", 2, "nginx:1")).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_some_and(|web| is_complete(web, 2))).await;
    let pods = harness.cache::<Pod>().list_namespace("default");
    let victim = pods[0].metadata.name.clone().unwrap_or_default();
    harness.delete::<Pod>("default", &victim, Default::default()).await?;
    harness
        .wait_all::<Pod>("default", |pods| {
            let others = pods.iter().filter(|pod| pod.metadata.name.as_deref() != Some(&victim));
            others.filter(|pod| api::pod::is_ready(pod)).count() == 2 && pods.len() == 2
        })
        .await;
    Ok(())
}

/// Pods that are admitted and not yet stored are not taken for missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_holds_while_many_pods_are_made_at_once() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}});
    harness.create::<ResourceQuota>("default", quota).await?;
    let used = |quota: &ResourceQuota| quota.status.as_ref()?.used.as_ref()?.get("pods").map(|used| used.0.clone());
    harness.wait::<ResourceQuota>("default", "few", |quota| quota.and_then(used).as_deref() == Some("0")).await;
    for round in ["a", "b", "c"] {
        harness.create::<ReplicaSet>("default", replica_set(round, 12)).await?;
        let refused = |set: &ReplicaSet| {
            let conditions = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            conditions.iter().any(|one| one.type_ == "ReplicaFailure" && one.reason.as_deref() == Some("FailedCreate"))
        };
        harness.wait::<ReplicaSet>("default", round, |set| set.is_some_and(refused)).await;
        harness.wait::<ResourceQuota>("default", "few", |quota| quota.and_then(used).as_deref() == Some("2")).await;
        assert!(harness.cache::<Pod>().list_namespace("default").len() <= 2);
        harness.delete::<ReplicaSet>("default", round, Default::default()).await?;
        harness.wait_all::<Pod>("default", |pods| pods.is_empty()).await;
        harness.wait::<ResourceQuota>("default", "few", |quota| quota.and_then(used).as_deref() == Some("0")).await;
    }
    Ok(())
}

fn replica_set(name: &str, replicas: i32) -> Value {
    let deployment = deployment(name, replicas, "nginx:1");
    json!({"metadata": {"name": name}, "spec": deployment["spec"]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_and_its_pods_are_let_go() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    let job = json!({"metadata": {"name": "sum"}, "spec": {"completions": 3, "parallelism": 2,
        "template": {"metadata": {"labels": {"short": ""}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    harness.create::<Job>("default", job).await?;
    let job = harness
        .wait::<Job>("default", "sum", |job| {
            let status = job.and_then(|job| job.status.clone()).unwrap_or_default();
            status.conditions.iter().flatten().any(|one| one.type_ == "Complete" && one.status == "True")
        })
        .await
        .expect("the job");
    assert_eq!(job.status.as_ref().and_then(|status| status.succeeded), Some(3));
    harness
        .wait_all::<Pod>("default", |pods| {
            pods.len() == 3 && pods.iter().all(|pod| pod.metadata.finalizers.as_ref().is_none_or(Vec::is_empty))
        })
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_follows_its_nodes_and_rolls_out() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("one").await?;
    harness.add_node("two").await?;
    let daemon = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image}]}}}})
    };
    harness.create::<DaemonSet>("default", daemon("a:1")).await?;
    let runs = |set: Option<&DaemonSet>, generation: i64| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        status.observed_generation == Some(generation)
            && status.desired_number_scheduled == 2
            && status.updated_number_scheduled == Some(2)
            && status.number_available == Some(2)
    };
    harness.wait::<DaemonSet>("default", "agent", |set| runs(set, 1)).await;
    harness.patch::<DaemonSet>("default", "agent", daemon("a:2")).await?;
    harness.wait::<DaemonSet>("default", "agent", |set| runs(set, 2)).await;
    let pods = harness.cache::<Pod>().list_namespace("default");
    assert!(
        pods.iter().all(|pod| pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some("a:2")))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_is_made_in_order_and_rolls_out() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    let set = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
            "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image}]}}}})
    };
    harness.create::<StatefulSet>("default", set("a:1")).await?;
    let runs = |set: Option<&StatefulSet>, generation: i64| {
        let status = set.and_then(|set| set.status.clone()).unwrap_or_default();
        status.observed_generation == Some(generation)
            && status.updated_replicas == Some(3)
            && status.ready_replicas == Some(3)
            && status.current_revision == status.update_revision
    };
    harness.wait::<StatefulSet>("default", "db", |set| runs(set, 1)).await;
    let names: Vec<_> = harness
        .cache::<Pod>()
        .list_namespace("default")
        .iter()
        .map(|pod| pod.metadata.name.clone().unwrap_or_default())
        .collect();
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    harness.patch::<StatefulSet>("default", "db", set("a:2")).await?;
    harness.wait::<StatefulSet>("default", "db", |set| runs(set, 2)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_is_as_wanted_nothing_is_written() -> anyhow::Result<()> {
    let harness = Harness::start().await?;
    harness.add_node("node").await?;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "type": "LoadBalancer",
        "ports": [{"port": 80}]}});
    harness.create::<Service>("default", service).await?;
    let budget = json!({"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    harness.create::<PodDisruptionBudget>("default", budget).await?;
    harness.create::<Deployment>("default", deployment("web", 2, "nginx:1")).await?;
    harness.wait::<Deployment>("default", "web", |web| web.is_some_and(|web| is_complete(web, 2))).await;
    harness
        .wait::<PodDisruptionBudget>("default", "web", |budget| {
            budget.and_then(|budget| budget.status.as_ref()?.disruptions_allowed) == Some(1)
        })
        .await;
    let revision = || async {
        let list = kube::Api::<Service>::all(harness.client.clone()).list(&Default::default()).await?;
        anyhow::Ok(list.metadata.resource_version.unwrap_or_default())
    };
    // That nothing happens can be seen by waiting only. Two quiet seconds in a row must come.
    let mut before = revision().await?;
    for _ in 0..30 {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let after = revision().await?;
        if before == after {
            return Ok(());
        }
        before = after;
    }
    panic!("the controllers go on writing");
}
