//! A new process takes over what a killed one left.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cri::{ContainerState, PodSandboxState, RuntimeService};

use crate::pod::{assert_clean, log_text, open, store_with_busybox};

struct Owner {
    process: Child,
    sandbox: String,
    container: String,
}

fn own(directory: &std::path::Path, script: &str) -> Owner {
    let mut process = Command::new(env!("CARGO_BIN_EXE_runtime-driver"))
        .arg("own")
        .args([directory.join("runtime"), directory.join("images")])
        .args(["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start owner");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("stdout")).read_line(&mut line).expect("read");
    let (sandbox, container) = line.trim().split_once(' ').expect("two ids");
    Owner { process, sandbox: sandbox.to_owned(), container: container.to_owned() }
}

fn kill(owner: &mut Owner) {
    owner.process.kill().expect("kill");
    owner.process.wait().expect("wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_survives_its_owner() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_with_busybox(directory.path());
    let mut owner = own(directory.path(), "trap 'exit 6' TERM; echo one; while :; do sleep 1 & wait; done");
    kill(&mut owner);

    let runtime = open(directory.path(), store).await;
    let sandbox = runtime.pod_sandbox_status(&owner.sandbox).await.expect("sandbox");
    assert_eq!(sandbox.state, PodSandboxState::Ready);
    let status = runtime.container_status(&owner.container).await.expect("container");
    assert_eq!(status.state, ContainerState::Running);
    let command = ["echo", "still there"].map(str::to_owned);
    let result = runtime.exec_sync(&owner.container, &command, None).await.expect("exec");
    assert_eq!(result.stdout, b"still there\n");
    runtime.stop_container(&owner.container, Duration::from_secs(20)).await.expect("stop");
    let status = runtime.container_status(&owner.container).await.expect("container");
    assert_eq!(status.exit_code, 6);
    assert_eq!(log_text(status.log_path.as_ref()), "one\n");
    runtime.remove_pod_sandbox(&owner.sandbox).await.expect("remove");
    runtime::reset(&directory.path().join("runtime")).expect("reset");
    assert_clean(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_nobody_saw_is_known() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_with_busybox(directory.path());
    let go = directory.path().join("runtime/driver.log");
    let mut owner = own(directory.path(), "echo waiting; sleep 1; exit 23");
    kill(&mut owner);
    let exit = directory.path().join("runtime/containers").join(&owner.container).join("exit");
    while !exit.exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(log_text(&go), "waiting\n");
    let runtime = open(directory.path(), store).await;
    let status = runtime.container_status(&owner.container).await.expect("container");
    assert_eq!((status.state, status.exit_code, status.reason.as_str()), (ContainerState::Exited, 23, "Error"));
    runtime.remove_pod_sandbox(&owner.sandbox).await.expect("remove");
    runtime::reset(&directory.path().join("runtime")).expect("reset");
    assert_clean(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_monitor_ends_its_containers() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_with_busybox(directory.path());
    let mut owner = own(directory.path(), "exec sleep 1000");
    kill(&mut owner);
    // The monitor is the container's parent.
    let runtime = open(directory.path(), store.clone()).await;
    let pid = runtime.container_status(&owner.container).await.expect("container").pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent");
    let mut events = runtime.events();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(parent.parse().expect("a pid")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill");
    tokio::time::timeout(crate::pod::PATIENCE, events.recv()).await.expect("in time").expect("an event");
    let status = runtime.container_status(&owner.container).await.expect("container");
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137));
    let sandbox = runtime.pod_sandbox_status(&owner.sandbox).await.expect("sandbox");
    assert_eq!(sandbox.state, PodSandboxState::NotReady);
    runtime.remove_pod_sandbox(&owner.sandbox).await.expect("remove");
    runtime::reset(&directory.path().join("runtime")).expect("reset");
    assert_clean(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_removes_what_runs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    store_with_busybox(directory.path());
    let mut owner = own(directory.path(), "exec sleep 1000");
    kill(&mut owner);
    let pid = std::fs::read_to_string(directory.path().join("runtime/containers").join(&owner.container).join("pid"));
    runtime::reset(&directory.path().join("runtime")).expect("reset");
    runtime::reset(&directory.path().join("runtime")).expect("reset again");
    let pid: i32 = pid.expect("pid file").trim().parse().expect("a pid");
    // Ended; whoever inherited it may not have asked how yet.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the container still runs: {stat}");
    assert_clean(directory.path());
}
