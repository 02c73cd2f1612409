//! Everything at once: thousands of full lists, hundreds of watches, large patches. Heartbeats must come through, memory
//! must stay bounded, what is too much must be refused, and soon after all must be well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{AsyncReadExt as _, StreamExt as _, TryStreamExt as _};
use kube::{Client, api::PostParams, config::AuthInfo};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::config_map;
use crate::{
    Arguments, Report,
    report::Latencies,
    target::{PATIENCE, Target, objects},
};

const NAMESPACE: &str = "bench-overload";
const CONNECTIONS: usize = 20;
const WATCHES: usize = 500;
const PATCHERS: usize = 50;
/// Bytes of a large patch.
const PATCH: usize = 500_000;
/// Nodes that say that they are alive, each so often.
const NODES: usize = 50;
const BEAT: Duration = Duration::from_millis(500);
/// How long after the storm all has to be well.
const CALM: Duration = Duration::from_secs(10);

/// How requests ended.
#[derive(Default)]
struct Outcomes {
    good: AtomicUsize,
    refused: AtomicUsize,
    failed: AtomicUsize,
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    target.namespace(NAMESPACE).await?;
    fill(target, arguments).await?;
    let load = loader(target).await?;
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| target.client_as(load.clone())).collect::<Result<_, _>>()?;
    let node = AuthInfo {
        impersonate: Some("system:node:bench".to_owned()),
        impersonate_groups: Some(vec!["system:nodes".to_owned(), "system:authenticated".to_owned()]),
        ..target.identity()
    };
    let node = target.client_as(node)?;
    let before = if target.has_processes() { target.begin_peak()? } else { 0.0 };

    let ended = Arc::new(AtomicBool::new(false));
    let mut beats = JoinSet::new();
    beats.spawn(heartbeats(node.clone(), ended.clone()));
    let (lists, patches, watches) =
        (Arc::<Outcomes>::default(), Arc::<Outcomes>::default(), Arc::<Outcomes>::default());
    let (mut storm, mut watching) = (JoinSet::new(), JoinSet::new());
    let start = Instant::now();
    for index in 0..WATCHES {
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1");
        watching.spawn(read(clients[index % CONNECTIONS].clone(), uri, watches.clone()));
    }
    for index in 0..arguments.overload_lists {
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        storm.spawn(read(clients[index % CONNECTIONS].clone(), uri, lists.clone()));
    }
    for index in 0..PATCHERS {
        storm.spawn(patch(clients[index % CONNECTIONS].clone(), index, patches.clone()));
    }
    let all = async { while storm.join_next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, all).await.context("the storm did not end")?;
    report.add("overload, until every list was answered", start.elapsed().as_secs_f64(), "s");
    // A watch is well as long as it lasts.
    while watching.try_join_next().is_some() {}
    watches.good.store(watching.len(), Ordering::Relaxed);
    watching.shutdown().await;
    ended.store(true, Ordering::Relaxed);
    let during = beats.join_next().await.context("heartbeats")???;
    report.add_latencies("overload, heartbeat", &during);
    report.add("overload, slowest heartbeat", during.max().as_secs_f64() * 1e3, "ms");
    for (what, outcomes) in [("lists", &lists), ("patches", &patches), ("watches", &watches)] {
        for (how, count) in [("good", &outcomes.good), ("refused", &outcomes.refused), ("failed", &outcomes.failed)] {
            report.add(format!("overload, {what} {how}"), count.load(Ordering::Relaxed) as f64, "");
        }
    }
    if target.has_processes() {
        report.add("overload, server memory before", before / 1e6, "MB");
        report.add("overload, server memory at most", target.peak()? / 1e6, "MB");
    }

    tokio::time::sleep(CALM).await;
    let ended = Arc::new(AtomicBool::new(false));
    let mut beats = JoinSet::new();
    beats.spawn(heartbeats(node, ended.clone()));
    let after = Arc::<Outcomes>::default();
    let (started, uri) = (Instant::now(), format!("/api/v1/namespaces/{NAMESPACE}/configmaps"));
    read(clients[0].clone(), uri, after.clone()).await;
    report.add("overload, a list 10 s after", started.elapsed().as_secs_f64() * 1e3, "ms");
    tokio::time::sleep(BEAT * 4).await;
    ended.store(true, Ordering::Relaxed);
    let calm = beats.join_next().await.context("heartbeats")???;
    report.add_latencies("overload, heartbeat 10 s after", &calm);
    ensure!(after.good.load(Ordering::Relaxed) == 1, "a list 10 s after the storm is not answered");
    target.remove_namespace(NAMESPACE).await
}

