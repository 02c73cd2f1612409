//! Starting, ending, and what is told about it.

use std::time::{Duration, Instant};

use cri::{ContainerState, CriError, LinuxResources, PodSandboxState, RuntimeService};

use crate::pod::{Pod, log_text};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_its_end_is_told() {
    let pod = Pod::start().await;
    let id = pod.run(Pod::shell("echo out; echo err >&2; exit 7")).await;
    let status = pod.wait(&id).await;
    assert_eq!((status.state, status.exit_code, status.reason.as_str()), (ContainerState::Exited, 7, "Error"));
    assert!(status.created_at <= status.started_at && status.started_at <= status.finished_at);
    assert_eq!(status.user, Some((0, 0, vec![0])));
    let log = std::fs::read_to_string(&status.log_path).expect("log");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.splitn(4, ' ').collect()).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (stream, text) in [("stdout", "out"), ("stderr", "err")] {
        let line = lines.iter().find(|line| line[1] == stream).expect("a line of the stream");
        assert_eq!((line[2], line[3]), ("F", text));
        let time: jiff::Timestamp = line[0].parse().expect("a time");
        assert!(line[0].len() == 30 && line[0].ends_with('Z'), "{}", line[0]);
        assert!((time - jiff::Timestamp::now()).get_seconds().abs() < 60);
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_and_a_last_one_without_newline_are_partial() {
    let pod = Pod::start().await;
    let id = pod.run(Pod::shell("head -c 40000 /dev/zero | tr '\\0' x; echo; printf end")).await;
    let status = pod.wait(&id).await;
    let log = std::fs::read_to_string(&status.log_path).expect("log");
    let lines: Vec<(&str, usize)> = log
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.splitn(4, ' ').collect();
            (fields[2], fields[3].len())
        })
        .collect();
    assert_eq!(lines, [("P", 16384), ("P", 16384), ("F", 40000 - 2 * 16384), ("P", 3)]);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_log_is_opened_anew() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("echo one; read x; echo two; read x");
    config.stdin = true;
    let id = pod.run(config).await;
    let attach = cri::AttachRequest { container_id: id.clone(), stdin: true, stdout: true, ..Default::default() };
    let mut session = pod.runtime.attach(&attach).await.expect("attach");
    let path = std::path::PathBuf::from(pod.status(&id).await.log_path);
    while log_text(&path) != "one\n" {
        tokio::task::yield_now().await;
    }
    let rotated = path.with_extension("1");
    std::fs::rename(&path, &rotated).expect("rename");
    pod.runtime.reopen_container_log(&id).await.expect("reopen");
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    session.stdin.as_mut().expect("stdin").write_all(b"\n").await.expect("write");
    let mut buffer = [0; 4];
    // The first line may have been written before or after we were attached.
    while &buffer != b"two\n" {
        session.stdout.as_mut().expect("stdout").read_exact(&mut buffer).await.expect("read");
    }
    assert_eq!((log_text(&rotated).as_str(), log_text(&path).as_str()), ("one\n", "two\n"));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_is_asked_for_and_then_forced() {
    let pod = Pod::start().await;
    let polite = pod.run(Pod::shell("trap 'exit 5' TERM; echo ready; while :; do sleep 1 & wait; done")).await;
    let path = pod.status(&polite).await.log_path;
    while !log_text(path.as_ref()).contains("ready") {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    pod.runtime.stop_container(&polite, Duration::from_secs(20)).await.expect("stop");
    assert!(begin.elapsed() < Duration::from_secs(10), "it was not asked");
    assert_eq!(pod.status(&polite).await.exit_code, 5);

    let deaf = pod.run(Pod::shell("trap '' TERM; while :; do sleep 1; done")).await;
    let begin = Instant::now();
    pod.runtime.stop_container(&deaf, Duration::from_millis(300)).await.expect("stop");
    assert!(begin.elapsed() >= Duration::from_millis(300), "it had no grace");
    assert_eq!(pod.status(&deaf).await.exit_code, 137);
    // Again, and of something that never was: success.
    pod.runtime.stop_container(&deaf, Duration::ZERO).await.expect("stop again");
    pod.runtime.stop_container("nothing", Duration::ZERO).await.expect("stop nothing");
    pod.runtime.remove_container("nothing").await.expect("remove nothing");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_stop_signal_is_used() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("trap 'exit 3' QUIT; echo ready; while :; do sleep 1 & wait; done");
    config.stop_signal = Some("SIGQUIT".to_owned());
    let id = pod.run(config).await;
    let path = pod.status(&id).await.log_path;
    while !log_text(path.as_ref()).contains("ready") {
        tokio::task::yield_now().await;
    }
    pod.runtime.stop_container(&id, Duration::from_secs(20)).await.expect("stop");
    assert_eq!(pod.status(&id).await.exit_code, 3);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_started_is_explained() {
    let pod = Pod::start().await;
    let cases = [
        ("no-such-program", "exec: \"no-such-program\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
    ];
    for (command, expected) in cases {
        let mut config = Pod::shell("");
        config.command = vec![command.to_owned()];
        let id = pod.runtime.create_container(&pod.sandbox, &config, &pod.config).await.expect("create");
        let error = pod.runtime.start_container(&id).await.expect_err("it cannot start");
        assert!(matches!(error, CriError::StartContainer(_)), "{error:?}");
        assert!(error.to_string().ends_with(expected), "{error}");
        let status = pod.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        pod.runtime.remove_container(&id).await.expect("remove");
    }
    // A file that is executable but no program.
    let mut config = Pod::shell("");
    let script = pod.directory().join("empty");
    std::fs::write(&script, "\u{7f}not a program").expect("write");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    config.command = vec!["/run-me".to_owned()];
    config.mounts.push(cri::Mount {
        container_path: "/run-me".to_owned(),
        host_path: script.to_string_lossy().into_owned(),
        ..Default::default()
    });
    let error = pod.try_start(config).await.expect_err("it cannot start");
    assert!(error.to_string().ends_with("exec /run-me: exec format error"), "{error}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_told_as_such() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("tail /dev/zero");
    config.resources = LinuxResources { memory_limit: Some(24 << 20), ..LinuxResources::default() };
    let id = pod.run(config).await;
    let status = pod.wait(&id).await;
    assert_eq!(status.reason, "OOMKilled", "{status:?}");
    assert_ne!(status.exit_code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_the_sandbox() {
    let pod = Pod::start().await;
    let server = pod.run(Pod::shell("echo shared > /dev/shm/f; nc -l -p 4000 -e cat; sleep 100")).await;
    let (code, text) = pod
        .output(Pod::shell(
            "hostname; cat /etc/hostname; until [ -s /dev/shm/f ]; do :; done; cat /dev/shm/f; \
             until echo hi | nc -w 1 127.0.0.1 4000; do :; done; echo $$",
        ))
        .await;
    assert_eq!((code, text.as_str()), (0, "pod-under-test\npod-under-test\nshared\nhi\n1\n"));
    assert_eq!(pod.status(&server).await.state, ContainerState::Running);
    pod.runtime.stop_pod_sandbox(&pod.sandbox).await.expect("stop sandbox");
    let sandbox = pod.runtime.pod_sandbox_status(&pod.sandbox).await.expect("status");
    assert_eq!(sandbox.state, PodSandboxState::NotReady);
    assert_eq!(pod.status(&server).await.exit_code, 137);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_pid_namespace_has_an_init_that_reaps() {
    let pod = Pod::start_with(|config| config.namespaces.pid = cri::NamespaceMode::Pod).await;
    let first = pod.run(Pod::shell("exec sleep 1000")).await;
    let (code, text) = pod.output(Pod::shell("[ $$ != 1 ] && cat /proc/1/comm; ps | grep -c '[s]leep 1000'")).await;
    assert_eq!((code, text.as_str()), (0, "tiphys-init\n1\n"));
    let (_, text) = pod.output(Pod::shell("ls /proc/1/root/etc 2>&1 | tail -1; cat /proc/1/root/etc/shadow")).await;
    assert!(!text.contains("root:"), "the host's files are seen through the init: {text}");
    pod.runtime.stop_container(&first, Duration::ZERO).await.expect("stop");

    // What a container leaves behind in the shared namespace ends with it.
    let (code, _) = pod.output(Pod::shell("sleep 999 & exit 0")).await;
    assert_eq!(code, 0);
    let (_, text) = pod.output(Pod::shell("ps | grep -c '[s]leep 999'")).await;
    assert_eq!(text, "0\n");

    // Without its first process the namespace takes no more containers.
    let (_, _) = pod.output(Pod::shell("kill 1; sleep 100")).await;
    let sandbox = pod.runtime.pod_sandbox_status(&pod.sandbox).await.expect("status");
    assert_eq!(sandbox.state, PodSandboxState::NotReady);
    assert!(pod.try_start(Pod::shell("true")).await.is_err());
    pod.finish().await;
}
