//! Deciding: an input becomes facts, facts become actions.
//! Upstream: pkg/kubelet/kuberuntime/kuberuntime_manager.go `computePodActions`, `SyncPod`, `doBackOff`.

use jiff::{SignedDuration, Timestamp};

use super::container::{Ended, Exit, Hook, Image, Kill, Life, Role, Run};
use super::probe::{Outcome, ProbeKind};
use super::*;
use informer::EventKind::{Normal, Warning};

/// First wait before something other than a container or an image is tried again.
const RETRY_FIRST: SignedDuration = SignedDuration::from_millis(500);
/// Longest such wait.
const RETRY_LAST: SignedDuration = SignedDuration::from_secs(122);
/// Wait before a container whose configuration could not be made is tried again.
const RETRY_START: SignedDuration = SignedDuration::from_secs(10);
/// For how long a failed pull shows its own error before it shows as backing off.
const PULL_ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(5);

/// Reasons for waiting that go when the image is there.
const IMAGE_REASONS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

impl Machine {
    /// Takes one input and says everything that is to be done now.
    pub(crate) fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Action> {
        let mut out = Vec::new();
        self.note(input, now, &mut out);
        self.step(now, &mut out);
        self.stepped = now;
        out
    }

    /// When `Tick` is due at the latest.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        let mut times: Vec<Timestamp> = Vec::new();
        match &self.volumes {
            Volumes::Failed { retry, .. } if self.stop.is_none() => times.push(*retry),
            _ => {}
        }
        match &self.sandbox {
            Sandbox::Failed { retry, .. } if self.stop.is_none() => times.push(*retry),
            Sandbox::StopFailed { retry, .. } => times.push(*retry),
            _ => {}
        }
        match &self.cleanup {
            Cleanup::Failed { retry, .. } | Cleanup::DeleteFailed { retry, .. } => times.push(*retry),
            _ => {}
        }
        if self.stop.is_none() {
            times.extend(self.deadline());
        }
        for container in &self.containers {
            if let Some(alive) = container.alive()
                && alive.kill.is_none()
            {
                times.extend(self.probes_due(container));
            }
            if self.stop.is_some() {
                continue;
            }
            match &container.run {
                Run::StartFailed { retry } => times.push(*retry),
                Run::Ended(ended) => times.extend(container.backoff.wait_until(ended.exit.finished, Timestamp::MIN)),
                _ => {}
            }
            if let Image::Failed { settle, retry, .. } = &container.image {
                times.push(settle.unwrap_or(*retry));
            }
        }
        // What was due at the last step was done then, or waits for something other than time.
        times.into_iter().filter(|time| *time > self.stepped).min()
    }

    /// When `activeDeadlineSeconds` runs out.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        self.started_at.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    fn probes_due<'a>(&self, container: &'a Container) -> impl Iterator<Item = Timestamp> + 'a {
        let deleting = self.stop.is_some();
        let starting = !container.started();
        container.probes.iter().filter_map(move |(kind, state)| {
            // Before it has started only the startup probe runs, and while it comes down only the readiness probe.
            let wanted = match kind {
                ProbeKind::Startup => !deleting,
                ProbeKind::Liveness => !deleting && !starting,
                ProbeKind::Readiness => !starting,
            };
            if wanted { state.due() } else { None }
        })
    }

    // === facts ===

    fn note(&mut self, input: Input, now: Timestamp, out: &mut Vec<Action>) {
        match input {
            Input::Pod(pod) => self.note_pod(pod, now, out),
            Input::Gone => {
                self.gone = true;
                self.begin_stop(Cause::Deleted, SignedDuration::from_secs(1), now);
                if let Cleanup::DeleteFailed { .. } | Cleanup::Deleting = self.cleanup {
                    self.cleanup = Cleanup::Finished;
                }
            }
            Input::Rejected { reason, message } => {
                // Whoever refused it has told the user.
                self.begin_stop(Cause::Failed { reason, message }, SignedDuration::ZERO, now);
            }
            Input::Evicted { reason, message } => {
                let grace = self.spec_grace();
                self.begin_stop(Cause::Failed { reason, message }, grace, now);
            }
            Input::Volumes(Ok(())) => self.volumes = Volumes::Ready,
            Input::Volumes(Err(_)) => {
                // The volume manager has told the user, volume by volume.
                let delay = match &self.volumes {
                    Volumes::Failed { delay, .. } => raise(*delay),
                    _ => RETRY_FIRST,
                };
                self.volumes = Volumes::Failed { retry: after(now, delay), delay };
            }
            Input::DependencyChanged => {
                if let Volumes::Failed { retry, .. } = &mut self.volumes {
                    *retry = now;
                }
                for container in &mut self.containers {
                    if let Run::StartFailed { retry } = &mut container.run {
                        *retry = now;
                    }
                }
            }
            Input::Sandbox(Ok(info)) => self.sandbox = Sandbox::Ready(info),
            Input::Sandbox(Err(message)) => {
                out.push(Action::Event {
                    kind: Warning,
                    reason: "FailedCreatePodSandBox",
                    message: format!("Failed to create pod sandbox: {message}"),
                    container: None,
                });
                let delay = match &self.sandbox {
                    Sandbox::Failed { delay, .. } => raise(*delay),
                    _ => RETRY_FIRST,
                };
                self.sandbox = Sandbox::Failed { retry: after(now, delay), delay };
            }
            Input::SandboxDied => self.note_sandbox_died(out),
            Input::SandboxStopped(result) => {
                if let Sandbox::Stopping(info) = &self.sandbox {
                    let info = info.clone();
                    self.sandbox = match result {
                        Ok(()) => Sandbox::Stopped(info),
                        Err(message) => {
                            out.push(Action::Event {
                                kind: Warning,
                                reason: "FailedKillPod",
                                message: format!("error killing pod: {message}"),
                                container: None,
                            });
                            Sandbox::StopFailed { info, retry: after(now, RETRY_FIRST), delay: RETRY_FIRST }
                        }
                    };
                }
            }
            Input::Image { container, result } => self.note_image(container, result, now, out),
            Input::Started { container, result } => self.note_started(container, result, now, out),
            Input::PostStart { container, id, result } => self.note_post_start(container, &id, result, now, out),
            Input::Exited { id, exit } => self.note_exit(&id, exit),
            Input::Probed { container, id, kind, outcome } => self.note_probe(container, &id, kind, outcome, now, out),
            Input::CleanedUp(Ok(())) => {
                if self.cleanup == Cleanup::Running {
                    self.volumes = Volumes::Released;
                    self.cleanup = Cleanup::Done;
                }
            }
            Input::CleanedUp(Err(message)) => {
                tracing::warn!(%message, "clean-up of a pod failed");
                self.cleanup = Cleanup::Failed { retry: after(now, RETRY_FIRST), delay: RETRY_FIRST };
            }
            Input::Deleted(Ok(())) => self.cleanup = Cleanup::Finished,
            Input::Deleted(Err(message)) => {
                tracing::warn!(%message, "deletion of a pod's object failed");
                let delay = match &self.cleanup {
                    Cleanup::DeleteFailed { delay, .. } => raise(*delay),
                    _ => RETRY_FIRST,
                };
                self.cleanup = Cleanup::DeleteFailed { retry: after(now, delay), delay };
            }
            Input::Tick => {}
        }
    }

    fn note_pod(&mut self, pod: Arc<Pod>, now: Timestamp, out: &mut Vec<Action>) {
        // Most of what comes is the echo of our own status; then no container's spec has changed.
        let generation = pod.metadata.generation;
        let echo = generation.is_some() && generation == self.pod.metadata.generation;
        let specs = if echo { Vec::new() } else { containers_of(&pod) };
        for (position, (spec, role)) in specs.into_iter().enumerate() {
            match self.containers.get_mut(position) {
                Some(container) if container.spec.name == spec.name => {
                    let changed = container.spec.image != spec.image;
                    container.spec = spec;
                    if !changed || self.stop.is_some() {
                        continue;
                    }
                    container.image = Image::Unknown;
                    container.image_backoff.reset();
                    if container.alive().is_some_and(|alive| alive.kill.is_none()) && role != Role::Init {
                        let message = format!("Container {} definition changed, will be restarted", container.name());
                        let grace = grace_of(&pod);
                        kill(container, position, grace, true, message, now, out);
                    }
                }
                _ => self.containers.push(Container::new(spec, role)),
            }
        }
        // Conditions that others own (readiness gates and the like) come from the API.
        if let Some(conditions) = pod.status.as_ref().and_then(|status| status.conditions.as_ref()) {
            for condition in conditions {
                if status::OWN_CONDITIONS.contains(&condition.type_.as_str()) {
                    continue;
                }
                match self.conditions.iter_mut().find(|own| own.type_ == condition.type_) {
                    Some(own) => *own = condition.clone(),
                    None => self.conditions.push(condition.clone()),
                }
            }
        }
        let deletion = pod.metadata.deletion_timestamp.is_some();
        let grace = pod.metadata.deletion_grace_period_seconds;
        self.pod = pod;
        if deletion {
            let grace = SignedDuration::from_secs(grace.unwrap_or_else(|| self.spec_grace().as_secs()));
            self.begin_stop(Cause::Deleted, grace, now);
        }
    }

    fn note_sandbox_died(&mut self, out: &mut Vec<Action>) {
        let Sandbox::Ready(info) = &self.sandbox else { return };
        let info = info.clone();
        if self.stop.is_none() {
            out.push(Action::Event {
                kind: Normal,
                reason: "SandboxChanged",
                message: "Pod sandbox changed, it will be killed and re-created.".to_owned(),
                container: None,
            });
            self.initialized = false;
        }
        out.push(Action::StopSandbox { id: info.id.clone() });
        self.sandbox = Sandbox::Stopping(info);
    }

    fn note_image(
        &mut self,
        index: Index,
        result: Result<ImageReady, ImageFailure>,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let Some(container) = self.containers.get_mut(index) else { return };
        if container.image != Image::Ensuring {
            return;
        }
        match result {
            Ok(image) => {
                container.image_backoff.reset();
                container.image = Image::Ready(image);
                // Other reasons to wait are not settled by an image.
                if container.waiting.as_ref().is_some_and(|(reason, _)| IMAGE_REASONS.contains(&reason.as_str())) {
                    container.waiting = None;
                }
            }
            Err(failure) => {
                out.push(Action::Event {
                    kind: Warning,
                    reason: "Failed",
                    message: format!("Error: {}", failure.reason),
                    container: Some(index),
                });
                container.image_backoff.next(now);
                let retry = container.image_backoff.wait_until(now, now).unwrap_or(now);
                let pulled = failure.reason == "ErrImagePull" || failure.reason == "RegistryUnavailable";
                container.image = Image::Failed {
                    settle: pulled.then(|| after(now, PULL_ERROR_SHOWN)),
                    retry,
                    error: format!("{}: {}", failure.reason, failure.message),
                };
                container.waiting = Some((failure.reason.to_owned(), failure.message));
            }
        }
    }

    fn note_started(
        &mut self,
        index: Index,
        result: Result<Life, StartFailure>,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let Some(container) = self.containers.get_mut(index) else { return };
        if !matches!(container.run, Run::Starting) {
            return;
        }
        // Every start decides anew about its image.
        container.image = Image::Unknown;
        match result {
            Ok(life) => {
                out.push(Action::Event {
                    kind: Normal,
                    reason: "Started",
                    message: "Container started".to_owned(),
                    container: Some(index),
                });
                let id = life.id.clone();
                container.begin_life(life);
                if let Some(exit) = self.early_exits.remove(&id) {
                    self.note_exit(&id, exit);
                }
            }
            Err(failure) => {
                out.push(Action::Event {
                    kind: Warning,
                    reason: "Failed",
                    message: format!("Error: {}", failure.message),
                    container: Some(index),
                });
                match failure.ended {
                    Some(ended) => {
                        let (life, exit) = *ended;
                        container.run = Run::Ended(Ended { life, exit, restart: false });
                    }
                    None => container.run = Run::StartFailed { retry: after(now, RETRY_START) },
                }
                container.waiting = Some((failure.reason.to_owned(), failure.message));
            }
        }
    }

    fn note_post_start(
        &mut self,
        index: Index,
        id: &str,
        result: Result<(), String>,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let grace = self.spec_grace();
        let Some(container) = self.containers.get_mut(index) else { return };
        if container.alive().is_none_or(|alive| alive.life.id != id) {
            return;
        }
        container.post_start = Hook::Done;
        if let Err(message) = result {
            container.post_start = Hook::Running;
            out.push(Action::Event { kind: Warning, reason: "FailedPostStartHook", message, container: Some(index) });
            if container.alive().is_some_and(|alive| alive.kill.is_none()) {
                kill(container, index, grace, false, "FailedPostStartHook".to_owned(), now, out);
            }
        }
    }

    fn note_exit(&mut self, id: &str, exit: Exit) {
        for container in &mut self.containers {
            let Run::Running(alive) = &container.run else { continue };
            if alive.life.id != id {
                continue;
            }
            let restart = alive.kill.as_ref().is_some_and(|kill| kill.restart);
            container.run = Run::Ended(Ended { life: alive.life.clone(), exit, restart });
            container.probes.clear();
            container.post_start = Hook::Absent;
            container.waiting = None;
            return;
        }
        // The news of the end can overtake that of the start.
        if self.containers.iter().any(|container| matches!(container.run, Run::Starting)) {
            self.early_exits.insert(id.to_owned(), exit);
        } else {
            self.early_exits.clear();
        }
    }

    fn note_probe(
        &mut self,
        index: Index,
        id: &str,
        kind: ProbeKind,
        outcome: Outcome,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let pod_grace = self.spec_grace();
        let stopping = self.stop.is_some();
        let Some(container) = self.containers.get_mut(index) else { return };
        if container.alive().is_none_or(|alive| alive.life.id != id) {
            return;
        }
        let title = kind.title();
        let (success, event) = match outcome {
            Outcome::Success => (Some(true), None),
            Outcome::Warning(text) => (Some(true), Some(("ProbeWarning", format!("{title} probe warning: {text}")))),
            Outcome::Failure(text) => (Some(false), Some(("Unhealthy", format!("{title} probe failed: {text}")))),
            Outcome::Errored(text) => {
                (None, Some(("Unhealthy", format!("{title} probe errored and resulted in Unknown state: {text}"))))
            }
        };
        if let Some((reason, message)) = event {
            out.push(Action::Event { kind: Warning, reason, message, container: Some(index) });
        }
        let Some((_, state)) = container.probes.iter_mut().find(|(own, _)| *own == kind) else { return };
        state.finish(success);
        let fatal = kind != ProbeKind::Readiness && state.due().is_none() && success == Some(false);
        if fatal && !stopping && container.alive().is_some_and(|alive| alive.kill.is_none()) {
            let own_grace = kind.of(&container.spec).and_then(|probe| probe.termination_grace_period_seconds);
            let grace = own_grace.map_or(pod_grace, SignedDuration::from_secs);
            let which = title.to_lowercase();
            let message = format!("Container {} failed {which} probe, will be restarted", container.name());
            kill(container, index, grace, true, message, now, out);
            // Whether it comes back is for the restart policy to say.
            if let Run::Running(alive) = &mut container.run
                && let Some(kill) = &mut alive.kill
            {
                kill.restart = false;
            }
        }
    }

    // === actions ===

    pub(super) fn step(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        if self.stop.is_none() && self.deadline().is_some_and(|deadline| deadline <= now) {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            out.push(Action::Event {
                kind: Normal,
                reason: "DeadlineExceeded",
                message: message.clone(),
                container: None,
            });
            let grace = self.spec_grace();
            self.begin_stop(Cause::Failed { reason: "DeadlineExceeded".to_owned(), message }, grace, now);
        }
        for id in std::mem::take(&mut self.garbage) {
            out.push(Action::RemoveContainer { id });
        }
        self.step_hooks_and_probes(now, out);
        if self.stop.is_none() {
            self.step_run(now, out);
        }
        if self.stop.is_some() {
            self.step_stop(now, out);
        }
    }

    fn step_hooks_and_probes(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        for index in 0..self.containers.len() {
            let due = {
                let container = &self.containers[index];
                if container.alive().is_none_or(|alive| alive.kill.is_some()) {
                    continue;
                }
                self.probes_due(container).any(|due| due <= now)
            };
            let stopping = self.stop.is_some();
            let container = &mut self.containers[index];
            let started = container.started();
            let Run::Running(alive) = &container.run else { continue };
            let id = alive.life.id.clone();
            if container.post_start == Hook::Pending {
                container.post_start = Hook::Running;
                out.push(Action::RunPostStart { container: index, id: id.clone() });
            }
            if !due {
                continue;
            }
            for (kind, state) in &mut container.probes {
                let wanted = match kind {
                    ProbeKind::Startup => !stopping,
                    ProbeKind::Liveness => !stopping && started,
                    ProbeKind::Readiness => started,
                };
                if wanted && state.begin(now) {
                    out.push(Action::RunProbe { container: index, id: id.clone(), kind: *kind });
                }
            }
        }
    }

    fn step_run(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        match &self.volumes {
            Volumes::Idle => {
                self.volumes = Volumes::SettingUp;
                out.push(Action::SetUpVolumes);
            }
            Volumes::Failed { retry, delay } if *retry <= now => {
                // The delay is kept in the fact so that the next failure doubles it.
                let delay = *delay;
                self.volumes = Volumes::Failed { retry: Timestamp::MAX, delay };
                out.push(Action::SetUpVolumes);
            }
            _ => {}
        }
        if self.all_ended_for_good() {
            self.begin_stop(Cause::Completed, self.spec_grace(), now);
            return;
        }
        match &self.sandbox {
            Sandbox::None => self.create_sandbox(out),
            Sandbox::Stopped(_) => {
                // A new sandbox is a new beginning: init containers run again.
                self.initialized = false;
                for container in &mut self.containers {
                    if container.role == Role::Init {
                        self.garbage.extend(retire(container));
                    }
                }
                self.create_sandbox(out);
            }
            Sandbox::Failed { retry, delay } if *retry <= now => {
                let delay = *delay;
                let attempt = self.sandbox_attempts;
                self.sandbox = Sandbox::Failed { retry: Timestamp::MAX, delay };
                out.push(Action::CreateSandbox { attempt });
            }
            _ => {}
        }
        self.settle_images(now, out);
        for index in self.wanted() {
            self.ensure_image(index, now, out);
            self.start_container(index, now, out);
        }
    }

    fn create_sandbox(&mut self, out: &mut Vec<Action>) {
        out.push(Action::CreateSandbox { attempt: self.sandbox_attempts });
        self.sandbox = Sandbox::Creating;
        self.sandbox_attempts += 1;
    }

    /// Main containers are all at their end, and none of them, nor an init container, will run again.
    fn all_ended_for_good(&self) -> bool {
        let policy = self.restart_policy();
        let ended_for_good = |container: &Container| {
            container.ended().is_some_and(|ended| !ended.restart && !container.restarts_after(ended.exit.code, policy))
        };
        let init_failed = self
            .containers
            .iter()
            .any(|container| container.role == Role::Init && ended_for_good(container) && !container.completed());
        if init_failed && !self.initialized {
            return true;
        }
        let mut main = self.containers.iter().filter(|container| container.role == Role::Main).peekable();
        main.peek().is_some() && main.all(ended_for_good)
    }

    /// The containers that should be running now, in order.
    fn wanted(&mut self) -> Vec<Index> {
        let policy = self.restart_policy().to_owned();
        let mut wanted = Vec::new();
        let mut open = true;
        for (index, container) in self.containers.iter().enumerate() {
            let again = match &container.run {
                Run::Idle | Run::StartFailed { .. } => true,
                Run::Ended(ended) => ended.restart || container.restarts_after(ended.exit.code, &policy),
                Run::Starting | Run::Running(_) => false,
            };
            match container.role {
                Role::Init if self.initialized => {}
                Role::Sidecar if self.initialized => {
                    if again {
                        wanted.push(index);
                    }
                }
                Role::Init | Role::Sidecar => {
                    if open && again && !container.completed() {
                        wanted.push(index);
                    }
                    open &= if container.role == Role::Init { container.completed() } else { container.started() };
                }
                Role::Main if open || self.initialized => {
                    if again {
                        wanted.push(index);
                    }
                }
                Role::Main => {}
                Role::Ephemeral => {
                    if matches!(container.run, Run::Idle | Run::StartFailed { .. }) {
                        wanted.push(index);
                    }
                }
            }
        }
        if open && matches!(self.sandbox, Sandbox::Ready(_)) {
            self.initialized = true;
        }
        wanted
    }

    /// A pull that failed shows as backing off after a while.
    fn settle_images(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        for (index, container) in self.containers.iter_mut().enumerate() {
            let name = container.image_name().to_owned();
            let Image::Failed { settle, error, .. } = &mut container.image else { continue };
            if settle.is_some_and(|settle| settle <= now) {
                *settle = None;
                let back_off = format!("Back-off pulling image {name:?}");
                out.push(Action::Event {
                    kind: Normal,
                    reason: "BackOff",
                    message: back_off.clone(),
                    container: Some(index),
                });
                out.push(Action::Event {
                    kind: Warning,
                    reason: "Failed",
                    message: "Error: ImagePullBackOff".to_owned(),
                    container: Some(index),
                });
                container.waiting = Some(("ImagePullBackOff".to_owned(), format!("{back_off}: {error}")));
            }
        }
    }

    fn ensure_image(&mut self, index: Index, now: Timestamp, out: &mut Vec<Action>) {
        if self.in_restart_backoff(index, now) {
            return;
        }
        let container = &mut self.containers[index];
        if matches!(container.run, Run::StartFailed { retry } if retry > now) {
            return;
        }
        let wanted = match &container.image {
            Image::Unknown => true,
            Image::Failed { retry, .. } => *retry <= now,
            Image::Ensuring | Image::Ready(_) => false,
        };
        if wanted {
            container.image = Image::Ensuring;
            out.push(Action::EnsureImage { container: index });
        }
    }

    fn in_restart_backoff(&self, index: Index, now: Timestamp) -> bool {
        let container = &self.containers[index];
        container
            .ended()
            .is_some_and(|ended| !ended.restart && container.backoff.wait_until(ended.exit.finished, now).is_some())
    }

    fn start_container(&mut self, index: Index, now: Timestamp, out: &mut Vec<Action>) {
        self.announce_backoff(index, now, out);
        if self.volumes != Volumes::Ready
            || !matches!(self.sandbox, Sandbox::Ready(_))
            || self.in_restart_backoff(index, now)
        {
            return;
        }
        let container = &mut self.containers[index];
        let Image::Ready(image) = &container.image else { return };
        let image = image.reference.clone();
        match &container.run {
            Run::StartFailed { retry } if *retry > now => return,
            Run::Ended(ended) => {
                if !ended.restart {
                    container.backoff.next(now);
                }
                container.restart_count += 1;
                self.garbage.extend(retire(container));
            }
            Run::Idle if container.previous.is_some() => container.restart_count += 1,
            _ => {}
        }
        container.run = Run::Starting;
        let attempt = container.restart_count;
        out.push(Action::StartContainer { container: index, attempt, image });
        for id in std::mem::take(&mut self.garbage) {
            out.push(Action::RemoveContainer { id });
        }
    }

    fn announce_backoff(&mut self, index: Index, now: Timestamp, out: &mut Vec<Action>) {
        let pod = self.full_name();
        let container = &mut self.containers[index];
        let Run::Ended(ended) = &container.run else { return };
        let finished = ended.exit.finished;
        if ended.restart
            || container.backoff.wait_until(finished, now).is_none()
            || container.backoff_announced == Some(finished)
        {
            return;
        }
        container.backoff_announced = Some(finished);
        let name = container.name().to_owned();
        out.push(Action::Event {
            kind: Warning,
            reason: "BackOff",
            message: format!("Back-off restarting failed container {name} in pod {pod}"),
            container: Some(index),
        });
        let delay = crate::format::go_duration(container.backoff.delay());
        container.waiting = Some((
            "CrashLoopBackOff".to_owned(),
            format!("back-off {delay} restarting failed container={name} pod={pod}"),
        ));
    }

    // === small facts ===

    pub(super) fn restart_policy(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    pub(super) fn spec_grace(&self) -> SignedDuration {
        grace_of(&self.pod)
    }

    /// `name_namespace(uid)`, as messages name a pod.
    pub(super) fn full_name(&self) -> String {
        crate::format::pod_full_name(&self.pod)
    }
}

