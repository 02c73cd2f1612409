//! The pod's status as the API shows it, from the machine's facts.
//! Upstream: pkg/kubelet/kubelet_pods.go `generateAPIPodStatus`, `getPhase`, `convertToAPIContainerStatuses`;
//! pkg/kubelet/status/generate.go.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, HostIP, LinuxContainerUser, PodCondition, PodIP, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container::{Container, Ended, Exit, Life, Role, Run};
use super::*;

/// Conditions that the node's agent owns, in the order in which they are shown.
pub(crate) const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
/// Begins every container id, as `containerd://` does elsewhere.
pub(super) const ID_SCHEME: &str = "tiphys://";

/// A condition's value before it has a transition time.
struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const TRUE: Verdict = Verdict { status: true, reason: None, message: None };

    fn no(reason: &'static str, message: Option<String>) -> Verdict {
        Verdict { status: false, reason: Some(reason), message }
    }
}

impl Machine {
    /// The status now. Keeps the conditions' transition times up to date.
    pub(crate) fn status(&mut self, now: Timestamp) -> PodStatus {
        let terminal = self.is_terminal();
        let list = |roles: &[Role]| -> Option<Vec<ContainerStatus>> {
            let list: Vec<_> = self
                .containers
                .iter()
                .filter(|container| roles.contains(&container.role))
                .map(|container| self.container_status(container, terminal))
                .collect();
            (!list.is_empty()).then_some(list)
        };
        let container_statuses = list(&[Role::Main]);
        let init_container_statuses = list(&[Role::Init, Role::Sidecar]);
        let ephemeral_container_statuses = list(&[Role::Ephemeral]);
        let phase = self.phase(terminal);
        let (reason, message) = if terminal { self.reason() } else { (None, None) };
        self.set_conditions(phase, now);
        let ips = self.ips();
        let old = self.pod.status.clone().unwrap_or_default();
        PodStatus {
            phase: Some(phase.to_owned()),
            reason,
            message,
            conditions: Some(self.conditions.clone()),
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
            host_ip: self.node.host_ips.first().cloned(),
            host_ips: Some(self.node.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
            pod_ip: ips.first().cloned(),
            pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
            qos_class: old.qos_class.clone().or_else(|| Some(crate::qos::class_of(&self.pod).to_owned())),
            start_time: Some(Time(seconds(self.started_at))),
            observed_generation: self.pod.metadata.generation,
            ..old
        }
    }

    /// All containers have come to their last end (or never will begin).
    pub(crate) fn is_terminal(&self) -> bool {
        self.stop.is_some() && self.containers.iter().all(|container| container.is_down())
    }

    fn reason(&self) -> (Option<String>, Option<String>) {
        match &self.stop {
            Some(Stop { cause: Cause::Failed { reason, message }, .. }) => {
                (Some(reason.clone()), Some(message.clone()))
            }
            _ => (None, None),
        }
    }

    fn ips(&self) -> Vec<String> {
        if self.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
            return match self.any_sandbox() {
                Some(_) => self.node.host_ips.clone(),
                None => Vec::new(),
            };
        }
        match self.any_sandbox() {
            Some(info) if !info.ips.is_empty() => info.ips.clone(),
            // A pod that ended keeps showing the address it had.
            _ => {
                let status = self.pod.status.as_ref();
                status
                    .and_then(|status| status.pod_ips.as_ref())
                    .into_iter()
                    .flatten()
                    .map(|ip| ip.ip.clone())
                    .collect()
            }
        }
    }

    fn phase(&self, terminal: bool) -> &'static str {
        // Terminal only when nothing runs any more: the scheduler and controllers count on it.
        if terminal && matches!(&self.stop, Some(Stop { cause: Cause::Failed { .. }, .. })) {
            return "Failed";
        }
        let policy = self.restart_policy();
        let mut pending_init = 0;
        let mut failed_init = 0;
        let mut running_sidecars = 0;
        for container in &self.containers {
            match (container.role, &container.run) {
                (Role::Sidecar, Run::Running(_)) if container.started() || self.initialized => running_sidecars += 1,
                (Role::Sidecar, Run::Ended(_)) if self.initialized => {}
                (Role::Sidecar, _) if container.previous.is_some() && self.initialized => {}
                (Role::Sidecar, _) => pending_init += 1,
                (Role::Init, Run::Ended(ended)) if ended.exit.code == 0 => {}
                (Role::Init, Run::Ended(_)) => failed_init += 1,
                (Role::Init, _) => pending_init += 1,
                _ => {}
            }
        }
        let (mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
        for container in self.containers.iter().filter(|container| container.role == Role::Main) {
            match (&container.run, &container.previous) {
                (Run::Running(_), _) => running += 1,
                (Run::Ended(ended), _) => {
                    stopped += 1;
                    succeeded += usize::from(ended.exit.code == 0);
                }
                (_, Some(_)) => stopped += 1,
                (_, None) => waiting += 1,
            }
        }
        if terminal {
            return if stopped > 0 && waiting == 0 && stopped == succeeded { "Succeeded" } else { "Failed" };
        }
        if failed_init > 0 && policy == "Never" && running_sidecars == 0 {
            return "Failed";
        }
        if (pending_init > 0 || failed_init > 0) && !self.initialized {
            return "Pending";
        }
        if waiting > 0 {
            return "Pending";
        }
        if running > 0 {
            return "Running";
        }
        if stopped == 0 {
            return "Pending";
        }
        "Running"
    }

