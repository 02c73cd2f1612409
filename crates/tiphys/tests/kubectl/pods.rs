//! Pods that end, crash, are killed, and what they said.

use expect_test::expect;

use crate::kubectl::{Kubectl, masked};

const ENDS: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: ends}
spec:
  restartPolicy: Never
  containers: [{name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'exit 3']}]
---
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'echo bye; exit 7']}
  - {name: stays, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}
";

/// Ends, restarts, back-off, forced deletion.
pub(crate) fn lives(kubectl: &Kubectl) {
    kubectl.namespace("lives");
    let run = |line: &str| kubectl.ok(&format!("{line} -n lives"));
    kubectl.ok_with("apply -n lives -f -", ENDS);
    run("wait --for=jsonpath='{.status.phase}'=Failed pod/ends --timeout=60s");
    expect![[r"
        NAME READY STATUS RESTARTS AGE
        ends 0/1 Error 0 AGE"]]
    .assert_eq(&masked(&run("get pod ends")));
    assert_eq!(run("get pod ends -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}'"), "3");

    run("wait --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 pod/crashes --timeout=60s");
    run(
        "wait --for=jsonpath='{.status.containerStatuses[0].state.waiting.reason}'=CrashLoopBackOff pod/crashes --timeout=60s",
    );
    assert_eq!(run("logs crashes -c c --previous"), "bye\n");
    let missing = kubectl.fails("logs crashes -c stays --previous -n lives", "");
    assert_eq!(
        missing,
        "Error from server (BadRequest): previous terminated container \"stays\" in pod \"crashes\" not found\n"
    );
    let told = run("describe pod crashes");
    for line in ["Exit Code:    7", "Reason:       CrashLoopBackOff"] {
        assert!(told.contains(line), "{line} is missing in {told}");
    }
    kubectl.watch(
        "get events -n lives --field-selector reason=BackOff --watch -o jsonpath='{.message}{\"\\n\"}'",
        |_, seen| seen.contains("Back-off restarting failed container c in pod crashes_lives("),
    );
    assert_eq!(run("get pod crashes -o jsonpath='{.status.qosClass}'"), "BestEffort");
    run("delete pod crashes --grace-period=0 --force --timeout=30s");
    run("delete pod ends --now --timeout=30s");
    let invalid = kubectl.fails(
        "create -n lives -f -",
        "{apiVersion: v1, kind: Pod, metadata: {name: Bad_Name}, spec: {containers: [{name: c, image: ''}]}}",
    );
    assert!(
        invalid.starts_with("The Pod \"Bad_Name\" is invalid: \n* metadata.name: Invalid value: \"Bad_Name\":"),
        "{invalid}"
    );
    assert!(invalid.contains("\n* spec.containers[0].image: Required value"), "{invalid}");
    kubectl.drop_namespace("lives");
}

const TALKS: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: talks, labels: {app: talks}}
spec:
  restartPolicy: Never
  containers:
  - {name: first, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'echo one; echo two; echo three']}
  - {name: second, image: busybox, imagePullPolicy: IfNotPresent, command: [echo, four]}
";

pub(crate) fn logs(kubectl: &Kubectl) {
    kubectl.namespace("logs");
    let run = |line: &str| kubectl.ok(&format!("logs -n logs {line}"));
    kubectl.ok_with("apply -n logs -f -", TALKS);
    kubectl.ok("wait --for=jsonpath='{.status.phase}'=Succeeded pod/talks -n logs --timeout=60s");
    assert_eq!(run("talks -c first"), "one\ntwo\nthree\n");
    assert_eq!(run("talks -c first --tail=1"), "three\n");
    assert_eq!(run("talks -c first -f"), "one\ntwo\nthree\n", "following an ended container ends");
    assert_eq!(run("talks -c first --since=1h --limit-bytes=4"), "one\n");
    assert_eq!(run("talks --all-containers --prefix --tail=1"), "[pod/talks/first] three\n[pod/talks/second] four\n");
    assert_eq!(run("-l app=talks -c second"), "four\n");
    let stamped = run("talks -c second --timestamps");
    let (stamp, line) = stamped.split_once(' ').unwrap();
    assert!(stamp.ends_with('Z') && stamp.len() > 20 && line == "four\n", "{stamped}");
    assert!(kubectl.fails("logs talks -c nope -n logs", "").contains("container nope is not valid for pod talks"));
    kubectl.drop_namespace("logs");
}
