//! The machine driven by a script: inputs as lines, actions and status as text.

use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;

use super::*;

/// A machine on a simulated node: everything asked for is answered as the script says.
struct Bench {
    machine: Machine,
    now: Timestamp,
    log: String,
    lives: usize,
}

impl Bench {
    fn new(spec: serde_json::Value) -> Self {
        Self::with(pod(spec), Adopted::default())
    }

    fn with(pod: Pod, adopted: Adopted) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let machine = Machine::new(Arc::new(pod), NodeFacts { host_ips: vec!["192.0.2.1".to_owned()] }, adopted, now);
        Bench { machine, now, log: String::new(), lives: 0 }
    }

    fn send(&mut self, input: Input) -> Vec<Action> {
        let actions = self.machine.handle(input, self.now);
        for action in &actions {
            self.log.push_str(&line(&self.machine, action));
            self.log.push('\n');
        }
        actions
    }

    /// Volumes, sandbox and all images that are asked for come up.
    fn up(&mut self) {
        let actions = self.send(Input::Tick);
        self.serve(actions);
    }

    /// Answers actions with success until nothing more is asked for.
    fn serve(&mut self, actions: Vec<Action>) {
        let mut open = actions;
        while !open.is_empty() {
            let action = open.remove(0);
            let answer = match action {
                Action::SetUpVolumes => Input::Volumes(Ok(())),
                Action::CreateSandbox { attempt } => Input::Sandbox(Ok(SandboxInfo {
                    id: format!("sb{attempt}"),
                    ips: vec!["10.42.0.2".to_owned()],
                    attempt,
                })),
                Action::EnsureImage { container } => {
                    Input::Image { container, result: Ok(ImageReady { reference: "img".to_owned() }) }
                }
                Action::StartContainer { container, .. } => {
                    self.lives += 1;
                    let life = Life { id: format!("id{}", self.lives), started: self.now, ..Life::default() };
                    Input::Started { container, result: Ok(life) }
                }
                Action::StopSandbox { .. } => Input::SandboxStopped(Ok(())),
                Action::CleanUp => Input::CleanedUp(Ok(())),
                Action::DeleteFromApi => Input::Deleted(Ok(())),
                _ => continue,
            };
            open.extend(self.send(answer));
        }
    }

    fn exit(&mut self, id: &str, code: i32) -> Vec<Action> {
        let exit = Exit { code, finished: self.now, ..Exit::default() };
        self.send(Input::Exited { id: id.to_owned(), exit })
    }

    fn exit_served(&mut self, id: &str, code: i32) {
        let actions = self.exit(id, code);
        self.serve(actions);
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let actions = self.send(Input::Tick);
        self.serve(actions);
    }

    fn delete(&mut self, grace: i64) -> Vec<Action> {
        let mut pod = (**self.machine.pod()).clone();
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.send(Input::Pod(Arc::new(pod)))
    }

    fn note(&mut self, text: &str) {
        self.log.push_str(&format!("-- {text}\n"));
    }

    fn status(&mut self) -> PodStatus {
        self.machine.status(self.now)
    }

    fn summary(&mut self) {
        let status = self.status();
        let text = brief(&status);
        self.log.push_str(&text);
        // What was written comes back through the watch.
        let mut pod = (**self.machine.pod()).clone();
        pod.status = Some(status);
        self.machine.pod = Arc::new(pod);
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.log);
    }
}

fn brief(status: &PodStatus) -> String {
    let mut out = format!("= {}", status.phase.as_deref().unwrap_or_default());
    if let Some(reason) = &status.reason {
        out.push_str(&format!(" ({reason})"));
    }
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .flatten()
        .filter(|condition| condition.status == "True")
        .map(|condition| condition.type_.as_str())
        .collect();
    out.push_str(&format!(" [{}]\n", conditions.join(" ")));
    let all = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    for container in all.into_iter().flatten().flatten() {
        let state = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            let state = state.clone().unwrap_or_default();
            if let Some(waiting) = state.waiting {
                waiting.reason.unwrap_or_default()
            } else if let Some(terminated) = state.terminated {
                format!("{}({})", terminated.reason.unwrap_or_default(), terminated.exit_code)
            } else if state.running.is_some() {
                "Running".to_owned()
            } else {
                "-".to_owned()
            }
        };
        out.push_str(&format!(
            "=   {} {} last={} ready={} started={:?} restarts={}\n",
            container.name,
            state(&container.state),
            state(&container.last_state),
            container.ready,
            container.started.unwrap_or(false),
            container.restart_count,
        ));
    }
    out
}