    fn container_status(&self, container: &Container, terminal: bool) -> ContainerStatus {
        let life = match &container.run {
            Run::Running(alive) => Some(&alive.life),
            _ => container.last_end().map(|ended| &ended.life),
        };
        let (state, last) = self.states(container, terminal);
        let spec_mounts = container.spec.volume_mounts.as_deref().unwrap_or_default();
        ContainerStatus {
            name: container.name().to_owned(),
            image: life
                .map(|life| life.image.clone())
                .filter(|image| !image.is_empty())
                .unwrap_or_else(|| container.image_name().to_owned()),
            image_id: life.map(|life| life.image_id.clone()).unwrap_or_default(),
            container_id: life.filter(|life| !life.id.is_empty()).map(|life| format!("{ID_SCHEME}{}", life.id)),
            restart_count: i32::try_from(container.restart_count).unwrap_or(i32::MAX),
            ready: container.ready(),
            started: (container.role != Role::Ephemeral).then(|| container.role != Role::Init && container.started()),
            state: Some(state),
            last_state: Some(last),
            allocated_resources: container.spec.resources.as_ref().and_then(|resources| resources.requests.clone()),
            resources: container
                .spec
                .resources
                .clone()
                .map(|resources| k8s_openapi::api::core::v1::ResourceRequirements { claims: None, ..resources }),
            user: container.alive().and_then(|alive| alive.life.user.as_ref()).map(|user| ContainerUser {
                linux: Some(LinuxContainerUser {
                    uid: user.uid,
                    gid: user.gid,
                    supplemental_groups: Some(user.supplemental_groups.clone()).filter(|groups| !groups.is_empty()),
                }),
            }),
            volume_mounts: (!spec_mounts.is_empty()).then(|| {
                spec_mounts
                    .iter()
                    .map(|mount| {
                        let read_only = mount.read_only.unwrap_or(false);
                        VolumeMountStatus {
                            name: mount.name.clone(),
                            mount_path: mount.mount_path.clone(),
                            read_only: read_only.then_some(true),
                            recursive_read_only: read_only.then(|| match mount.recursive_read_only.as_deref() {
                                Some("Enabled" | "IfPossible") => "Enabled".to_owned(),
                                _ => "Disabled".to_owned(),
                            }),
                            ..VolumeMountStatus::default()
                        }
                    })
                    .collect()
            }),
            ..ContainerStatus::default()
        }
    }

    /// The present and the last state.
    fn states(&self, container: &Container, terminal: bool) -> (ContainerState, ContainerState) {
        let last = container.previous.as_ref().map(terminated).unwrap_or_default();
        match &container.run {
            Run::Running(alive) => {
                let running = ContainerStateRunning { started_at: Some(Time(seconds(alive.life.started))) };
                (ContainerState { running: Some(running), ..ContainerState::default() }, last)
            }
            Run::Ended(ended) => match &container.waiting {
                Some((reason, message)) if !terminal && self.stop.is_none() => {
                    (waiting(reason, message), terminated(ended))
                }
                _ => (terminated(ended), last),
            },
            Run::Idle | Run::Starting | Run::StartFailed { .. } if terminal => {
                let lost = ContainerStateTerminated {
                    exit_code: 137,
                    reason: Some("ContainerStatusUnknown".to_owned()),
                    message: Some("The container could not be located when the pod was terminated".to_owned()),
                    ..ContainerStateTerminated::default()
                };
                let never_ran = matches!(&self.stop, Some(Stop { cause: Cause::Failed { .. }, .. }))
                    && self.any_sandbox().is_none();
                if never_ran || !self.initialized {
                    return (self.default_waiting(container), last);
                }
                (ContainerState { terminated: Some(lost), ..ContainerState::default() }, last)
            }
            Run::Idle | Run::Starting | Run::StartFailed { .. } => match &container.waiting {
                Some((reason, message)) => (waiting(reason, message), last),
                // Between two lives the end of the last one is what there is to see.
                None => match &container.previous {
                    Some(previous) => (terminated(previous), ContainerState::default()),
                    None => (self.default_waiting(container), last),
                },
            },
        }
    }

    fn default_waiting(&self, container: &Container) -> ContainerState {
        let has_init = self.containers.iter().any(|container| matches!(container.role, Role::Init | Role::Sidecar));
        let reason =
            if has_init && container.role != Role::Ephemeral { "PodInitializing" } else { "ContainerCreating" };
        waiting(reason, "")
    }

    // === conditions ===

