//! Table columns of pods, above all the STATUS column.
//!
//! Upstream counterpart: `printPod` in `pkg/printers/internalversion/printers.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use registry::{Column, PrintCx, since};
use serde_json::{Value, json};

use crate::optional::{Items, Text};

type C = Column<Pod>;

pub(crate) static COLUMNS: &[Column<Pod>] = &[
    Column::NAME,
    C::string("Ready", |pod, _| {
        let summary = Summary::of(pod);
        json!(format!("{}/{}", summary.ready, summary.total))
    })
    .describe("The aggregate readiness state of this pod for accepting traffic."),
    C::string("Status", |pod, _| json!(Summary::of(pod).status))
        .describe("The aggregate status of the containers in this pod."),
    C::string("Restarts", |pod, cx| json!(Summary::of(pod).restarts(cx)))
        .describe("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
    Column::AGE,
    C::string("IP", |pod, _| {
        let ips = pod.status.as_ref().map_or(&[][..], |status| status.pod_ips.items());
        or_none(ips.first().map_or("", |ip| &ip.ip))
    })
    .wide()
    .describe("podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated."),
    C::string("Node", |pod, _| or_none(pod.spec.as_ref().map_or("", |spec| spec.node_name.text())))
        .wide()
        .describe("NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename"),
    C::string("Nominated Node", |pod, _| {
        or_none(pod.status.as_ref().map_or("", |status| status.nominated_node_name.text()))
    })
    .wide()
    .describe("nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled."),
    C::string("Readiness Gates", |pod, _| json!(readiness_gates(pod)))
        .wide()
        .describe("If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates"),
];

fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

/// What the READY, STATUS and RESTARTS columns say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) ready: usize,
    pub(crate) total: usize,
    pub(crate) status: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

// === impl Summary ===

impl Summary {
    pub(crate) fn of(pod: &Pod) -> Self {
        let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
            let total = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
            return Self { ready: 0, total, status: String::new(), restarts: 0, last_restart: None };
        };
        let conditions = status.conditions.items();
        let phase = status.phase.text();
        let mut reason = if status.reason.text().is_empty() { phase } else { status.reason.text() }.to_owned();
        if conditions.iter().any(|c| c.type_ == "PodScheduled" && c.reason.text() == "SchedulingGated") {
            reason = "SchedulingGated".to_owned();
        }

        let init_containers: BTreeMap<&str, &Container> =
            spec.init_containers.items().iter().map(|c| (c.name.as_str(), c)).collect();
        let sidecar = |name: &str| init_containers.get(name).is_some_and(|container| is_sidecar(container));
        let sidecars = spec.init_containers.items().iter().filter(|container| is_sidecar(container)).count();
        let mut summary = Self {
            ready: 0,
            total: spec.containers.len() + sidecars,
            status: String::new(),
            restarts: 0,
            last_restart: None,
        };

        let mut sidecar_restarts = Restarts::default();
        let mut all_restarts = Restarts::default();
        let mut initializing = false;
        for (index, container) in status.init_container_statuses.items().iter().enumerate() {
            all_restarts.add(container);
            let sidecar = sidecar(&container.name);
            if sidecar {
                sidecar_restarts.add(container);
            }
            match terminated(container) {
                Some(terminated) if terminated.exit_code == 0 => continue,
                _ if sidecar && container.started == Some(true) => {
                    summary.ready += usize::from(container.ready);
                    continue;
                }
                Some(terminated) => reason = format!("Init:{}", exit_reason(terminated)),
                None => {
                    let waiting = waiting_reason(container);
                    reason = if !waiting.is_empty() && waiting != "PodInitializing" {
                        format!("Init:{waiting}")
                    } else {
                        format!("Init:{index}/{}", spec.init_containers.items().len())
                    };
                }
            }
            initializing = true;
            break;
        }

        let mut restarts = all_restarts;
        if !initializing || is_true(conditions, "Initialized") {
            restarts = sidecar_restarts;
            let mut running = false;
            let mut failure = None;
            for container in status.container_statuses.items().iter().rev() {
                restarts.add(container);
                let waiting = waiting_reason(container);
                if !waiting.is_empty() {
                    reason = waiting.to_owned();
                } else if let Some(terminated) = terminated(container) {
                    reason = exit_reason(terminated);
                    if terminated.exit_code != 0 {
                        failure = Some(reason.clone());
                    }
                } else if container.ready && container.state.as_ref().is_some_and(|state| state.running.is_some()) {
                    running = true;
                    summary.ready += 1;
                }
            }
            // A finished container beside a running or a failed one does not make the pod finished.
            if reason == "Completed" {
                reason = match failure {
                    _ if running && is_true(conditions, "Ready") => "Running".to_owned(),
                    Some(failure) => failure,
                    None if running => "NotReady".to_owned(),
                    None => reason,
                };
            }
        }

        if pod.metadata.deletion_timestamp.is_some() {
            if status.reason.text() == "NodeLost" {
                reason = "Unknown".to_owned();
            } else if !matches!(phase, "Failed" | "Succeeded") {
                reason = "Terminating".to_owned();
            }
        }
        summary.status = reason;
        summary.restarts = restarts.count;
        summary.last_restart = restarts.last;
        summary
    }

    fn restarts(&self, cx: &PrintCx) -> String {
        match self.last_restart {
            Some(last) if self.restarts != 0 => format!("{} ({} ago)", self.restarts, since(Some(&Time(last)), cx)),
            _ => self.restarts.to_string(),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += i64::from(container.restart_count);
        let finished = container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .and_then(|terminated| terminated.finished_at.as_ref())
            .map(|Time(finished)| *finished);
        self.last = self.last.max(finished);
    }
}

/// An init container with `restartPolicy: Always` runs beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.text() == "Always"
}

fn terminated(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    container.state.as_ref()?.terminated.as_ref()
}

fn waiting_reason(container: &ContainerStatus) -> &str {
    container.state.as_ref().and_then(|state| state.waiting.as_ref()).map_or("", |waiting| waiting.reason.text())
}

fn exit_reason(terminated: &ContainerStateTerminated) -> String {
    match (terminated.reason.text(), terminated.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_true(conditions: &[PodCondition], kind: &str) -> bool {
    conditions.iter().find(|condition| condition.type_ == kind).is_some_and(|condition| condition.status == "True")
}

fn readiness_gates(pod: &Pod) -> String {
    let gates = pod.spec.as_ref().map_or(&[][..], |spec| spec.readiness_gates.items());
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = pod.status.as_ref().map_or(&[][..], |status| status.conditions.items());
    let open = gates.iter().filter(|gate| is_true(conditions, &gate.condition_type)).count();
    format!("{open}/{}", gates.len())
}
