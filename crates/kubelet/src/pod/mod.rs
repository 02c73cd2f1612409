//! The life of one pod on this node as a pure state machine: inputs in, actions out, no I/O, no clock.
//!
//! The machine keeps facts (`Machine`'s fields); every input changes facts, and `step` then derives all actions
//! that the facts call for. An action that was issued is itself a fact (a sandbox is `Creating`, a container
//! `Starting`), so that nothing is ordered twice. Upstream: pkg/kubelet/pod_workers.go, kuberuntime_manager.go
//! `computePodActions`, pkg/kubelet/prober.

mod backoff;
mod container;
mod probe;
mod status;
mod step;
mod stop;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use container::{Container, Ended, Hook, Run};
pub(crate) use container::{Exit, ImageReady, Life, LinuxUser, Role, containers_of};
pub(crate) use probe::{Outcome, ProbeKind};

use informer::EventKind;

/// Position of a container in the machine. Stable: containers are only ever appended.
pub(crate) type Index = usize;

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The pod as the API has it now.
    Pod(Arc<Pod>),
    /// The API no longer has it.
    Gone,
    /// The node refuses it.
    Rejected {
        reason: String,
        message: String,
    },
    /// The node ends it (eviction and the like).
    Evicted {
        reason: String,
        message: String,
    },
    Volumes(Result<(), String>),
    /// Objects that volumes or environments refer to have changed.
    DependencyChanged,
    Sandbox(Result<SandboxInfo, String>),
    SandboxDied,
    SandboxStopped(Result<(), String>),
    Image {
        container: Index,
        result: Result<ImageReady, ImageFailure>,
    },
    Started {
        container: Index,
        result: Result<Life, StartFailure>,
    },
    PostStart {
        container: Index,
        id: String,
        result: Result<(), String>,
    },
    Exited {
        id: String,
        exit: Exit,
    },
    Probed {
        container: Index,
        id: String,
        kind: ProbeKind,
        outcome: Outcome,
    },
    CleanedUp(Result<(), String>),
    Deleted(Result<(), String>),
    /// Time went by.
    Tick,
}

/// A sandbox that is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SandboxInfo {
    pub id: String,
    pub ips: Vec<String>,
    pub attempt: u32,
}

