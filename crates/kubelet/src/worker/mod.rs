//! The shell around one pod's machine: carries out actions, feeds results back, writes the status.
//! It decides nothing. Upstream: pkg/kubelet/pod_workers.go, pkg/kubelet/status/status_manager.go.

mod clean;
mod hooks;
mod image;
mod mounts;
mod ops;
mod status;

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use informer::EventKind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

pub(crate) use self::ops::{exit_of_status, life_of};
use self::status::Publisher;
use crate::mailbox::Letters;
use crate::objects::PodObjects;
use crate::pod::{Action, Adopted, Exit, Index, Input, Machine, NodeFacts, Role};
use crate::shared::{ContainerView, PodEntry, Shared, View};
use crate::volumes::{PodVolumes, VolumeFailure};

/// What an operation came to.
enum Done {
    Input(Input),
    VolumesUp(Result<PodVolumes, Vec<VolumeFailure>>),
    VolumesRefreshed(Result<PodVolumes, Vec<VolumeFailure>>),
    /// What the runtime says after events may have been missed.
    Looked {
        exits: Vec<(String, Exit)>,
        sandbox_alive: bool,
    },
    StatusWritten(Result<(), status::WriteError>),
    Nothing,
}

type Operation = BoxFuture<'static, Done>;

struct Worker {
    shared: Arc<Shared>,
    entry: Arc<PodEntry>,
    machine: Machine,
    objects: Arc<PodObjects>,
    volumes: Arc<PodVolumes>,
    operations: FuturesUnordered<Operation>,
    publisher: Publisher,
    /// The object is to be deleted as soon as its last status is written.
    deletion_wanted: bool,
    refreshing: bool,
    /// A refresh of volumes that failed is not tried again before this.
    refresh_not_before: Timestamp,
}

/// Pause after a refresh of volumes that failed.
const REFRESH_RETRY: SignedDuration = SignedDuration::from_secs(10);

/// Runs a pod until nothing of it is left on the node.
pub(crate) async fn run(
    shared: Arc<Shared>,
    entry: Arc<PodEntry>,
    pod: Arc<Pod>,
    adopted: Adopted,
    refusal: Option<(String, String)>,
) {
    let node = NodeFacts { host_ips: shared.config.host_ips() };
    let now = Timestamp::now();
    let publisher = Publisher::new(&pod);
    let machine = Machine::new(pod, node, adopted, now);
    let mut worker = Worker {
        shared,
        entry,
        machine,
        objects: Arc::default(),
        volumes: Arc::default(),
        operations: FuturesUnordered::new(),
        publisher,
        deletion_wanted: false,
        refreshing: false,
        refresh_not_before: Timestamp::MIN,
    };
    worker.cover_objects();
    worker.handle(match refusal {
        Some((reason, message)) => Input::Rejected { reason, message },
        None if worker.machine.pod().metadata.deletion_timestamp.is_some() => Input::Pod(worker.machine.pod().clone()),
        None => Input::Tick,
    });
    worker.run().await;
    worker.shared.pods.remove(&worker.entry.uid);
}

// === impl Worker ===

impl Worker {
    async fn run(&mut self) {
        loop {
            self.publish();
            if self.machine.is_finished() && !self.publisher.is_busy() {
                return;
            }
            let wakeup = self.wakeup();
            let mailbox = self.entry.mailbox.clone();
            tokio::select! {
                letters = mailbox.take() => self.read(letters),
                Some(done) = self.operations.next(), if !self.operations.is_empty() => self.take(done),
                () = until(wakeup), if wakeup.is_some() => self.tick(),
            }
            // Whatever is ready now goes into the same status.
            while let Some(Some(done)) = futures::FutureExt::now_or_never(self.operations.next()) {
                self.take(done);
            }
        }
    }

    fn wakeup(&self) -> Option<Timestamp> {
        let refresh = self.refresh_due().filter(|_| !self.refreshing && !self.machine.is_stopping());
        [self.machine.next_wakeup(), refresh, self.publisher.wakeup()].into_iter().flatten().min()
    }

    fn refresh_due(&self) -> Option<Timestamp> {
        self.volumes.refresh.map(|refresh| refresh.max(self.refresh_not_before))
    }

