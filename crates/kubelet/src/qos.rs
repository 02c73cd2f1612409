//! Quality of service: a pod's class, its cgroup and the weights and limits that follow from its resources.
//! Upstream: pkg/apis/core/v1/helper/qos, pkg/kubelet/qos/policy.go, pkg/kubelet/cm/helpers_linux.go.

use std::collections::BTreeMap;

use apimachinery::Quantity;
use cri::LinuxResources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

type ResourceList = BTreeMap<String, ApiQuantity>;

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
/// The kernel's default period for CPU quotas, in microseconds.
const QUOTA_PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1_000;

pub(crate) const GUARANTEED: &str = "Guaranteed";
pub(crate) const BURSTABLE: &str = "Burstable";
pub(crate) const BEST_EFFORT: &str = "BestEffort";

/// A resource's amount, zero where absent or malformed.
pub(crate) fn amount(list: Option<&ResourceList>, name: &str) -> Quantity {
    list.and_then(|list| list.get(name)).and_then(|quantity| quantity.0.parse().ok()).unwrap_or(Quantity::ZERO)
}

/// What a container asks for; a limit stands for an absent request.
pub(crate) fn request(resources: Option<&ResourceRequirements>, name: &str) -> Quantity {
    let Some(resources) = resources else { return Quantity::ZERO };
    let asked = amount(resources.requests.as_ref(), name);
    if asked.is_zero() && resources.requests.as_ref().is_none_or(|requests| !requests.contains_key(name)) {
        return limit(Some(resources), name);
    }
    asked
}

pub(crate) fn limit(resources: Option<&ResourceRequirements>, name: &str) -> Quantity {
    amount(resources.and_then(|resources| resources.limits.as_ref()), name)
}

/// The pod's class.
pub(crate) fn class_of(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else { return BEST_EFFORT };
    if let Some(resources) = spec.resources.as_ref().filter(|own| own.requests.is_some() || own.limits.is_some()) {
        return class_of_resources(std::iter::once(Some(resources)));
    }
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    class_of_resources(all.map(|container| container.resources.as_ref()))
}

fn class_of_resources<'a>(all: impl Iterator<Item = Option<&'a ResourceRequirements>>) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for resources in all {
        for name in ["cpu", "memory"] {
            let (request, limit) = (request(resources, name), limit(resources, name));
            any |= request.sign() > 0 || limit.sign() > 0;
            guaranteed &= limit.sign() > 0 && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => BEST_EFFORT,
        (true, true) => GUARANTEED,
        (true, false) => BURSTABLE,
    }
}

/// The pod's cgroup as a path below each hierarchy's mount. Upstream's cgroupfs driver names it the same way.
pub(crate) fn cgroup_of(root: &str, pod: &Pod) -> String {
    let root = root.trim_end_matches('/');
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match class_of(pod) {
        GUARANTEED => format!("{root}/pod{uid}"),
        BURSTABLE => format!("{root}/burstable/pod{uid}"),
        _ => format!("{root}/besteffort/pod{uid}"),
    }
}