/// Why an image is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFailure {
    /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`, …
    pub reason: &'static str,
    pub message: String,
}

/// Why a container did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartFailure {
    /// `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`.
    pub reason: &'static str,
    pub message: String,
    /// It was created and its command could not be executed: counts as an end with an exit code.
    pub ended: Option<Box<(Life, Exit)>>,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SetUpVolumes,
    CreateSandbox {
        attempt: u32,
    },
    EnsureImage {
        container: Index,
    },
    StartContainer {
        container: Index,
        attempt: u32,
        image: String,
    },
    RunPostStart {
        container: Index,
        id: String,
    },
    /// Run the pre-stop hook within `grace`, then stop within what is left of it.
    Kill {
        container: Index,
        id: String,
        grace: SignedDuration,
        pre_stop: bool,
    },
    RunProbe {
        container: Index,
        id: String,
        kind: ProbeKind,
    },
    RemoveContainer {
        id: String,
    },
    StopSandbox {
        id: String,
    },
    /// Release what is left on the node: containers, sandbox, volumes, directories, cgroup.
    CleanUp,
    /// A terminal pod whose object stays: release volumes and cgroup, keep containers for their logs.
    ReleaseVolumes,
    DeleteFromApi,
    Event {
        kind: EventKind,
        reason: &'static str,
        message: String,
        container: Option<Index>,
    },
}

/// The facts about one pod.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) pod: Arc<Pod>,
    pub(crate) node: NodeFacts,
    pub(crate) containers: Vec<Container>,
    pub(crate) volumes: Volumes,
    pub(crate) sandbox: Sandbox,
    pub(crate) sandbox_attempts: u32,
    pub(crate) stop: Option<Stop>,
    pub(crate) cleanup: Cleanup,
    /// All init containers were through once in this sandbox.
    pub(crate) initialized: bool,
    pub(crate) started_at: Timestamp,
    /// Conditions of the status, with their transition times.
    pub(crate) conditions: Vec<PodCondition>,
    pub(crate) gone: bool,
    /// Dead containers beyond what logs need.
    pub(crate) garbage: Vec<String>,
    /// Ends of containers whose start is not known yet.
    pub(crate) early_exits: std::collections::HashMap<String, Exit>,
    /// When everything that was due was last seen to.
    pub(crate) stepped: Timestamp,
}

/// What the status says about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub host_ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Volumes {
    Idle,
    SettingUp,
    Ready,
    Failed { retry: Timestamp, delay: SignedDuration },
    Released,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    None,
    Creating,
    Ready(SandboxInfo),
    Failed {
        retry: Timestamp,
        delay: SignedDuration,
    },
    Stopping(SandboxInfo),
    StopFailed {
        info: SandboxInfo,
        retry: Timestamp,
        delay: SignedDuration,
    },
    /// Stopped for good, or for a successor when the pod goes on.
    Stopped(SandboxInfo),
}

/// The pod is coming down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub cause: Cause,
    pub deadline: Timestamp,
    pub grace: SignedDuration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// All its containers came to their end by themselves.
    Completed,
    /// The node ended it: phase Failed with this reason.
    Failed { reason: String, message: String },
    /// Deleted through the API.
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    NotYet,
    /// Volumes of a terminal pod were ordered released.
    Released,
    Running,
    Failed {
        retry: Timestamp,
        delay: SignedDuration,
    },
    Done,
    Deleting,
    DeleteFailed {
        retry: Timestamp,
        delay: SignedDuration,
    },
    Finished,
}

/// What the runtime still had of a pod when the node's agent started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Adopted {
    pub sandbox: Option<SandboxInfo>,
    pub containers: Vec<AdoptedContainer>,
}

#[derive(Clone, Debug)]
pub(crate) struct AdoptedContainer {
    pub name: String,
    pub attempt: u32,
    pub life: Life,
    /// `None`: still running.
    pub exit: Option<Exit>,
}

// === impl Machine ===

impl Machine {
    /// A pod that this node sees for the first time since its agent started.
    pub(crate) fn new(pod: Arc<Pod>, node: NodeFacts, adopted: Adopted, now: Timestamp) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let mut machine = Machine {
            containers: containers_of(&pod).into_iter().map(|(spec, role)| Container::new(spec, role)).collect(),
            node,
            volumes: Volumes::Idle,
            sandbox: Sandbox::None,
            sandbox_attempts: 0,
            stop: None,
            cleanup: Cleanup::NotYet,
            initialized: false,
            started_at: status.start_time.map_or(now, |time| time.0),
            conditions: status.conditions.unwrap_or_default(),
            gone: false,
            garbage: Vec::new(),
            early_exits: Default::default(),
            stepped: Timestamp::MIN,
            pod,
        };
        machine.adopt(adopted);
        machine.resume_terminal();
        machine
    }

    pub(crate) fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    pub(crate) fn container(&self, index: Index) -> Option<&Container> {
        self.containers.get(index)
    }

    pub(crate) fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Any sandbox the runtime may still hold for it.
    pub(crate) fn any_sandbox(&self) -> Option<&SandboxInfo> {
        match &self.sandbox {
            Sandbox::Ready(info)
            | Sandbox::Stopping(info)
            | Sandbox::Stopped(info)
            | Sandbox::StopFailed { info, .. } => Some(info),
            _ => None,
        }
    }

    /// Nothing more will ever come of it; its task can end.
    pub(crate) fn is_finished(&self) -> bool {
        self.cleanup == Cleanup::Finished
    }

    /// It was asked to come down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// It holds no resources of the node any more.
    pub(crate) fn is_released(&self) -> bool {
        !matches!(self.cleanup, Cleanup::NotYet)
    }

    fn adopt(&mut self, adopted: Adopted) {
        if let Some(info) = adopted.sandbox {
            self.sandbox_attempts = info.attempt + 1;
            self.sandbox = Sandbox::Ready(info);
        }
        let statuses = api_statuses(&self.pod);
        let mut lives = adopted.containers;
        lives.sort_by_key(|container| container.attempt);
        for adopted in lives {
            let Some(container) = self.containers.iter_mut().find(|container| container.name() == adopted.name) else {
                continue;
            };
            if let Run::Ended(ended) = std::mem::replace(&mut container.run, Run::Idle)
                && let Some(older) = container.previous.replace(ended)
            {
                self.garbage.push(older.life.id);
            }
            container.restart_count = adopted.attempt;
            match adopted.exit {
                Some(exit) => container.run = Run::Ended(Ended { life: adopted.life, exit, restart: false }),
                None => {
                    let id = adopted.life.id.clone();
                    container.begin_life(adopted.life);
                    // Hooks and probes had their say before the restart: the status in the API remembers it.
                    container.post_start = Hook::Absent;
                    let known = statuses
                        .iter()
                        .find(|status| status.container_id.as_deref().is_some_and(|full| full.ends_with(&id)));
                    if let Some(known) = known {
                        for (kind, state) in &mut container.probes {
                            match kind {
                                ProbeKind::Startup if known.started == Some(true) => state.assume(true),
                                ProbeKind::Readiness if known.ready => state.assume(true),
                                _ => {}
                            }
                        }
                    }
                }
            }
        }
        let started_before = self.containers.iter().any(|container| {
            container.role == Role::Main && (container.alive().is_some() || container.last_end().is_some())
        });
        self.initialized = started_before;
        // Restart counts survive even when the runtime lost its containers.
        for status in statuses {
            if let Some(container) = self.containers.iter_mut().find(|container| container.name() == status.name) {
                let known = u32::try_from(status.restart_count).unwrap_or(0);
                if container.restart_count < known {
                    container.restart_count = known;
                }
                let nothing = matches!(container.run, Run::Idle) && container.previous.is_none();
                if nothing && let Some(ended) = status::ended_from_api(&status) {
                    container.run = Run::Ended(ended);
                }
            }
        }
    }

    /// A pod whose phase in the API is terminal never runs again.
    fn resume_terminal(&mut self) {
        let Some(status) = &self.pod.status else { return };
        let cause = match status.phase.as_deref() {
            Some("Succeeded") => Cause::Completed,
            Some("Failed") => match &status.reason {
                Some(reason) if !reason.is_empty() => {
                    Cause::Failed { reason: reason.clone(), message: status.message.clone().unwrap_or_default() }
                }
                _ => Cause::Completed,
            },
            _ => return,
        };
        self.stop = Some(Stop { cause, deadline: self.started_at, grace: SignedDuration::from_secs(1) });
    }
}

/// All container statuses that the API has.
pub(crate) fn api_statuses(pod: &Pod) -> Vec<k8s_openapi::api::core::v1::ContainerStatus> {
    let Some(status) = &pod.status else { return Vec::new() };
    [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .cloned()
        .collect()
}