    fn tick(&mut self) {
        let now = Timestamp::now();
        if self.refresh_due().is_some_and(|refresh| refresh <= now) && !self.machine.is_stopping() {
            self.refresh_volumes();
        }
        self.handle(Input::Tick);
    }

    fn read(&mut self, letters: Letters) {
        let Letters { pod, gone, exited, objects_changed, look_again, eviction } = letters;
        if let Some(pod) = pod {
            let old = self.machine.pod().clone();
            let meta = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
            let changed = meta(&old) != meta(&pod);
            self.publisher.saw(&pod);
            self.handle(Input::Pod(pod));
            self.cover_objects();
            if changed {
                self.refresh_volumes();
            }
        }
        if let Some((reason, message)) = eviction {
            self.handle(Input::Evicted { reason, message });
        }
        if objects_changed {
            self.handle(Input::DependencyChanged);
            self.refresh_volumes();
        }
        for id in exited {
            self.push(ops::exit(self.cx(), id));
        }
        if look_again {
            self.push(ops::look(self.cx(), self.machine.any_sandbox().map(|info| info.id.clone())));
        }
        if gone {
            self.publisher.stop();
            self.handle(Input::Gone);
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Input(input) => self.handle(input),
            Done::VolumesUp(Ok(volumes)) => {
                self.volumes = Arc::new(volumes);
                self.handle(Input::Volumes(Ok(())));
            }
            Done::VolumesUp(Err(failures)) => {
                self.report_volumes(&failures);
                self.handle(Input::Volumes(Err(String::new())));
            }
            Done::VolumesRefreshed(Ok(volumes)) => {
                self.refreshing = false;
                self.volumes = Arc::new(volumes);
            }
            Done::VolumesRefreshed(Err(failures)) => {
                self.refreshing = false;
                self.refresh_not_before = Timestamp::now().checked_add(REFRESH_RETRY).unwrap_or(Timestamp::MAX);
                self.report_volumes(&failures);
            }
            Done::Looked { exits, sandbox_alive } => {
                // The sandbox first: what ended with it is started in a new one.
                if !sandbox_alive {
                    self.handle(Input::SandboxDied);
                }
                for (id, exit) in exits {
                    self.handle(Input::Exited { id, exit });
                }
            }
            Done::StatusWritten(result) => {
                if self.publisher.written(result) {
                    self.handle(Input::Gone);
                }
            }
            Done::Nothing => {}
        }
    }

    /// One input into the machine, all actions out of it.
    fn handle(&mut self, input: Input) {
        let actions = self.machine.handle(input, Timestamp::now());
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let cx = self.cx();
        let operation: Operation = match action {
            Action::Event { kind, reason, message, container } => {
                let about = self.reference(container);
                self.shared.recorder.event(&about, kind, reason, message);
                return;
            }
            Action::SetUpVolumes => Box::pin(ops::volumes_up(cx)),
            Action::CreateSandbox { attempt } => Box::pin(ops::create_sandbox(cx, attempt)),
            Action::EnsureImage { container } => Box::pin(image::ensure(cx, container)),
            Action::StartContainer { container, attempt, image } => {
                Box::pin(ops::start_container(cx, container, attempt, image))
            }
            Action::RunPostStart { container, id } => Box::pin(hooks::post_start(cx, container, id)),
            Action::Kill { container, id, grace, pre_stop } => Box::pin(ops::kill(cx, container, id, grace, pre_stop)),
            Action::RunProbe { container, id, kind } => Box::pin(ops::probe(cx, container, id, kind)),
            Action::RemoveContainer { id } => Box::pin(ops::remove_container(cx, id)),
            Action::StopSandbox { id } => Box::pin(ops::stop_sandbox(cx, id)),
            Action::CleanUp => Box::pin(clean::everything(cx)),
            Action::ReleaseVolumes => Box::pin(clean::volumes(cx)),
            Action::DeleteFromApi => {
                self.deletion_wanted = true;
                return;
            }
        };
        self.operations.push(operation);
    }

    fn push(&self, operation: impl Future<Output = Done> + Send + 'static) {
        self.operations.push(Box::pin(operation));
    }