    fn set_conditions(&mut self, phase: &str, now: Timestamp) {
        let ready_to_start = matches!(self.sandbox, Sandbox::Ready(_));
        let containers_ready = self.containers_ready(phase);
        let ready = match containers_ready {
            Verdict { status: true, .. } => self.readiness_gates(),
            Verdict { reason, ref message, .. } => Verdict { status: false, reason, message: message.clone() },
        };
        let initialized = self.initialized_condition(phase);
        let mut own = vec![
            ("PodReadyToStartContainers", Verdict { status: ready_to_start, reason: None, message: None }),
            ("Initialized", initialized),
            ("Ready", ready),
            ("ContainersReady", containers_ready),
        ];
        if !self.conditions.iter().any(|condition| condition.type_ == "PodScheduled") {
            own.push(("PodScheduled", Verdict::TRUE));
        }
        let generation = self.pod.metadata.generation;
        for (kind, verdict) in own {
            let status = if verdict.status { "True" } else { "False" };
            let position = self.conditions.iter().position(|condition| condition.type_ == kind);
            let transition = position
                .map(|position| &self.conditions[position])
                .filter(|condition| condition.status == status)
                .and_then(|condition| condition.last_transition_time.clone())
                .unwrap_or_else(|| Time(seconds(now)));
            let condition = PodCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.map(str::to_owned),
                message: verdict.message,
                last_transition_time: Some(transition),
                last_probe_time: None,
                observed_generation: generation,
            };
            match position {
                Some(position) => self.conditions[position] = condition,
                None => self.conditions.push(condition),
            }
        }
        let place = |kind: &str| OWN_CONDITIONS.iter().position(|own| *own == kind).unwrap_or(OWN_CONDITIONS.len());
        self.conditions.sort_by_key(|condition| place(&condition.type_));
    }

    fn containers_ready(&self, phase: &str) -> Verdict {
        match phase {
            "Succeeded" => return Verdict::no("PodCompleted", None),
            "Failed" => return Verdict::no("PodFailed", None),
            _ => {}
        }
        let unready =
            self.names(|container| matches!(container.role, Role::Main | Role::Sidecar) && !container.ready());
        if unready.is_empty() {
            return Verdict::TRUE;
        }
        Verdict::no("ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" "))))
    }

    fn readiness_gates(&self) -> Verdict {
        let gates = self.pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
        let mut missing = Vec::new();
        for gate in gates.into_iter().flatten() {
            let kind = &gate.condition_type;
            match self.conditions.iter().find(|condition| condition.type_ == *kind) {
                None => missing.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(condition) if condition.status != "True" => {
                    missing.push(format!(
                        "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                        condition.status
                    ));
                }
                Some(_) => {}
            }
        }
        if missing.is_empty() { Verdict::TRUE } else { Verdict::no("ReadinessGatesNotReady", Some(missing.join(", "))) }
    }

    fn initialized_condition(&self, phase: &str) -> Verdict {
        if phase == "Succeeded" {
            return Verdict { status: true, reason: Some("PodCompleted"), message: None };
        }
        let main_started = self.containers.iter().any(|container| {
            container.role == Role::Main && (container.alive().is_some() || container.last_end().is_some())
        });
        if main_started {
            return Verdict::TRUE;
        }
        let incomplete = self.names(|container| match container.role {
            Role::Init => !container.completed(),
            Role::Sidecar => !container.started(),
            _ => false,
        });
        if incomplete.is_empty() {
            return Verdict::TRUE;
        }
        Verdict::no(
            "ContainersNotInitialized",
            Some(format!("containers with incomplete status: [{}]", incomplete.join(" "))),
        )
    }

    fn names(&self, wanted: impl Fn(&Container) -> bool) -> Vec<&str> {
        self.containers.iter().filter(|container| wanted(container)).map(Container::name).collect()
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()).filter(|message| !message.is_empty()),
        }),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let exit = &ended.exit;
    let reason = match (exit.reason.as_str(), exit.code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (given, _) => given,
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("{ID_SCHEME}{}", ended.life.id)).filter(|_| !ended.life.id.is_empty()),
            exit_code: exit.code,
            // The exit code already carries the signal; runtimes do not report it apart.
            signal: None,
            started_at: Some(Time(seconds(ended.life.started))),
            finished_at: Some(Time(seconds(exit.finished))),
            reason: Some(reason.to_owned()),
            message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        }),
        ..ContainerState::default()
    }
}

/// An end that only the API still remembers.
pub(super) fn ended_from_api(status: &ContainerStatus) -> Option<Ended> {
    let terminated = status.state.as_ref()?.terminated.as_ref()?;
    let id = terminated.container_id.as_deref().unwrap_or_default();
    Some(Ended {
        life: Life {
            id: id.strip_prefix(ID_SCHEME).unwrap_or(id).to_owned(),
            started: terminated.started_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            image: status.image.clone(),
            image_id: status.image_id.clone(),
            user: None,
        },
        exit: Exit {
            code: terminated.exit_code,
            signal: terminated.signal,
            finished: terminated.finished_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            reason: terminated.reason.clone().unwrap_or_default(),
            message: terminated.message.clone().unwrap_or_default(),
        },
        restart: false,
    })
}

/// The API keeps whole seconds: comparing with what it returns must not see a difference.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
