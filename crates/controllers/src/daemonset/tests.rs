//! DaemonSets, nodes and pods in, pods to make and take away and status out.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use super::{plan::*, *};

/// The first line is the DaemonSet: `[unavailable=N] [surge=N] [ondelete] [selector=K:V]`; then `node NAME [label=K:V]
/// [taint=KEY:EFFECT]`, `pod NAME on=NODE [old] [ready] [deleting] [phase=P]`.
fn check(input: &str, expected: Expect) {
    let mut lines = input.lines();
    let head: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let value = |words: &[&str], name: &str| {
        words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let pair = |text: Option<String>| {
        text.and_then(|text| text.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned())))
    };
    let number = |name: &str| value(&head, name).and_then(|text| text.parse::<i32>().ok());
    let selector = pair(value(&head, "selector")).map(|(key, value)| json!({key: value}));
    let set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "d", "namespace": "n", "uid": "me", "generation": 1},
        "spec": {"selector": {}, "template": {"spec": {"containers": [], "nodeSelector": selector}},
            "updateStrategy": {"type": if head.contains(&"ondelete") { "OnDelete" } else { "RollingUpdate" },
                "rollingUpdate": {"maxUnavailable": number("unavailable"), "maxSurge": number("surge")}}},
    }))
    .unwrap();
    let (mut nodes, mut pods) = (Vec::new(), Vec::new());
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        if words[0] == "node" {
            let labels = pair(value(&words, "label")).map(|(key, value)| json!({key: value}));
            let taints = pair(value(&words, "taint")).map(|(key, effect)| json!([{"key": key, "effect": effect}]));
            let node = json!({"metadata": {"name": words[1], "labels": labels}, "spec": {"taints": taints}});
            nodes.push(Arc::new(serde_json::from_value(node).unwrap()));
        } else {
            let hash = if words.contains(&"old") { "old" } else { "new" };
            let ready = if words.contains(&"ready") { "True" } else { "False" };
            let pod = json!({
                "metadata": {"name": words[1], "namespace": "n", "uid": words[1], "labels": {crate::history::HASH_LABEL: hash},
                    "deletionTimestamp": words.contains(&"deleting").then_some("2026-01-01T00:00:00Z")},
                "spec": {"nodeName": value(&words, "on"), "containers": []},
                "status": {"phase": value(&words, "phase").unwrap_or("Running".into()),
                    "conditions": [{"type": "Ready", "status": ready}]},
            });
            pods.push(Arc::new(serde_json::from_value(pod).unwrap()));
        }
    }
    let view = View { set: &set, nodes: &nodes, pods: &pods, hash: "new", hold: &|_| std::time::Duration::ZERO };
    let plan = plan(&view, Timestamp::UNIX_EPOCH);
    let delete: Vec<_> = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap_or_default()).collect();
    let events: Vec<_> = plan.events.iter().map(|(_, reason, _)| *reason).collect();
    let status = plan.status.unwrap_or_default();
    expected.assert_eq(&format!(
        "create [{}] delete [{}] events [{}] desired={} current={} misscheduled={} ready={} updated={} available={}",
        plan.create.join(","),
        delete.join(","),
        events.join(","),
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        status.updated_number_scheduled.unwrap_or(0),
        status.number_available.unwrap_or(0),
    ));
}

#[test]
fn every_selected_node_gets_a_pod() {
    check(
        "selector=disk:ssd\nnode a label=disk:ssd\nnode b\nnode c label=disk:ssd\npod p on=c ready\npod q on=b",
        expect!["create [a] delete [q] events [] desired=2 current=1 misscheduled=1 ready=1 updated=1 available=1"],
    );
}

#[test]
fn taints_keep_new_pods_off_and_drive_old_ones_away() {
    check(
        "\nnode a taint=mine:NoSchedule\nnode b taint=mine:NoExecute\nnode c taint=node.kubernetes.io/unschedulable:NoSchedule\npod p on=a ready\npod q on=b",
        expect!["create [c] delete [q] events [] desired=1 current=0 misscheduled=2 ready=0 updated=0 available=0"],
    );
}

#[test]
fn a_successor_waits_for_the_end_of_its_predecessor() {
    check(
        "\nnode a\npod p on=a deleting",
        expect!["create [] delete [] events [] desired=1 current=0 misscheduled=0 ready=0 updated=0 available=0"],
    );
}

#[test]
fn ended_pods_are_replaced_and_doubles_removed() {
    check(
        "\nnode a\nnode b\npod p on=a phase=Failed\npod q on=b\npod r on=b",
        expect![
            "create [] delete [p,r] events [FailedDaemonPod] desired=2 current=1 misscheduled=0 ready=0 updated=1 available=0"
        ],
    );
}

#[test]
fn a_rollout_takes_one_at_a_time() {
    check(
        "\nnode a\nnode b\npod p on=a old ready\npod q on=b old ready",
        expect!["create [] delete [p] events [] desired=2 current=2 misscheduled=0 ready=2 updated=0 available=2"],
    );
    check(
        "\nnode a\nnode b\npod p on=a\npod q on=b old ready",
        expect!["create [] delete [] events [] desired=2 current=2 misscheduled=0 ready=1 updated=1 available=1"],
    );
    check(
        "unavailable=2\nnode a\nnode b\npod p on=a old ready\npod q on=b old ready",
        expect!["create [] delete [p,q] events [] desired=2 current=2 misscheduled=0 ready=2 updated=0 available=2"],
    );
    check(
        "\nnode a\nnode b\npod p on=a old\npod q on=b old ready",
        expect!["create [] delete [p] events [] desired=2 current=2 misscheduled=0 ready=1 updated=0 available=1"],
    );
}

#[test]
fn a_surging_rollout_doubles_first() {
    check(
        "surge=1 unavailable=0\nnode a\nnode b\npod p on=a old ready\npod q on=b old ready",
        expect!["create [a] delete [] events [] desired=2 current=2 misscheduled=0 ready=2 updated=0 available=2"],
    );
    check(
        "surge=1 unavailable=0\nnode a\npod p on=a old ready\npod q on=a",
        expect!["create [] delete [] events [] desired=1 current=1 misscheduled=0 ready=1 updated=1 available=1"],
    );
    check(
        "surge=1 unavailable=0\nnode a\npod p on=a old ready\npod q on=a ready",
        expect!["create [] delete [p] events [] desired=1 current=1 misscheduled=0 ready=1 updated=1 available=1"],
    );
}

#[test]
fn on_delete_leaves_old_pods_alone() {
    check(
        "ondelete\nnode a\npod p on=a old ready",
        expect!["create [] delete [] events [] desired=1 current=1 misscheduled=0 ready=1 updated=0 available=1"],
    );
}
