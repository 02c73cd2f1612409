//! Jobs and pods in, pods to make and take away, status and events out.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{plan::*, *};

const NOW: i64 = 1_000_000;

fn at(ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - ago).unwrap()
}

/// The first line is the Job: `completions=N|- parallelism=N [indexed] [limit=N] [deadline=S] [started=S] [suspend]
/// [uncounted=UID] [succeeded=N] [done=INDEXES] [target=REASON]`; each other one a pod: `NAME PHASE [ended=S]
/// [index=N] [deleting] [free]`, where `free` has no finalizer any more.
fn check(input: &str, expected: Expect) {
    let mut lines = input.lines();
    let head: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let value = |words: &[&str], name: &str| {
        words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let number = |words: &[&str], name: &str| value(words, name).and_then(|text| text.parse::<i64>().ok());
    let mut status = json!({"startTime": number(&head, "started").map(at), "succeeded": number(&head, "succeeded"),
        "completedIndexes": value(&head, "done")});
    if let Some(uid) = value(&head, "uncounted") {
        status["uncountedTerminatedPods"] = json!({"succeeded": [uid]});
    }
    if let Some(reason) = value(&head, "target") {
        status["conditions"] = json!([{"type": "FailureTarget", "status": "True", "reason": reason, "message": "m"}]);
    }
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "j", "namespace": "n", "uid": "me"},
        "spec": {"completions": number(&head, "completions"), "parallelism": number(&head, "parallelism"),
            "completionMode": if head.contains(&"indexed") { "Indexed" } else { "NonIndexed" },
            "backoffLimit": number(&head, "limit"), "activeDeadlineSeconds": number(&head, "deadline"),
            "suspend": head.contains(&"suspend"), "template": {}},
        "status": status,
    }))
    .unwrap();
    let pods: Vec<Arc<Pod>> = lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let ended = number(&words, "ended").map(at);
            let index = value(&words, "index").map(|index| json!({super::indexes::ANNOTATION: index}));
            let finalizers: Vec<Value> = if words.contains(&"free") { Vec::new() } else { vec![TRACKING.into()] };
            let state = json!({"terminated": {"exitCode": 1, "finishedAt": ended}});
            let pod = json!({
                "metadata": {"name": words[0], "namespace": "n", "uid": words[0], "annotations": index,
                    "finalizers": finalizers, "creationTimestamp": at(500),
                    "deletionTimestamp": words.contains(&"deleting").then(|| at(1))},
                "spec": {"nodeName": "node", "containers": []},
                "status": {"phase": words[1], "containerStatuses": ended.map(|_| json!([{"name": "c", "image": "",
                    "imageID": "", "ready": false, "restartCount": 0, "state": state}]))},
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        })
        .collect();
    let plan = plan(&View { job: &job, pods: &pods }, at(0));
    let names = |pods: &[Arc<Pod>]| {
        pods.iter().map(|pod| pod.metadata.name.clone().unwrap_or_default()).collect::<Vec<_>>().join(",")
    };
    let create: Vec<_> =
        plan.create.iter().map(|slot| slot.map_or("*".to_owned(), |index| index.to_string())).collect();
    let status = plan.status.map_or("unchanged".to_owned(), |status| {
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .flatten()
            .map(|one| format!("{}={}/{}", one.type_, one.status, one.reason.as_deref().unwrap_or_default()))
            .collect();
        format!(
            "active={} succeeded={} failed={} indexes={} uncounted={}+{} {}",
            status.active.unwrap_or(0),
            status.succeeded.unwrap_or(0),
            status.failed.unwrap_or(0),
            status.completed_indexes.unwrap_or_default(),
            uncounted.succeeded.unwrap_or_default().join(","),
            uncounted.failed.unwrap_or_default().join(","),
            conditions.join(" ")
        )
    });
    let events: Vec<_> = plan.events.iter().map(|(_, reason, _)| *reason).collect();
    expected.assert_eq(&format!(
        "create [{}] delete [{}] release [{}] events [{}]\n{status}\n{:?}",
        create.join(","),
        names(&plan.delete),
        names(&plan.release),
        events.join(","),
        plan.next
    ));
}

