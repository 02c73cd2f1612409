//! The node's conditions from what was measured. Pure. Upstream: pkg/kubelet/nodestatus/setters.go.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Available memory below this is pressure. Upstream: default hard eviction thresholds.
const MEMORY_FLOOR: i64 = 100 << 20;
/// Free disk below both of these is pressure: a tenth, as upstream, but on a large disk that is too careful.
const DISK_PERCENT: u64 = 10;
const DISK_FLOOR: u64 = 1 << 30;
const INODES_PERCENT: u64 = 5;

#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub memory_available: Option<i64>,
    /// Free and total bytes, free and total inodes of the disk.
    pub disk: Option<(u64, u64)>,
    pub inodes: Option<(u64, u64)>,
    /// Why the runtime does not work.
    pub runtime_error: Option<String>,
}

/// The conditions now; transition times are kept where the status stays the same.
pub(crate) fn conditions(measured: &Measured, before: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let memory = measured.memory_available.is_some_and(|available| available < MEMORY_FLOOR);
    let disk = measured.disk.is_some_and(|(free, total)| free * 100 < total * DISK_PERCENT && free < DISK_FLOOR)
        || measured.inodes.is_some_and(|(free, total)| total > 0 && free * 100 < total * INODES_PERCENT);
    let ready = match &measured.runtime_error {
        None => (true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Some(error) => (false, "KubeletNotReady", format!("container runtime is down: {error}")),
    };
    let pick = |bad: bool, worse: (&'static str, &str), fine: (&'static str, &str)| {
        let (reason, message) = if bad { worse } else { fine };
        (bad, reason, message.to_owned())
    };
    let all = [
        (
            "MemoryPressure",
            pick(
                memory,
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
        ),
        (
            "DiskPressure",
            pick(
                disk,
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
        ),
        (
            "PIDPressure",
            pick(
                false,
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ),
        ),
        ("Ready", ready),
    ];
    all.into_iter()
        .map(|(kind, (value, reason, message))| {
            let status = if value { "True" } else { "False" };
            let old = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: old.and_then(|old| old.last_transition_time.clone()).or(Some(Time(now))),
            }
        })
        .collect()
}

/// What an event says of a condition. Upstream: pkg/kubelet/events/event.go.
pub(crate) fn event_reason(kind: &str, holds: bool) -> &'static str {
    match (kind, holds) {
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        (_, true) => "NodeReady",
        (_, false) => "NodeNotReady",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_are_dated() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&Measured::default(), &[], at(1));
        let second =
            conditions(&Measured { runtime_error: Some("x".to_owned()), ..Measured::default() }, &first, at(9));
        let show = |list: &[NodeCondition]| {
            list.iter()
                .map(|c| format!("{}={}@{}", c.type_, c.status, c.last_transition_time.as_ref().unwrap().0.as_second()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(show(&first), "MemoryPressure=False@1 DiskPressure=False@1 PIDPressure=False@1 Ready=True@1");
        assert_eq!(show(&second), "MemoryPressure=False@1 DiskPressure=False@1 PIDPressure=False@1 Ready=False@9");
    }

    #[test]
    fn pressure() {
        let measured =
            Measured { memory_available: Some(1 << 20), disk: Some((1 << 29, 100 << 30)), ..Measured::default() };
        let list = conditions(&measured, &[], Timestamp::UNIX_EPOCH);
        assert_eq!((list[0].status.as_str(), list[1].status.as_str()), ("True", "True"));
    }
}
