//! exec, attach, cp and port-forward: SPDY from old programs, WebSocket from new ones.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::{
    kubectl::{Kubectl, finish},
    workloads::answer,
};

const TARGETS: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}
  - {name: echoes, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'read line; echo got $line'], stdin: true, stdinOnce: true}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]
";

pub(crate) fn all(kubectl: &Kubectl) {
    let namespace = kubectl.label();
    kubectl.namespace(&namespace);
    kubectl.ok_with(&format!("apply -n {namespace} -f -"), TARGETS);
    kubectl.ok(&format!("wait --for=condition=Ready pod/web pod/shell -n {namespace} --timeout=60s"));
    exec(kubectl, &namespace);
    terminal(kubectl, &namespace);
    attach(kubectl, &namespace);
    copy(kubectl, &namespace);
    forward(kubectl, &namespace);
    kubectl.ok(&format!("delete namespace {namespace} --wait=false"));
}

fn exec(kubectl: &Kubectl, namespace: &str) {
    let ran = kubectl.run(&format!("exec -n {namespace} shell -c c -- sh -c 'echo out; echo err >&2; exit 3'"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "out\n"), "{ran:#?}");
    assert!(ran.stderr.contains("err\n") && ran.stderr.ends_with("command terminated with exit code 3\n"), "{ran:#?}");
    let ran = kubectl.run(&format!("exec -n {namespace} shell -c c -- echo hi"));
    // client-go reads the first, empty message, with which upstream's server opens a session too, before it knows its
    // own streams, now and then, and says so.
    let complaints = ran.stderr.lines().filter(|line| !line.contains("Unknown stream id 1, discarding message"));
    assert_eq!((ran.code, ran.stdout.as_str(), complaints.count()), (Some(0), "hi\n", 0), "{ran:#?}");
    // More than any buffer on the way, so that neither direction may wait for the other.
    let large = "0123456789abcdef".repeat(128 * 1024);
    let ran = kubectl.run_with(&format!("exec -i -n {namespace} shell -c c -- cat"), large.as_bytes());
    assert!(ran.code == Some(0) && ran.stdout == large, "{:?}, {} bytes came back", ran.code, ran.stdout.len());
    let ran = kubectl.run(&format!("exec -n {namespace} shell -c c -- nosuch"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("executable file not found in $PATH"), "{ran:#?}");
}

/// `script` gives kubectl the terminal that it wants.
fn terminal(kubectl: &Kubectl, namespace: &str) {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: script is not installed");
        return;
    }
    let inner = kubectl.command(&format!("exec -it -n {namespace} shell -c c -- sh -c 'tty; exit 5'"));
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut command = Command::new("script");
    command.args(["-qec", &words.join(" "), "/dev/null"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ran = finish(child, b"");
    assert_eq!(ran.code, Some(5), "{ran:#?}");
    assert!(ran.stdout.contains("/dev/pts/"), "{ran:#?}");
}

fn attach(kubectl: &Kubectl, namespace: &str) {
    let ran = kubectl.run_with(&format!("attach -i -n {namespace} shell -c echoes"), b"hello\n");
    assert!(ran.stdout.contains("got hello"), "{ran:#?}");
}

fn copy(kubectl: &Kubectl, namespace: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (there, back) = (directory.path().join("there"), directory.path().join("back"));
    fs::write(&there, "some bytes\n".repeat(10_000)).unwrap();
    kubectl.ok(&format!("cp -n {namespace} -c c {} shell:/tmp/copied", there.display()));
    kubectl.ok(&format!("cp -n {namespace} -c c shell:/tmp/copied {}", back.display()));
    assert!(fs::read(&there).unwrap() == fs::read(&back).unwrap(), "the copy differs");
}

fn forward(kubectl: &Kubectl, namespace: &str) {
    let mut command = kubectl.command(&format!("port-forward -n {namespace} pod/web :80 --address 127.0.0.1"));
    let mut forwarding = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines();
    let line = lines.next().expect("port-forward says where it listens").unwrap();
    let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next()).expect(&line);
    for _ in 0..3 {
        assert_eq!(answer(address).unwrap(), "HTTP/1.1 200 OK");
    }
    forwarding.kill().unwrap();
    forwarding.wait().unwrap();
}