    fn refresh_volumes(&mut self) {
        if self.refreshing || self.machine.is_stopping() || self.volumes.is_empty() {
            return;
        }
        self.refreshing = true;
        self.push(ops::volumes_refresh(self.cx()));
    }

    fn cover_objects(&mut self) {
        let mut objects = (*self.objects).clone();
        self.shared.objects.cover(&mut objects, self.machine.pod(), &self.entry.mailbox);
        self.objects = Arc::new(objects);
    }

    fn report_volumes(&self, failures: &[VolumeFailure]) {
        let about = self.reference(None);
        for failure in failures {
            let message = format!("MountVolume.SetUp failed for volume {:?} : {}", failure.volume, failure.error);
            self.shared.recorder.event(&about, EventKind::Warning, "FailedMount", message);
        }
    }

    fn reference(&self, container: Option<Index>) -> ObjectReference {
        reference(&self.machine, container)
    }

    /// What an operation may look at; a snapshot, since the machine goes on meanwhile.
    fn cx(&self) -> ops::Cx {
        ops::Cx {
            shared: self.shared.clone(),
            pod: self.machine.pod().clone(),
            objects: self.objects.clone(),
            volumes: self.volumes.clone(),
            sandbox: self.machine.any_sandbox().cloned(),
            containers: self.machine.containers().iter().map(|container| container.spec.clone()).collect(),
            roles: self.machine.containers().iter().map(|container| container.role).collect(),
        }
    }

    fn publish(&mut self) {
        let now = Timestamp::now();
        let status = self.machine.status(now);
        if self.publisher.propose(status) || self.view_changed() {
            self.update_view();
        }
        let settled = self.machine.is_stopping();
        if let Some(write) = self.publisher.next_write(&self.shared.client, self.machine.pod(), settled, now) {
            self.operations.push(Box::pin(async move { Done::StatusWritten(write.await) }));
        }
        if self.deletion_wanted && !self.publisher.is_busy() {
            self.deletion_wanted = false;
            self.push(ops::delete(self.cx()));
        }
    }

    fn view_changed(&self) -> bool {
        let view = self.entry.view.read();
        view.holds == self.machine.is_released()
            || view.sandbox.as_deref() != self.machine.any_sandbox().map(|info| info.id.as_str())
    }

    fn update_view(&self) {
        let containers = self
            .machine
            .containers()
            .iter()
            .map(|container| {
                let running = container.alive();
                let life = running.map(|alive| &alive.life).or(container.last_end().map(|ended| &ended.life));
                ContainerView {
                    name: container.name().to_owned(),
                    id: life.map(|life| life.id.clone()).filter(|id| !id.is_empty()),
                    attempt: container.restart_count,
                    running: running.is_some(),
                    started: life.is_some(),
                    previous: container.previous.is_some(),
                    tty: container.spec.tty == Some(true),
                    stdin: container.spec.stdin == Some(true),
                }
            })
            .collect();
        let mut pod = (**self.machine.pod()).clone();
        pod.status = self.publisher.current().cloned();
        *self.entry.view.write() = View {
            pod: Arc::new(pod),
            sandbox: self.machine.any_sandbox().map(|info| info.id.clone()),
            containers,
            holds: !self.machine.is_released(),
        };
        self.entry.changed.send_modify(|count| *count += 1);
    }
}

/// The pod, or one of its containers, for an event.
fn reference(machine: &Machine, container: Option<Index>) -> ObjectReference {
    let mut about = informer::reference(&**machine.pod());
    if let Some(container) = container.and_then(|index| machine.container(index)) {
        about.field_path = Some(field_path(container.role, container.name()));
    }
    about
}

pub(crate) fn field_path(role: Role, name: &str) -> String {
    match role {
        Role::Init | Role::Sidecar => format!("spec.initContainers{{{name}}}"),
        Role::Main => format!("spec.containers{{{name}}}"),
        Role::Ephemeral => format!("spec.ephemeralContainers{{{name}}}"),
    }
}

async fn until(at: Option<Timestamp>) {
    let Some(at) = at else { return };
    let left = at.duration_since(Timestamp::now());
    if let Ok(left) = std::time::Duration::try_from(left) {
        tokio::time::sleep(left).await;
    }
}
