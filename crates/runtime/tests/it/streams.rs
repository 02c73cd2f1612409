//! exec, attach and port-forward.

use std::time::Duration;

use cri::{AttachRequest, CriError, ExecRequest, RuntimeService, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pod::{PATIENCE, Pod};

fn request(id: &str, script: &str) -> ExecRequest {
    ExecRequest {
        container_id: id.to_owned(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_collects_output_and_exit_code() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("exec sleep 1000");
    config.envs.push(("GREETING".to_owned(), "hello".to_owned()));
    config.security_context.seccomp = Some(cri::SecurityProfile::RuntimeDefault);
    config.working_dir = "/made/by/runtime".to_owned();
    let id = pod.run(config).await;
    let command = ["sh", "-c", "echo $GREETING; pwd; echo oops >&2; exit 42"].map(str::to_owned);
    let result = pod.runtime.exec_sync(&id, &command, Some(PATIENCE)).await.expect("exec");
    assert_eq!(String::from_utf8_lossy(&result.stdout), "hello\n/made/by/runtime\n");
    assert_eq!((String::from_utf8_lossy(&result.stderr).as_ref(), result.exit_code), ("oops\n", 42));

    // Confined exactly as the container's own process.
    let (_, outside) = pod.exec(&id, "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/1/status; cat /proc/1/cgroup").await;
    let (_, inside) =
        pod.exec(&id, "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; cat /proc/self/cgroup").await;
    assert_eq!(inside, outside);
    assert!(inside.contains("Seccomp:\t2"), "{inside}");

    let missing = ["no-such-program".to_owned()];
    let error = pod.runtime.exec_sync(&id, &missing, None).await.expect_err("it cannot start");
    assert!(error.to_string().ends_with("exec: \"no-such-program\": executable file not found in $PATH"), "{error}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_past_its_time_is_killed() {
    let pod = Pod::start().await;
    let id = pod.run(Pod::shell("exec sleep 1000")).await;
    let command = ["sh", "-c", "sleep 777"].map(str::to_owned);
    let error = pod.runtime.exec_sync(&id, &command, Some(Duration::from_millis(300))).await.expect_err("timeout");
    assert!(matches!(error, CriError::DeadlineExceeded(_)), "{error:?}");
    let gone = async {
        // The shell has become the sleep.
        while pod.exec(&id, "ps | grep -v grep | grep 'sleep 777'").await.0 == 0 {}
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the program is killed");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_execs_leave_no_zombies_that_keep_a_container_from_ending() {
    let pod = Pod::start().await;
    let id = pod.run(Pod::shell("exec sleep 1000")).await;
    for _ in 0..5 {
        pod.runtime.exec_sync(&id, &["nope".to_owned()], None).await.expect_err("it cannot start");
    }
    let (_, zombies) = pod.exec(&id, "grep -l '^State:.Z' /proc/[0-9]*/status; true").await;
    assert_eq!(zombies, "");
    tokio::time::timeout(PATIENCE, pod.runtime.stop_container(&id, Duration::ZERO))
        .await
        .expect("in time")
        .expect("stop");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_exec_passes_input() {
    let pod = Pod::start().await;
    let id = pod.run(Pod::shell("exec sleep 1000")).await;
    let mut session =
        pod.runtime.exec(&ExecRequest { stdin: true, ..request(&id, "cat; exit 3") }).await.expect("exec");
    let mut stdin = session.stdin.take().expect("stdin");
    stdin.write_all(b"round trip").await.expect("write");
    drop(stdin);
    let mut text = String::new();
    session.stdout.take().expect("stdout").read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "round trip");
    assert_eq!(session.exit.await, Ok(3));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_exec_has_a_terminal_that_can_be_resized() {
    let pod = Pod::start().await;
    let id = pod.run(Pod::shell("exec sleep 1000")).await;
    let request = ExecRequest {
        tty: true,
        stdin: true,
        ..request(&id, "trap 'stty size; exit 9' WINCH; tty; echo ready; while :; do sleep 1 & wait; done")
    };
    let mut session = pod.runtime.exec(&request).await.expect("exec");
    let mut stdout = session.stdout.take().expect("stdout");
    let mut text = String::new();
    let mut buffer = [0; 256];
    while !text.contains("ready") {
        let n = tokio::time::timeout(PATIENCE, stdout.read(&mut buffer)).await.expect("in time").expect("read");
        assert!(n > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(text.starts_with("/dev/pts/"), "{text}");
    session.resize.send(TerminalSize { width: 123, height: 45 }).await.expect("resize");
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, stdout.read_to_string(&mut rest)).await.expect("in time").expect("read");
    assert!(rest.contains("45 123"), "{rest}");
    assert_eq!(session.exit.await, Ok(9));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal_can_be_attached_to() {
    let pod = Pod::start().await;
    let mut config =
        Pod::shell("tty; while read line; do echo got:$line; [ $line = bye ] && stty size && exit 4; done");
    (config.tty, config.stdin) = (true, true);
    let id = pod.run(config).await;
    let attach = AttachRequest { container_id: id.clone(), tty: true, stdin: true, stdout: true, stderr: false };
    let mut session = pod.runtime.attach(&attach).await.expect("attach");
    session.resize.send(TerminalSize { width: 90, height: 30 }).await.expect("resize");
    session.stdin.as_mut().expect("stdin").write_all(b"hello\n").await.expect("write");
    let mut stdout = session.stdout.take().expect("stdout");
    let (mut text, mut buffer) = (String::new(), [0; 256]);
    while !text.contains("got:hello") {
        let n = tokio::time::timeout(PATIENCE, stdout.read(&mut buffer)).await.expect("in time").expect("read");
        assert!(n > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    session.stdin.as_mut().expect("stdin").write_all(b"bye\n").await.expect("write");
    assert_eq!(session.exit.await, Ok(4));
    let status = pod.wait(&id).await;
    let log = crate::pod::log_text(status.log_path.as_ref());
    assert!(log.contains("got:hello") && log.contains("30 90"), "{log}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_closes_with_the_first_client_where_asked_for() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("cat; echo end of input");
    (config.stdin, config.stdin_once) = (true, true);
    let id = pod.run(config).await;
    let attach = AttachRequest { container_id: id.clone(), stdin: true, stdout: true, ..AttachRequest::default() };
    let mut session = pod.runtime.attach(&attach).await.expect("attach");
    let mut stdin = session.stdin.take().expect("stdin");
    stdin.write_all(b"data\n").await.expect("write");
    drop(stdin);
    let mut text = String::new();
    session.stdout.take().expect("stdout").read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "data\nend of input\n");
    assert_eq!(pod.wait(&id).await.exit_code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_the_sandbox_can_be_reached() {
    let pod = Pod::start().await;
    pod.run(Pod::shell("while :; do nc -l -p 8080 -e cat; done")).await;
    let connect = async {
        loop {
            match pod.runtime.port_forward(&pod.sandbox, 8080).await {
                Ok(stream) => return stream,
                // Not listening yet.
                Err(error) => assert!(error.to_string().contains("refused"), "{error}"),
            }
        }
    };
    let mut stream = tokio::time::timeout(PATIENCE, connect).await.expect("in time");
    stream.write_all(b"ping").await.expect("write");
    let mut buffer = [0; 4];
    stream.read_exact(&mut buffer).await.expect("read");
    assert_eq!(&buffer, b"ping");
    drop(stream);
    pod.finish().await;
}
