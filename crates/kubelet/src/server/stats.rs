//! `/stats/summary` and `/metrics`. Upstream: kubelet/pkg/apis/stats/v1alpha1, pkg/kubelet/server/stats.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{Response, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Body, full, json_response};
use crate::shared::Shared;

pub(super) async fn summary(shared: &Arc<Shared>) -> Response<Body> {
    let mut pods = Vec::new();
    let (mut cpu, mut memory) = (0u64, 0u64);
    for entry in shared.pods.all() {
        let (sandbox, start) = {
            let view = entry.view.read();
            let start =
                view.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0.to_string());
            (view.sandbox.clone(), start)
        };
        let Some(sandbox) = sandbox else { continue };
        // A pod that has just ended has no statistics any more.
        let Ok(stats) = shared.runtime.pod_sandbox_stats(&sandbox).await else { continue };
        let at = time(stats.at);
        cpu += stats.cpu_nanos;
        memory += stats.memory_working_set;
        let containers: Vec<Value> = stats
            .containers
            .iter()
            .map(|container| {
                let at = time(container.at);
                json!({
                    "name": container.metadata.name, "startTime": start,
                    "cpu": {"time": at, "usageCoreNanoSeconds": container.cpu_nanos},
                    "memory": {"time": at, "usageBytes": container.memory_usage, "workingSetBytes": container.memory_working_set,
                        "rssBytes": container.memory_rss, "pageFaults": container.page_faults, "majorPageFaults": container.major_page_faults},
                    "rootfs": {"time": at, "usedBytes": container.rootfs_used_bytes},
                })
            })
            .collect();
        let interfaces: Vec<Value> = stats
            .network
            .iter()
            .map(|usage| json!({"name": usage.interface, "rxBytes": usage.rx_bytes, "rxErrors": usage.rx_errors, "txBytes": usage.tx_bytes, "txErrors": usage.tx_errors}))
            .collect();
        let mut network = interfaces.first().cloned().unwrap_or_else(|| json!({}));
        network["time"] = json!(at);
        network["interfaces"] = json!(interfaces);
        pods.push(json!({
            "podRef": {"name": entry.name, "namespace": entry.namespace, "uid": entry.uid},
            "startTime": start,
            "containers": containers,
            "cpu": {"time": at, "usageCoreNanoSeconds": stats.cpu_nanos},
            "memory": {"time": at, "workingSetBytes": stats.memory_working_set},
            "network": network,
            "process_stats": {"process_count": stats.process_count},
        }));
    }
    let now = Timestamp::now().to_string();
    let node = json!({
        "nodeName": shared.config.node_name,
        "cpu": {"time": now, "usageCoreNanoSeconds": cpu},
        "memory": {"time": now, "workingSetBytes": memory},
    });
    json_response(&json!({"node": node, "pods": pods}))
}

pub(super) async fn metrics(shared: &Arc<Shared>) -> Response<Body> {
    let (mut running, mut containers) = (0, 0);
    for entry in shared.pods.all() {
        let view = entry.view.read();
        let alive = view.containers.iter().filter(|container| container.running).count();
        running += usize::from(alive > 0);
        containers += alive;
    }
    let mut out = String::new();
    for (name, help, value) in [
        ("kubelet_running_pods", "Number of pods that have a running pod sandbox", running),
        ("kubelet_running_containers", "Number of containers currently running", containers),
    ] {
        let _written = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    let mut response = Response::new(full(out));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}

fn time(nanos: cri::UnixNanos) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default().to_string()
}
