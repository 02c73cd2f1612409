//! The cases, one a file: `run` measures and adds to the report.

pub(crate) mod burst;
pub(crate) mod idle;
pub(crate) mod idle_watches;
pub(crate) mod list;
pub(crate) mod objects;
pub(crate) mod overload;
pub(crate) mod pods;
pub(crate) mod scheduling;
pub(crate) mod watch;
pub(crate) mod watch_latency;

use kube::api::DynamicObject;
use serde_json::json;

use crate::target::object;

/// A ConfigMap whose JSON has about this many bytes.
pub(crate) fn config_map(name: &str, bytes: usize) -> anyhow::Result<DynamicObject> {
    object(json!({"metadata": {"name": name}, "data": {"data": "x".repeat(bytes.saturating_sub(250))}}))
}

/// A pod that sleeps and ends at once when it is told to.
pub(crate) fn sleeping_pod(name: &str, image: &str) -> anyhow::Result<DynamicObject> {
    object(json!({
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}],
        },
    }))
}

/// Microseconds of CPU for each of `count` operations.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn micros_each(before: crate::target::Usage, after: crate::target::Usage, count: usize) -> f64 {
    (after.cpu_seconds - before.cpu_seconds) * 1e6 / count.max(1) as f64
}
