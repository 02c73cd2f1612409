//! Server CPU per operation, measured from outside: `load KUBECONFIG PID [COUNT]` against the `serve` example.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use supervisor::Supervisor;

/// Processor time a process has used.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("stat")?.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

async fn client(path: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn report(what: &str, count: usize, used: Duration, took: Duration) {
    let each = used.as_secs_f64() * 1e6 / count as f64;
    let rate = count as f64 / took.as_secs_f64();
    tracing::info!("{what}: {count} in {took:.2?}, {rate:.0}/s, server CPU {each:.1} us each");
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_target(false).init();
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("KUBECONFIG")?;
    let pid: u32 = arguments.next().context("PID")?.parse()?;
    let count: usize = arguments.next().map_or(Ok(10_000), |count| count.parse())?;
    let client = client(&path).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let object = |index: usize| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": format!("load-{index}")}, "data": {"a": "x".repeat(1024)}}))
            .unwrap_or_default()
    };

    let measure = |what: &'static str| (what, Instant::now(), cpu(pid));
    let (what, start, before) = measure("create");
    let create = |lane: usize| {
        let maps = maps.clone();
        async move {
            for index in (lane..count).step_by(32) {
                maps.create(&PostParams::default(), &object(index)).await?;
            }
            Ok::<_, kube::Error>(())
        }
    };
    try_join_all((0..32).map(create)).await?;
    report(what, count, cpu(pid)? - before?, start.elapsed());

    let (what, start, before) = measure("get");
    let get = |lane: usize| {
        let maps = maps.clone();
        async move {
            for index in (lane..count).step_by(32) {
                maps.get(&format!("load-{index}")).await?;
            }
            Ok::<_, kube::Error>(())
        }
    };
    try_join_all((0..32).map(get)).await?;
    report(what, count, cpu(pid)? - before?, start.elapsed());

    let (what, start, before) = measure("list of all");
    for _ in 0..10 {
        let request = http::Request::get("/api/v1/namespaces/default/configmaps").body(Vec::new())?;
        let body = client.request_text(request).await?;
        anyhow::ensure!(body.len() > count * 1024);
    }
    report(what, 10, cpu(pid)? - before?, start.elapsed());

    const WATCHERS: usize = 100;
    const EVENTS: usize = 1000;
    let seen = Arc::new(AtomicUsize::new(0));
    let version = maps.list(&ListParams::default().limit(1)).await?.metadata.resource_version.context("version")?;
    let supervisor = Supervisor::new();
    for _ in 0..WATCHERS {
        let (maps, seen, version) = (maps.clone(), Arc::clone(&seen), version.clone());
        supervisor.spawn("watcher", async move {
            let Ok(stream) = maps.watch(&WatchParams::default(), &version).await else { return };
            let mut stream = stream.boxed();
            while let Ok(Some(_)) = stream.try_next().await {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let patch = |value: usize| Patch::Merge(json!({"metadata": {"labels": {"n": value.to_string()}}}));
    while seen.load(Ordering::Relaxed) < WATCHERS {
        maps.patch("load-0", &PatchParams::default(), &patch(usize::MAX - seen.load(Ordering::Relaxed))).await?;
    }
    let base = settle(&seen).await;
    let (what, start, before) = measure("event delivered");
    let update = |lane: usize| {
        let maps = maps.clone();
        async move {
            for index in (lane..EVENTS).step_by(8) {
                maps.patch(&format!("load-{index}"), &PatchParams::default(), &patch(index)).await?;
            }
            Ok::<_, kube::Error>(())
        }
    };
    try_join_all((0..8).map(update)).await?;
    let total = settle(&seen).await - base;
    report(what, total, cpu(pid)? - before?, start.elapsed());
    supervisor.shutdown().await;
    Ok(())
}

/// How many events have arrived, once no more do.
async fn settle(seen: &AtomicUsize) -> usize {
    let mut ticks = tokio::time::interval(Duration::from_millis(300));
    let mut last = usize::MAX;
    loop {
        ticks.tick().await;
        let now = seen.load(Ordering::Relaxed);
        if now == last {
            return now;
        }
        last = now;
    }
}