/// How readily the kernel kills a container's processes when memory runs out.
pub(crate) fn oom_score_adjust(pod: &Pod, container: &Container, memory_capacity: i64) -> i32 {
    if pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= 2_000_000_000) {
        return -997;
    }
    match class_of(pod) {
        GUARANTEED => -997,
        BEST_EFFORT => 1000,
        _ => {
            let asked = i128::from(request(container.resources.as_ref(), "memory").value());
            let score = 1000 - (1000 * asked) / i128::from(memory_capacity.max(1));
            // Above guaranteed, below best effort.
            i32::try_from(score.clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// CPU weight on the scale of cgroup v1.
pub(crate) fn shares(milli_cpu: i64) -> i64 {
    if milli_cpu <= 0 {
        return MIN_SHARES;
    }
    (milli_cpu.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CPU time in each period, absent without a limit.
pub(crate) fn quota(milli_cpu: i64) -> Option<i64> {
    (milli_cpu > 0).then(|| (milli_cpu.saturating_mul(QUOTA_PERIOD) / 1000).max(MIN_QUOTA))
}

/// A container's limits for the runtime.
pub(crate) fn container_resources(
    pod: &Pod,
    container: &Container,
    memory_capacity: i64,
    pids_limit: Option<i64>,
) -> LinuxResources {
    let resources = container.resources.as_ref();
    let cpu_quota = quota(limit(resources, "cpu").milli_value());
    let memory = limit(resources, "memory").value();
    let hugepage_limits = resources
        .and_then(|resources| resources.limits.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|(name, quantity)| {
            let size = name.strip_prefix("hugepages-")?;
            let bytes = quantity.0.parse::<Quantity>().ok()?.value();
            Some((format!("{}B", size.trim_end_matches('i')), u64::try_from(bytes).ok()?))
        })
        .collect();
    LinuxResources {
        cpu_shares: Some(shares(request(resources, "cpu").milli_value())),
        cpu_period: cpu_quota.map(|_| QUOTA_PERIOD),
        cpu_quota,
        memory_limit: (memory > 0).then_some(memory),
        // No swap beyond memory: equal to the memory limit.
        memory_swap_limit: (memory > 0).then_some(memory),
        oom_score_adj: Some(oom_score_adjust(pod, container, memory_capacity)),
        pids_limit,
        hugepage_limits,
        ..LinuxResources::default()
    }
}

/// The limits of the whole pod's cgroup.
pub(crate) fn pod_resources(pod: &Pod, pids_limit: Option<i64>) -> LinuxResources {
    let total = |name: &str, of: fn(Option<&ResourceRequirements>, &str) -> Quantity| pod_total(pod, name, of);
    let cpu_request = total("cpu", request).milli_value();
    let limited = |name: &str| {
        let Some(spec) = &pod.spec else { return false };
        if limit(spec.resources.as_ref(), name).sign() > 0 {
            return true;
        }
        spec.containers.iter().all(|container| limit(container.resources.as_ref(), name).sign() > 0)
    };
    let cpu_quota = if limited("cpu") { quota(total("cpu", limit).milli_value()) } else { None };
    let memory_limit = limited("memory").then(|| total("memory", limit).value());
    LinuxResources {
        cpu_shares: Some(shares(cpu_request)),
        cpu_period: cpu_quota.map(|_| QUOTA_PERIOD),
        cpu_quota,
        memory_limit,
        pids_limit,
        ..LinuxResources::default()
    }
}

/// A resource summed over a pod: its containers and sidecars together, or the largest init container with the
/// sidecars started before it, whichever is more; plus overhead. Upstream: `resourcehelper.PodRequests`.
pub(crate) fn pod_total(pod: &Pod, name: &str, of: fn(Option<&ResourceRequirements>, &str) -> Quantity) -> Quantity {
    let Some(spec) = &pod.spec else { return Quantity::ZERO };
    let overhead = amount(spec.overhead.as_ref(), name);
    if let Some(own) = &spec.resources {
        let own = of(Some(own), name);
        if own.sign() > 0 {
            return own.plus(&overhead);
        }
    }
    let mut sum =
        spec.containers.iter().fold(Quantity::ZERO, |sum, container| sum.plus(&of(container.resources.as_ref(), name)));
    let mut sidecars = Quantity::ZERO;
    let mut peak = Quantity::ZERO;
    for container in spec.init_containers.iter().flatten() {
        let own = of(container.resources.as_ref(), name);
        if container.restart_policy.as_deref() == Some("Always") {
            sum = sum.plus(&own);
            sidecars = sidecars.plus(&own);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.plus(&own));
        }
    }
    sum.max(peak).plus(&overhead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}}))
            .unwrap()
    }

    #[test]
    fn classes() {
        let of =
            |resources: serde_json::Value| class_of(&pod(serde_json::json!([{"name": "a", "resources": resources}])));
        assert_eq!(of(serde_json::json!({})), BEST_EFFORT);
        assert_eq!(of(serde_json::json!({"requests": {"cpu": "1"}})), BURSTABLE);
        assert_eq!(of(serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}})), GUARANTEED);
        assert_eq!(
            of(serde_json::json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
            BURSTABLE
        );
        assert_eq!(of(serde_json::json!({"requests": {"example.com/gpu": "1"}})), BEST_EFFORT);
    }

    #[test]
    fn weights_and_quotas() {
        assert_eq!(shares(0), 2);
        assert_eq!(shares(1), 2);
        assert_eq!(shares(250), 256);
        assert_eq!(quota(0), None);
        assert_eq!(quota(5), Some(1_000));
        assert_eq!(quota(500), Some(50_000));
    }

    #[test]
    fn oom_scores_lie_between_the_classes() {
        let gib = 1 << 30;
        let pod = pod(serde_json::json!([{"name": "a", "resources": {"requests": {"memory": "512Mi"}}}]));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!(oom_score_adjust(&pod, container, gib), 500);
        assert_eq!(oom_score_adjust(&pod, container, gib / 2), 3);
        assert_eq!(oom_score_adjust(&pod, container, gib * 4096), 999);
    }

    #[test]
    fn the_largest_init_container_counts_when_it_is_larger() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "init", "resources": {"requests": {"cpu": "1"}}}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "300m"}}}]}}))
        .unwrap();
        assert_eq!(pod_total(&pod, "cpu", request).milli_value(), 1100);
    }
}