#[test]
fn as_many_pods_run_as_are_wanted_at_once() {
    check(
        "completions=5 parallelism=2",
        expect![[r#"
        create [*,*] delete [] release [] events []
        active=2 succeeded=0 failed=0 indexes= uncounted=+ 
        Await"#]],
    );
    check(
        "completions=5 parallelism=2 started=9 succeeded=4\na Running",
        expect![[r#"
        create [] delete [] release [] events []
        active=1 succeeded=4 failed=0 indexes= uncounted=+ 
        Await"#]],
    );
}

#[test]
fn an_end_is_written_before_its_pod_is_let_go() {
    check(
        "completions=2 parallelism=1 started=9\na Succeeded ended=1",
        expect![[r#"
        create [*] delete [] release [a] events []
        active=1 succeeded=0 failed=0 indexes= uncounted=a+ 
        Await"#]],
    );
    check(
        "completions=2 parallelism=1 started=9 uncounted=a\na Succeeded free\nb Running",
        expect![[r#"
        create [] delete [] release [] events []
        active=1 succeeded=1 failed=0 indexes= uncounted=+ 
        Await"#]],
    );
}

#[test]
fn a_job_is_complete_when_all_are_counted() {
    check(
        "completions=1 parallelism=1 started=9\na Succeeded ended=1",
        expect![[r#"
        create [] delete [] release [a] events []
        active=0 succeeded=0 failed=0 indexes= uncounted=a+ SuccessCriteriaMet=True/CompletionsReached
        Await"#]],
    );
    check(
        "completions=1 parallelism=1 started=9 uncounted=a",
        expect![[r#"
        create [] delete [] release [] events [Completed]
        active=0 succeeded=1 failed=0 indexes= uncounted=+ SuccessCriteriaMet=True/CompletionsReached Complete=True/CompletionsReached
        Await"#]],
    );
}

#[test]
fn failures_delay_new_pods() {
    check(
        "completions=1 parallelism=1 started=99\na Failed ended=4\nb Failed ended=3",
        expect![[r#"
        create [] delete [] release [a,b] events []
        active=0 succeeded=0 failed=0 indexes= uncounted=+a,b 
        After(17s)"#]],
    );
}

#[test]
fn too_many_failures_end_the_job() {
    check(
        "completions=3 parallelism=2 limit=0 started=99\na Failed ended=4\nb Running",
        expect![[r#"
        create [] delete [b] release [a] events []
        active=0 succeeded=0 failed=0 indexes= uncounted=+a FailureTarget=True/BackoffLimitExceeded
        Await"#]],
    );
    check(
        "completions=3 parallelism=2 limit=0 started=99 target=BackoffLimitExceeded",
        expect![[r#"
        create [] delete [] release [] events [BackoffLimitExceeded]
        active=0 succeeded=0 failed=0 indexes= uncounted=+ FailureTarget=True/BackoffLimitExceeded Failed=True/BackoffLimitExceeded
        Await"#]],
    );
}

#[test]
fn a_deadline_ends_the_job() {
    check(
        "completions=1 parallelism=1 deadline=60 started=20\na Running",
        expect![[r#"
        create [] delete [] release [] events []
        active=1 succeeded=0 failed=0 indexes= uncounted=+ 
        After(40s)"#]],
    );
    check(
        "completions=1 parallelism=1 deadline=60 started=60\na Running",
        expect![[r#"
        create [] delete [a] release [] events []
        active=0 succeeded=0 failed=0 indexes= uncounted=+ FailureTarget=True/DeadlineExceeded
        Await"#]],
    );
}

#[test]
fn each_index_is_done_once() {
    check(
        "completions=5 parallelism=3 indexed started=9 done=0,2\na Running index=1\nb Succeeded index=3 ended=1",
        expect![[r#"
            create [4] delete [] release [b] events []
            active=2 succeeded=3 failed=0 indexes=0,2,3 uncounted=+ 
            Await"#]],
    );
}

#[test]
fn a_work_queue_is_empty_when_one_succeeded_and_none_runs() {
    check(
        "completions=- parallelism=3 started=9\na Succeeded ended=1\nb Running\nc Running",
        expect![[r#"
        create [] delete [] release [a] events []
        active=2 succeeded=0 failed=0 indexes= uncounted=a+ 
        Await"#]],
    );
    check(
        "completions=- parallelism=3 started=9 succeeded=3",
        expect![[r#"
        create [] delete [] release [] events [Completed]
        active=0 succeeded=3 failed=0 indexes= uncounted=+ SuccessCriteriaMet=True/CompletionsReached Complete=True/CompletionsReached
        Await"#]],
    );
}

#[test]
fn suspending_stops_all_pods() {
    check(
        "completions=5 parallelism=2 suspend started=9\na Running\nb Running",
        expect![[r#"
        create [] delete [a,b] release [] events [Suspended]
        active=0 succeeded=0 failed=0 indexes= uncounted=+ Suspended=True/JobSuspended
        Await"#]],
    );
}
