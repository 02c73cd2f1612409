//! What the machine knows of one container of a pod. Facts only; deciding is in `step`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, EphemeralContainer, Pod};

use super::backoff::Backoff;
use super::probe::{ProbeKind, ProbeState};

/// Which list of the pod's spec a container comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to completion before the next one.
    Init,
    /// An init container with restartPolicy Always: starts in order, runs beside the others, stops last.
    Sidecar,
    Main,
    Ephemeral,
}

/// One container: its spec, its present life and its last one.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub spec: Arc<Spec>,
    pub role: Role,
    pub image: Image,
    pub image_backoff: Backoff,
    pub run: Run,
    /// How the last life before the present one ended.
    pub previous: Option<Ended>,
    pub restart_count: u32,
    pub backoff: Backoff,
    pub probes: Vec<(ProbeKind, ProbeState)>,
    pub post_start: Hook,
    /// Why it waits, when that is more than "being created".
    pub waiting: Option<(String, String)>,
    /// The back-off event was sent for the life that ended at this moment.
    pub backoff_announced: Option<Timestamp>,
}

/// The image for the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    Unknown,
    Ensuring,
    Ready(ImageReady),
    /// Not to be had; tried again at `retry`. From `settle` on it counts as backing off.
    Failed {
        settle: Option<Timestamp>,
        retry: Timestamp,
        error: String,
    },
}

/// An image that is on the node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct ImageReady {
    /// What the runtime starts a container from.
    pub reference: String,
}

/// A container's present life.
#[derive(Clone, Debug)]
pub(crate) enum Run {
    /// No life yet, or (after `previous`) waiting for the next.
    Idle,
    /// Create and start are under way.
    Starting,
    /// Could not be created; tried again then.
    StartFailed {
        retry: Timestamp,
    },
    Running(Alive),
    Ended(Ended),
}

/// A running container.
#[derive(Clone, Debug)]
pub(crate) struct Alive {
    pub life: Life,
    /// A kill is under way.
    pub kill: Option<Kill>,
}

/// What stays true of a container after its end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Life {
    pub id: String,
    pub started: Timestamp,
    /// The image's name and identity as the runtime reports them.
    pub image: String,
    pub image_id: String,
    /// Numeric identity of the first process, when known.
    pub user: Option<LinuxUser>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct LinuxUser {
    pub uid: i64,
    pub gid: i64,
    pub supplemental_groups: Vec<i64>,
}

/// A kill that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub deadline: Timestamp,
    /// A restart follows at once, whatever the exit code.
    pub restart: bool,
}

/// The end of a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub life: Life,
    pub exit: Exit,
    /// It was told to stop because its spec changed or a probe failed: restart regardless of the policy.
    pub restart: bool,
}

/// How a container's first process ended.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
    pub finished: Timestamp,
    /// Empty: derived from the code.
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Absent,
    Pending,
    Running,
    Done,
}

// === impl Container ===

impl Container {
    pub(crate) fn new(spec: Arc<Spec>, role: Role) -> Self {
        Container {
            spec,
            role,
            image: Image::Unknown,
            image_backoff: Backoff::default(),
            run: Run::Idle,
            previous: None,
            restart_count: 0,
            backoff: Backoff::default(),
            probes: Vec::new(),
            post_start: Hook::Absent,
            waiting: None,
            backoff_announced: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn image_name(&self) -> &str {
        self.spec.image.as_deref().unwrap_or_default()
    }

    pub(crate) fn alive(&self) -> Option<&Alive> {
        match &self.run {
            Run::Running(alive) => Some(alive),
            _ => None,
        }
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.run {
            Run::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// The end of the last life, whether or not the next is being prepared.
    pub(crate) fn last_end(&self) -> Option<&Ended> {
        self.ended().or(self.previous.as_ref())
    }

    /// Neither running nor about to.
    pub(crate) fn is_down(&self) -> bool {
        !matches!(self.run, Run::Starting | Run::Running(_))
    }

    /// An init container that did its work.
    pub(crate) fn completed(&self) -> bool {
        self.ended().is_some_and(|ended| ended.exit.code == 0 && !ended.restart)
    }

    /// It runs, its post-start hook returned and its startup probe (if any) passed.
    pub(crate) fn started(&self) -> bool {
        let hook = matches!(self.post_start, Hook::Absent | Hook::Done);
        self.alive().is_some()
            && hook
            && self.probes.iter().all(|(kind, state)| *kind != ProbeKind::Startup || state.passes())
    }

    pub(crate) fn ready(&self) -> bool {
        match self.role {
            Role::Init => self.completed(),
            Role::Ephemeral => false,
            Role::Sidecar | Role::Main => {
                self.started()
                    && self.probes.iter().all(|(kind, state)| *kind != ProbeKind::Readiness || state.passes())
            }
        }
    }

    /// Begins a life.
    pub(crate) fn begin_life(&mut self, life: Life) {
        self.begin_probes(life.started);
        self.post_start = match self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) {
            Some(_) => Hook::Pending,
            None => Hook::Absent,
        };
        self.waiting = None;
        self.run = Run::Running(Alive { life, kill: None });
    }

    fn begin_probes(&mut self, started: Timestamp) {
        self.probes.clear();
        if !matches!(self.role, Role::Main | Role::Sidecar) {
            return;
        }
        for kind in ProbeKind::ALL {
            if let Some(probe) = kind.of(&self.spec) {
                self.probes.push((kind, ProbeState::new(kind, probe, started)));
            }
        }
    }

    /// Whether a new life follows an end with `code`, by the container's rules, its own policy, or the pod's.
    pub(crate) fn restarts_after(&self, code: i32, pod_policy: &str) -> bool {
        if self.role == Role::Ephemeral {
            return false;
        }
        for rule in self.spec.restart_policy_rules.iter().flatten() {
            let Some(codes) = &rule.exit_codes else { continue };
            let listed = codes.values.iter().flatten().any(|value| *value == code);
            let matches = if codes.operator == "NotIn" { !listed } else { listed };
            if matches {
                return rule.action == "Restart";
            }
        }
        let policy = match (self.role, self.spec.restart_policy.as_deref()) {
            (_, Some(own)) => own,
            // An init container that succeeded is never run again; one that failed is, unless Never.
            (Role::Init, None) if pod_policy == "Always" => "OnFailure",
            (_, None) => pod_policy,
        };
        match policy {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => self.role != Role::Init || code != 0,
        }
    }
}

/// All containers of a pod's spec, in starting order: init containers, containers, ephemeral ones.
pub(crate) fn containers_of(pod: &Pod) -> Vec<(Arc<Spec>, Role)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (Arc::new(container.clone()), if sidecar { Role::Sidecar } else { Role::Init })
    });
    let main = spec.containers.iter().map(|container| (Arc::new(container.clone()), Role::Main));
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|container| (Arc::new(from_ephemeral(container)), Role::Ephemeral));
    init.chain(main).chain(ephemeral).collect()
}

fn from_ephemeral(container: &EphemeralContainer) -> Spec {
    let container = container.clone();
    Spec {
        name: container.name,
        image: container.image,
        command: container.command,
        args: container.args,
        working_dir: container.working_dir,
        env: container.env,
        env_from: container.env_from,
        volume_mounts: container.volume_mounts,
        volume_devices: container.volume_devices,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        image_pull_policy: container.image_pull_policy,
        security_context: container.security_context,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        ..Spec::default()
    }
}