fn line(machine: &Machine, action: &Action) -> String {
    let name =
        |index: &Index| machine.container(*index).map(|container| container.name().to_owned()).unwrap_or_default();
    match action {
        Action::Event { kind, reason, message, container } => {
            let about = container.as_ref().map(name).unwrap_or_default();
            format!("event {kind:?} {reason} [{about}] {message}")
        }
        Action::EnsureImage { container } => format!("image {}", name(container)),
        Action::StartContainer { container, attempt, .. } => format!("start {} #{attempt}", name(container)),
        Action::Kill { container, id, grace, pre_stop } => {
            format!("kill {} {id} grace={}s hook={pre_stop}", name(container), grace.as_secs())
        }
        Action::RunProbe { container, kind, .. } => format!("probe {} {kind:?}", name(container)),
        Action::RunPostStart { container, .. } => format!("post-start {}", name(container)),
        other => format!("{other:?}"),
    }
}

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1}, "spec": spec}),
    )
    .unwrap()
}

fn one(extra: serde_json::Value) -> serde_json::Value {
    let mut container = json!({"name": "c", "image": "busybox"});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"containers": [container]})
}

#[test]
fn a_simple_pod_comes_up_and_goes() {
    let mut bench = Bench::new(one(json!({})));
    bench.summary();
    bench.up();
    bench.summary();
    bench.note("delete");
    bench.delete(30);
    bench.exit_served("id1", 0);
    bench.summary();
    assert!(bench.machine.is_finished());
    bench.check(expect![[r#"
        = Pending [Initialized PodScheduled]
        =   c ContainerCreating last=- ready=false started=false restarts=0
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   c Running last=- ready=true started=true restarts=0
        -- delete
        event Normal Killing [c] Stopping container c
        kill c id1 grace=30s hook=false
        StopSandbox { id: "sb0" }
        CleanUp
        DeleteFromApi
        = Succeeded [Initialized PodScheduled]
        =   c Completed(0) last=- ready=false started=false restarts=0
    "#]]);
}

#[test]
fn crashes_back_off_and_reset() {
    let mut bench = Bench::new(one(json!({})));
    bench.up();
    bench.note("first crash restarts at once");
    bench.exit_served("id1", 1);
    bench.note("second crash waits");
    bench.exit_served("id2", 1);
    bench.summary();
    assert_eq!(bench.machine.next_wakeup(), Some(bench.now.checked_add(SignedDuration::from_secs(10)).unwrap()));
    bench.pass(10);
    bench.summary();
    bench.note("ten good minutes");
    bench.pass(700);
    bench.exit_served("id3", 1);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        -- first crash restarts at once
        image c
        start c #1
        event Normal Started [c] Container started
        -- second crash waits
        event Warning BackOff [c] Back-off restarting failed container c in pod p_ns(u)
        = Running [PodReadyToStartContainers Initialized PodScheduled]
        =   c CrashLoopBackOff last=Error(1) ready=false started=false restarts=1
        image c
        start c #2
        RemoveContainer { id: "id1" }
        event Normal Started [c] Container started
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   c Running last=Error(1) ready=true started=true restarts=2
        -- ten good minutes
        image c
        start c #3
        RemoveContainer { id: "id2" }
        event Normal Started [c] Container started
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   c Running last=Error(1) ready=true started=true restarts=3
    "#]]);
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let mut bench = Bench::new(json!({"initContainers": [
            {"name": "i", "image": "a"}, {"name": "side", "image": "a", "restartPolicy": "Always"}, {"name": "j", "image": "a"}],
        "containers": [{"name": "c", "image": "a"}]}));
    bench.up();
    bench.summary();
    bench.exit_served("id1", 0);
    bench.summary();
    bench.exit_served("id3", 0);
    bench.summary();
    bench.note("delete: main first, then sidecar");
    bench.delete(30);
    bench.exit("id4", 0);
    bench.exit_served("id2", 143);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image i
        start i #0
        event Normal Started [i] Container started
        = Pending [PodReadyToStartContainers PodScheduled]
        =   i Running last=- ready=false started=false restarts=0
        =   side PodInitializing last=- ready=false started=false restarts=0
        =   j PodInitializing last=- ready=false started=false restarts=0
        =   c PodInitializing last=- ready=false started=false restarts=0
        image side
        start side #0
        event Normal Started [side] Container started
        image j
        start j #0
        event Normal Started [j] Container started
        = Pending [PodReadyToStartContainers PodScheduled]
        =   i Completed(0) last=- ready=true started=false restarts=0
        =   side Running last=- ready=true started=true restarts=0
        =   j Running last=- ready=false started=false restarts=0
        =   c PodInitializing last=- ready=false started=false restarts=0
        image c
        start c #0
        event Normal Started [c] Container started
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   i Completed(0) last=- ready=true started=false restarts=0
        =   side Running last=- ready=true started=true restarts=0
        =   j Completed(0) last=- ready=true started=false restarts=0
        =   c Running last=- ready=true started=true restarts=0
        -- delete: main first, then sidecar
        event Normal Killing [c] Stopping container c
        kill c id4 grace=30s hook=false
        event Normal Killing [side] Stopping container side
        kill side id2 grace=30s hook=false
        StopSandbox { id: "sb0" }
        CleanUp
        DeleteFromApi
        = Succeeded [Initialized PodScheduled]
        =   i Completed(0) last=- ready=true started=false restarts=0
        =   side Error(143) last=- ready=false started=false restarts=0
        =   j Completed(0) last=- ready=true started=false restarts=0
        =   c Completed(0) last=- ready=false started=false restarts=0
    "#]]);
}

#[test]
fn failed_init_with_never_fails_the_pod() {
    let mut bench = Bench::new(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "a"}], "containers": [{"name": "c", "image": "a"}]}));
    bench.up();
    bench.exit_served("id1", 3);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image i
        start i #0
        event Normal Started [i] Container started
        StopSandbox { id: "sb0" }
        ReleaseVolumes
        = Failed [PodScheduled]
        =   i Error(3) last=- ready=false started=false restarts=0
        =   c PodInitializing last=- ready=false started=false restarts=0
    "#]]);
}

