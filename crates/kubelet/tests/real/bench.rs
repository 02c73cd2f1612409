//! How long a pod takes from its creation to Running, seen by a watcher. Printed, not judged: machines differ.

use std::time::Instant;

use futures::future::join_all;
use serde_json::json;

use crate::fixture::{Fixture, phase, ready};

pub(crate) async fn latency() {
    let fixture = Fixture::start().await;
    let spec = || {
        json!({"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "1000"]}]})
    };
    fixture.create("warm", spec()).await;
    fixture.wait("warm", "ready", ready).await;
    let mut times = Vec::new();
    let cpu = fixture.cpu();
    for number in 0..20 {
        let name = format!("p{number}");
        let started = Instant::now();
        fixture.create(&name, spec()).await;
        fixture.wait(&name, "running", |pod| phase(pod) == "Running").await;
        times.push(started.elapsed());
        fixture.delete(&name).await;
        fixture.wait_gone(&name).await;
    }
    times.sort();
    println!(
        "create to Running: p50 {:?} p90 {:?}; CPU of this process per pod {:?}",
        times[10],
        times[18],
        (fixture.cpu() - cpu) / 20
    );
    let started = Instant::now();
    let names: Vec<String> = (0..30).map(|number| format!("b{number}")).collect();
    join_all(names.iter().map(|name| fixture.create(name, spec()))).await;
    join_all(names.iter().map(|name| fixture.wait(name, "ready", ready))).await;
    println!("30 at once to Ready: {:?}", started.elapsed());
    join_all(names.iter().map(|name| fixture.delete(name))).await;
    join_all(names.iter().map(|name| fixture.wait_gone(name))).await;
    fixture.delete("warm").await;
    fixture.wait_gone("warm").await;
    fixture.finish().await;
}