pub(super) fn grace_of(pod: &Pod) -> SignedDuration {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    SignedDuration::from_secs(seconds)
}

/// Orders a running container to stop.
pub(super) fn kill(
    container: &mut Container,
    index: Index,
    grace: SignedDuration,
    restart: bool,
    message: String,
    now: Timestamp,
    out: &mut Vec<Action>,
) {
    let pre_stop = container.spec.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.pre_stop.is_some());
    let Run::Running(alive) = &mut container.run else { return };
    alive.kill = Some(Kill { deadline: after(now, grace), restart });
    let id = alive.life.id.clone();
    out.push(Action::Event { kind: Normal, reason: "Killing", message, container: Some(index) });
    out.push(Action::Kill { container: index, id, grace, pre_stop });
}

/// Makes the present (ended) life the previous one; the id of the one before that, which nobody needs any more.
fn retire(container: &mut Container) -> Option<String> {
    let Run::Ended(ended) = std::mem::replace(&mut container.run, Run::Idle) else { return None };
    let older = container.previous.replace(ended);
    older.map(|ended| ended.life.id).filter(|id| !id.is_empty())
}

pub(super) fn after(now: Timestamp, delay: SignedDuration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

fn raise(delay: SignedDuration) -> SignedDuration {
    (delay + delay).min(RETRY_LAST)
}
