//! StatefulSets and pods in, pods to make and take away and status out.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use super::{plan::*, *};

/// The first line is the set: `replicas=N [parallel] [partition=N] [unavailable=N] [ondelete] [start=N]`; each other
/// one a pod: `ORDINAL [ready] [old] [deleting] [phase=P]`.
fn check(input: &str, expected: Expect) {
    let mut lines = input.lines();
    let head: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let value = |words: &[&str], name: &str| {
        words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let number = |name: &str| value(&head, name).and_then(|text| text.parse::<i32>().ok());
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "n", "uid": "me", "generation": 1},
        "spec": {"replicas": number("replicas"), "selector": {}, "template": {},
            "ordinals": number("start").map(|start| json!({"start": start})),
            "podManagementPolicy": if head.contains(&"parallel") { "Parallel" } else { "OrderedReady" },
            "updateStrategy": {"type": if head.contains(&"ondelete") { "OnDelete" } else { "RollingUpdate" },
                "rollingUpdate": {"partition": number("partition"), "maxUnavailable": number("unavailable")}}},
    }))
    .unwrap();
    let pods: Vec<Arc<Pod>> = lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let revision = if words.contains(&"old") { "old" } else { "new" };
            let ready = if words.contains(&"ready") { "True" } else { "False" };
            let pod = json!({
                "metadata": {"name": format!("s-{}", words[0]), "labels": {crate::history::HASH_LABEL: revision},
                    "deletionTimestamp": words.contains(&"deleting").then_some("2026-01-01T00:00:00Z")},
                "status": {"phase": value(&words, "phase").unwrap_or("Running".into()),
                    "conditions": [{"type": "Ready", "status": ready}]},
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        })
        .collect();
    let revisions = Revisions {
        current: "old".into(),
        current_template: Default::default(),
        update: "new".into(),
        update_template: Default::default(),
    };
    let plan = plan(&View { set: &set, pods: &pods, revisions: &revisions }, Timestamp::UNIX_EPOCH);
    let create: Vec<_> = plan
        .create
        .iter()
        .map(|pod| {
            let revision = identity::revision_of(pod).unwrap_or_default();
            format!("{}@{revision}", pod.metadata.name.as_deref().unwrap_or_default())
        })
        .collect();
    let delete: Vec<_> = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap_or_default()).collect();
    let status = plan.status.unwrap_or_default();
    expected.assert_eq(&format!(
        "create [{}] delete [{}] replicas={} ready={} updated={} current={}",
        create.join(","),
        delete.join(","),
        status.replicas,
        status.ready_replicas.unwrap_or(0),
        status.updated_replicas.unwrap_or(0),
        status.current_revision.unwrap_or_default(),
    ));
}

#[test]
fn pods_are_made_one_after_another() {
    check("replicas=3", expect!["create [s-0@new] delete [] replicas=0 ready=0 updated=0 current=old"]);
    check("replicas=3\n0", expect!["create [] delete [] replicas=1 ready=0 updated=1 current=old"]);
    check("replicas=3\n0 ready", expect!["create [s-1@new] delete [] replicas=1 ready=1 updated=1 current=old"]);
    check(
        "replicas=3 start=5\n5 ready",
        expect!["create [s-6@new] delete [] replicas=1 ready=1 updated=1 current=old"],
    );
}

#[test]
fn or_all_at_once() {
    check(
        "replicas=3 parallel",
        expect!["create [s-0@new,s-1@new,s-2@new] delete [] replicas=0 ready=0 updated=0 current=old"],
    );
    check(
        "replicas=0 parallel\n0 ready\n1 ready",
        expect!["create [] delete [s-1,s-0] replicas=2 ready=2 updated=2 current=old"],
    );
}

#[test]
fn the_highest_goes_first() {
    check(
        "replicas=1\n0 ready\n1 ready\n2 ready",
        expect!["create [] delete [s-2] replicas=3 ready=3 updated=3 current=old"],
    );
    check(
        "replicas=1\n0 ready\n1 ready\n2 ready deleting",
        expect!["create [] delete [] replicas=3 ready=3 updated=2 current=old"],
    );
}

#[test]
fn an_ended_pod_is_replaced() {
    check(
        "replicas=2\n0 phase=Failed\n1 ready",
        expect!["create [] delete [s-0] replicas=1 ready=1 updated=1 current=old"],
    );
}

#[test]
fn a_rollout_goes_down_from_the_highest() {
    check(
        "replicas=3\n0 ready old\n1 ready old\n2 ready old",
        expect!["create [] delete [s-2] replicas=3 ready=3 updated=0 current=old"],
    );
    check(
        "replicas=3\n0 ready old\n1 ready old\n2",
        expect!["create [] delete [] replicas=3 ready=2 updated=1 current=old"],
    );
    check(
        "replicas=3\n0 ready old\n1 ready old\n2 ready",
        expect!["create [] delete [s-1] replicas=3 ready=3 updated=1 current=old"],
    );
    check(
        "replicas=3\n0 ready\n1 ready\n2 ready",
        expect!["create [] delete [] replicas=3 ready=3 updated=3 current=new"],
    );
    check(
        "replicas=3 unavailable=2 parallel\n0 ready old\n1 ready old\n2 ready old",
        expect!["create [] delete [s-2,s-1] replicas=3 ready=3 updated=0 current=old"],
    );
}

#[test]
fn a_partition_holds_the_rollout() {
    check(
        "replicas=3 partition=2\n0 ready old\n1 ready old\n2 ready",
        expect!["create [] delete [] replicas=3 ready=3 updated=1 current=old"],
    );
    check(
        "replicas=3 partition=2\n1 ready old\n2 ready",
        expect!["create [s-0@old] delete [] replicas=2 ready=2 updated=1 current=old"],
    );
}

#[test]
fn on_delete_leaves_old_pods_alone() {
    check("replicas=1 ondelete\n0 ready old", expect!["create [] delete [] replicas=1 ready=1 updated=0 current=old"]);
}