async fn fill(target: &Target, arguments: &Arguments) -> anyhow::Result<()> {
    let maps = objects(target.client.clone(), Some(NAMESPACE), "configmaps", "ConfigMap");
    let post = PostParams::default();
    let writes = (0..arguments.overload_objects).map(|index| {
        let (maps, post) = (maps.clone(), post.clone());
        async move {
            maps.create(&post, &config_map(&format!("map-{index}"), 1536)?).await?;
            anyhow::Ok(())
        }
    });
    futures::stream::iter(writes).buffer_unordered(arguments.concurrency).try_collect().await
}

/// Somebody who may do much, and is not exempt from anything.
async fn loader(target: &Target) -> anyhow::Result<AuthInfo> {
    let post = |uri: String, body: Value| {
        let client = target.client.clone();
        async move {
            let request = http::Request::post(uri).header("content-type", "application/json");
            match client.request::<Value>(request.body(serde_json::to_vec(&body)?)?).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(Value::Null),
                other => anyhow::Ok(other?),
            }
        }
    };
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    post(accounts.clone(), json!({"metadata": {"name": "load"}})).await?;
    post(
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings"),
        json!({
            "metadata": {"name": "load"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "load", "namespace": NAMESPACE}],
        }),
    )
    .await?;
    let token = post(format!("{accounts}/load/token"), json!({"spec": {"expirationSeconds": 3600}})).await?;
    let token = token["status"]["token"].as_str().context("no token")?.to_owned();
    Ok(AuthInfo { token: Some(token.into()), ..AuthInfo::default() })
}

/// Reads an answer to its end, whatever it is.
async fn read(client: Client, uri: String, outcomes: Arc<Outcomes>) {
    let reading = async {
        let mut stream = std::pin::pin!(client.request_stream(http::Request::get(uri).body(Vec::new())?).await?);
        let mut buffer = vec![0; 1 << 16];
        while stream.read(&mut buffer).await? > 0 {}
        anyhow::Ok(())
    };
    count(reading.await, &outcomes);
}

async fn patch(client: Client, index: usize, outcomes: Arc<Outcomes>) {
    let uri = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/map-{index}");
    for round in 0..5 {
        let letter = if round % 2 == 0 { "p" } else { "q" };
        let body = json!({"data": {"data": letter.repeat(PATCH)}});
        let patching = async {
            let request = http::Request::patch(&uri).header("content-type", "application/merge-patch+json");
            client.request::<Value>(request.body(serde_json::to_vec(&body)?)?).await?;
            anyhow::Ok(())
        };
        count(patching.await, &outcomes);
    }
}

fn count(outcome: anyhow::Result<()>, outcomes: &Outcomes) {
    let counter = match outcome {
        Ok(()) => &outcomes.good,
        Err(error) => match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if status.code == 429 => &outcomes.refused,
            _ => {
                tracing::debug!(%error, "request failed");
                &outcomes.failed
            }
        },
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Nodes renew their leases, until it ends.
async fn heartbeats(client: Client, ended: Arc<AtomicBool>) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new()?;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let name = "bench";
    let lease = json!({"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}});
    let create =
        http::Request::post(leases).header("content-type", "application/json").body(serde_json::to_vec(&lease)?)?;
    match client.request::<Value>(create).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error.into()),
    }
    while !ended.load(Ordering::Relaxed) {
        let round = (0..NODES).map(|index| {
            let client = client.clone();
            let patch = json!({"spec": {"leaseDurationSeconds": 40 + index}});
            async move {
                let start = Instant::now();
                let request = http::Request::patch(format!("{leases}/{name}"));
                let request = request.header("content-type", "application/merge-patch+json");
                client.request::<Value>(request.body(serde_json::to_vec(&patch)?)?).await?;
                anyhow::Ok(start.elapsed())
            }
        });
        let begun = Instant::now();
        // A few at a time, as they would come.
        let times: Vec<Duration> = futures::stream::iter(round).buffer_unordered(10).try_collect().await?;
        times.into_iter().for_each(|time| latencies.record(time));
        tokio::time::sleep(BEAT.saturating_sub(begun.elapsed())).await;
    }
    Ok(latencies)
}