#[test]
fn a_job_like_pod_succeeds_and_keeps_its_containers() {
    let mut bench = Bench::new(json!({"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "a"}]}));
    bench.up();
    bench.exit_served("id1", 1);
    bench.exit_served("id2", 0);
    bench.summary();
    bench.note("delete");
    let actions = bench.delete(30);
    bench.serve(actions);
    assert!(bench.machine.is_finished());
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        image c
        start c #1
        event Normal Started [c] Container started
        StopSandbox { id: "sb0" }
        ReleaseVolumes
        = Succeeded [Initialized PodScheduled]
        =   c Completed(0) last=Error(1) ready=false started=false restarts=1
        -- delete
        CleanUp
        DeleteFromApi
    "#]]);
}

#[test]
fn images_that_cannot_be_had_back_off() {
    let mut bench = Bench::new(one(json!({})));
    bench.send(Input::Tick);
    bench.send(Input::Volumes(Ok(())));
    let failure = ImageFailure { reason: "ErrImagePull", message: "no such image".to_owned() };
    bench.send(Input::Image { container: 0, result: Err(failure.clone()) });
    bench.summary();
    bench.note("shows as backing off");
    bench.now = bench.now.checked_add(SignedDuration::from_secs(5)).unwrap();
    bench.send(Input::Tick);
    bench.summary();
    let waiting = bench.status().container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.message.as_deref(), Some("Back-off pulling image \"busybox\": ErrImagePull: no such image"));
    bench.note("again after ten seconds, then twenty");
    bench.now = bench.now.checked_add(SignedDuration::from_secs(5)).unwrap();
    bench.send(Input::Tick);
    bench.send(Input::Image { container: 0, result: Err(failure) });
    bench.now = bench.now.checked_add(SignedDuration::from_secs(19)).unwrap();
    bench.send(Input::Tick);
    bench.now = bench.now.checked_add(SignedDuration::from_secs(1)).unwrap();
    bench.send(Input::Tick);
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        event Warning Failed [c] Error: ErrImagePull
        = Pending [Initialized PodScheduled]
        =   c ErrImagePull last=- ready=false started=false restarts=0
        -- shows as backing off
        event Normal BackOff [c] Back-off pulling image "busybox"
        event Warning Failed [c] Error: ImagePullBackOff
        = Pending [Initialized PodScheduled]
        =   c ImagePullBackOff last=- ready=false started=false restarts=0
        -- again after ten seconds, then twenty
        image c
        event Warning Failed [c] Error: ErrImagePull
        event Normal BackOff [c] Back-off pulling image "busybox"
        event Warning Failed [c] Error: ImagePullBackOff
        image c
    "#]]);
}

#[test]
fn probes_gate_readiness_and_restart() {
    let mut bench = Bench::new(one(json!({
        "startupProbe": {"periodSeconds": 1, "failureThreshold": 2, "exec": {}},
        "readinessProbe": {"periodSeconds": 5, "exec": {}},
        "livenessProbe": {"periodSeconds": 10, "failureThreshold": 1, "terminationGracePeriodSeconds": 7, "exec": {}}})));
    bench.up();
    bench.summary();
    let probed = |kind, outcome| Input::Probed { container: 0, id: "id1".to_owned(), kind, outcome };
    bench.send(probed(ProbeKind::Startup, Outcome::Success));
    bench.summary();
    bench.send(probed(ProbeKind::Readiness, Outcome::Success));
    bench.summary();
    bench.note("liveness fails");
    bench.send(probed(ProbeKind::Liveness, Outcome::Failure("no".to_owned())));
    bench.exit_served("id1", 137);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        probe c Startup
        = Running [PodReadyToStartContainers Initialized PodScheduled]
        =   c Running last=- ready=false started=false restarts=0
        probe c Liveness
        probe c Readiness
        = Running [PodReadyToStartContainers Initialized PodScheduled]
        =   c Running last=- ready=false started=true restarts=0
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   c Running last=- ready=true started=true restarts=0
        -- liveness fails
        event Warning Unhealthy [c] Liveness probe failed: no
        event Normal Killing [c] Container c failed liveness probe, will be restarted
        kill c id1 grace=7s hook=false
        image c
        start c #1
        event Normal Started [c] Container started
        probe c Startup
        = Running [PodReadyToStartContainers Initialized PodScheduled]
        =   c Running last=Error(137) ready=false started=false restarts=1
    "#]]);
}

#[test]
fn a_deadline_fails_the_pod() {
    let mut bench = Bench::new(json!({"activeDeadlineSeconds": 5, "containers": [{"name": "c", "image": "a"}]}));
    bench.up();
    bench.pass(5);
    bench.summary();
    bench.exit_served("id1", 137);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        event Normal DeadlineExceeded [] Pod was active on the node longer than the specified deadline
        event Normal Killing [c] Stopping container c
        kill c id1 grace=30s hook=false
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   c Running last=- ready=true started=true restarts=0
        StopSandbox { id: "sb0" }
        ReleaseVolumes
        = Failed (DeadlineExceeded) [Initialized PodScheduled]
        =   c Error(137) last=- ready=false started=false restarts=0
    "#]]);
}

#[test]
fn a_restarted_agent_adopts_and_restarts_nothing() {
    let mut old = pod(one(json!({"readinessProbe": {"exec": {}}})));
    old.status = Some(
        serde_json::from_value(json!({"phase": "Running", "startTime": "1970-01-12T13:00:00Z", "containerStatuses": [
            {"name": "c", "image": "busybox", "imageID": "x", "ready": true, "started": true, "restartCount": 2,
             "containerID": "tiphys://old", "state": {"running": {}}}]}))
        .unwrap(),
    );
    let adopted = Adopted {
        sandbox: Some(SandboxInfo { id: "sb".to_owned(), ips: vec!["10.42.0.9".to_owned()], attempt: 0 }),
        containers: vec![AdoptedContainer {
            name: "c".to_owned(),
            attempt: 2,
            life: Life { id: "old".to_owned(), ..Life::default() },
            exit: None,
        }],
    };
    let mut bench = Bench::with(old, adopted);
    bench.up();
    bench.summary();
    bench.check(expect![[r#"
        probe c Readiness
        SetUpVolumes
        = Running [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        =   c Running last=- ready=true started=true restarts=2
    "#]]);
}

#[test]
fn a_pod_removed_by_force_is_killed_at_once() {
    let mut bench = Bench::new(one(json!({})));
    bench.up();
    bench.note("gone");
    bench.send(Input::Gone);
    bench.exit_served("id1", 137);
    assert!(bench.machine.is_finished());
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        -- gone
        event Normal Killing [c] Stopping container c
        kill c id1 grace=1s hook=false
        StopSandbox { id: "sb0" }
        CleanUp
    "#]]);
}

#[test]
fn an_end_that_overtakes_the_start_is_not_lost() {
    let mut bench = Bench::new(json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}));
    bench.send(Input::Tick);
    bench.send(Input::Volumes(Ok(())));
    bench.send(Input::Sandbox(Ok(SandboxInfo { id: "sb".to_owned(), ips: vec![], attempt: 0 })));
    bench.send(Input::Image { container: 0, result: Ok(ImageReady::default()) });
    bench.exit("id", 0);
    bench.send(Input::Started { container: 0, result: Ok(Life { id: "id".to_owned(), ..Life::default() }) });
    assert_eq!(bench.status().phase.as_deref(), Some("Succeeded"));
}

#[test]
fn a_configuration_that_cannot_be_made_is_shown_and_retried() {
    let mut bench = Bench::new(one(json!({})));
    bench.send(Input::Tick);
    bench.send(Input::Volumes(Ok(())));
    bench.send(Input::Sandbox(Ok(SandboxInfo { id: "sb".to_owned(), ips: vec![], attempt: 0 })));
    bench.send(Input::Image { container: 0, result: Ok(ImageReady::default()) });
    let failure = StartFailure {
        reason: "CreateContainerConfigError",
        message: "secret \"s\" not found".to_owned(),
        ended: None,
    };
    bench.send(Input::Started { container: 0, result: Err(failure) });
    bench.summary();
    bench.note("the secret appears");
    bench.send(Input::DependencyChanged);
    bench.send(Input::Image { container: 0, result: Ok(ImageReady::default()) });
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Warning Failed [c] Error: secret "s" not found
        = Pending [PodReadyToStartContainers Initialized PodScheduled]
        =   c CreateContainerConfigError last=- ready=false started=false restarts=0
        -- the secret appears
        image c
        start c #0
    "#]]);
}

#[test]
fn a_slow_pull_after_a_back_off_does_not_spin() {
    let mut bench = Bench::new(one(json!({})));
    bench.up();
    bench.exit_served("id1", 1);
    bench.exit("id2", 1);
    bench.now = bench.now.checked_add(SignedDuration::from_secs(10)).unwrap();
    bench.send(Input::Tick);
    assert_eq!(bench.machine.next_wakeup(), None, "the pull is waited for, not the clock");
}

#[test]
fn a_shorter_grace_shortens_the_kill() {
    let mut bench = Bench::new(one(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})));
    bench.up();
    bench.delete(30);
    bench.note("now quickly");
    bench.delete(2);
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Normal Started [c] Container started
        event Normal Killing [c] Stopping container c
        kill c id1 grace=30s hook=true
        -- now quickly
        kill c id1 grace=2s hook=false
    "#]]);
}

#[test]
fn a_dead_sandbox_is_replaced_with_everything_in_it() {
    let mut bench = Bench::new(
        json!({"initContainers": [{"name": "i", "image": "a"}], "containers": [{"name": "c", "image": "a"}]}),
    );
    bench.up();
    bench.exit_served("id1", 0);
    bench.note("sandbox dies");
    bench.exit("id2", 137);
    let actions = bench.send(Input::SandboxDied);
    bench.serve(actions);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image i
        start i #0
        event Normal Started [i] Container started
        image c
        start c #0
        event Normal Started [c] Container started
        -- sandbox dies
        image c
        event Normal SandboxChanged [] Pod sandbox changed, it will be killed and re-created.
        StopSandbox { id: "sb0" }
        CreateSandbox { attempt: 1 }
        image i
        start i #1
        event Normal Started [i] Container started
        = Pending [PodReadyToStartContainers Initialized PodScheduled]
        =   i Running last=Completed(0) ready=false started=false restarts=1
        =   c Error(137) last=- ready=false started=false restarts=0
    "#]]);
}

#[test]
fn a_command_that_cannot_be_run_crash_loops() {
    let mut bench = Bench::new(one(json!({})));
    bench.send(Input::Tick);
    bench.send(Input::Volumes(Ok(())));
    bench.send(Input::Sandbox(Ok(SandboxInfo { id: "sb".to_owned(), ips: vec![], attempt: 0 })));
    bench.send(Input::Image { container: 0, result: Ok(ImageReady::default()) });
    let failed = |bench: &Bench, id: &str| Input::Started {
        container: 0,
        result: Err(StartFailure {
            reason: "RunContainerError",
            message: "exec: \"nope\": not found".to_owned(),
            ended: Some(Box::new((
                Life { id: id.to_owned(), ..Life::default() },
                Exit { code: 128, reason: "StartError".to_owned(), finished: bench.now, ..Exit::default() },
            ))),
        }),
    };
    let input = failed(&bench, "a");
    bench.send(input);
    bench.send(Input::Image { container: 0, result: Ok(ImageReady::default()) });
    let input = failed(&bench, "b");
    bench.send(input);
    bench.summary();
    bench.check(expect![[r#"
        SetUpVolumes
        CreateSandbox { attempt: 0 }
        image c
        start c #0
        event Warning Failed [c] Error: exec: "nope": not found
        image c
        start c #1
        event Warning Failed [c] Error: exec: "nope": not found
        event Warning BackOff [c] Back-off restarting failed container c in pod p_ns(u)
        = Running [PodReadyToStartContainers Initialized PodScheduled]
        =   c CrashLoopBackOff last=StartError(128) ready=false started=false restarts=1
    "#]]);
}
