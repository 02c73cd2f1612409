//! ReplicaSets and pods in, actions and status out.

use api::{
    Time,
    core::v1::{ContainerStatus, PodCondition, PodSpec, PodStatus},
};
use expect_test::{Expect, expect};
use serde_json::json;
use std::sync::Arc;

use super::{plan::*, *};

const NOW: i64 = 1_000_000;

fn at(ago: i64) -> Time {
    Time(Timestamp::from_second(NOW - ago).unwrap())
}

/// The first line is the ReplicaSet: `replicas=N [minReady=S] [deleting] [failing]`; each other one a pod:
/// `name [ready=SECONDS_AGO] [node=N] [phase=P] [cost=N] [restarts=N] [age=S] [deleting] [related]`.
fn check(input: &str, expected: Expect) {
    let mut lines = input.lines();
    let head: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let value = |words: &[&str], name: &str| {
        words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")).map(str::to_owned))
    };
    let mut replica_set: ReplicaSet = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "me", "generation": 2},
        "spec": {
            "replicas": value(&head, "replicas").and_then(|text| text.parse::<i32>().ok()),
            "minReadySeconds": value(&head, "minReady").and_then(|text| text.parse::<i32>().ok()),
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}},
        },
    }))
    .unwrap();
    if head.contains(&"deleting") {
        replica_set.metadata.deletion_timestamp = Some(at(1));
    }
    if head.contains(&"failing") {
        replica_set.status = serde_json::from_value(
            json!({"replicas": 0, "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}]}),
        )
        .unwrap();
    }
    let (mut pods, mut related) = (Vec::new(), Vec::new());
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |name| value(&words, name).and_then(|text| text.parse::<i64>().ok());
        let mut pod = Pod::default();
        pod.metadata.name = Some(words[0].into());
        pod.metadata.uid = Some(words[0].into());
        pod.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
        pod.metadata.creation_timestamp = Some(at(number("age").unwrap_or(100)));
        pod.metadata.deletion_timestamp = words.contains(&"deleting").then(|| at(1));
        pod.metadata.annotations =
            value(&words, "cost").map(|cost| [("controller.kubernetes.io/pod-deletion-cost".to_owned(), cost)].into());
        pod.spec = Some(PodSpec {
            node_name: Some(value(&words, "node").unwrap_or("a".into())).filter(|node| node != "-"),
            ..PodSpec::default()
        });
        let ready = number("ready").map(|ago| PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Some(at(ago)),
            ..PodCondition::default()
        });
        let restarts = i32::try_from(number("restarts").unwrap_or(0)).unwrap();
        pod.status = Some(PodStatus {
            phase: Some(value(&words, "phase").unwrap_or("Running".into())),
            conditions: ready.map(|ready| vec![ready]),
            container_statuses: Some(vec![ContainerStatus { restart_count: restarts, ..ContainerStatus::default() }]),
            ..PodStatus::default()
        });
        if words.contains(&"related") { related.push(Arc::new(pod)) } else { pods.push(Arc::new(pod)) }
    }
    related.extend(pods.iter().cloned());
    let now = Timestamp::from_second(NOW).unwrap();
    let view = View { replica_set: &replica_set, pods: &pods, related: &related };
    let plan = plan(&view, now);
    let scale = match &plan.scale {
        Scale::Nothing => "nothing".to_owned(),
        Scale::Create(count) => format!("create {count}"),
        Scale::Delete(pods) => {
            let names: Vec<_> = pods.iter().map(|pod| pod.metadata.name.clone().unwrap_or_default()).collect();
            format!("delete {}", names.join(" "))
        }
    };
    let status = plan.status(None, now).map_or("unchanged".to_owned(), |status| {
        format!(
            "replicas={} ready={} available={} terminating={} conditions={}",
            status.replicas,
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.terminating_replicas.unwrap_or(0),
            status.conditions.map_or(0, |conditions| conditions.len()),
        )
    });
    expected.assert_eq(&format!("{scale}; {status}; {:?}", plan.next));
}

#[test]
fn missing_pods_are_created() {
    check("replicas=3\na", expect!["create 2; replicas=1 ready=0 available=0 terminating=0 conditions=0; Await"]);
}

#[test]
fn ended_and_terminating_pods_do_not_count() {
    check(
        "replicas=2\na ready=1\nb phase=Failed\nc deleting",
        expect!["create 1; replicas=1 ready=1 available=1 terminating=1 conditions=0; Await"],
    );
}

#[test]
fn a_burst_is_bounded() {
    check("replicas=9999", expect!["create 500; replicas=0 ready=0 available=0 terminating=0 conditions=0; Await"]);
}

#[test]
fn nothing_is_scaled_while_being_deleted() {
    check("replicas=3 deleting", expect!["nothing; replicas=0 ready=0 available=0 terminating=0 conditions=0; Await"]);
}

#[test]
fn availability_is_awaited_to_the_second() {
    check(
        "replicas=2 minReady=10\na ready=4\nb ready=30",
        expect!["nothing; replicas=2 ready=2 available=1 terminating=0 conditions=0; After(6s)"],
    );
}

#[test]
fn a_failure_that_is_over_is_taken_back() {
    check("replicas=0 failing", expect!["nothing; replicas=0 ready=0 available=0 terminating=0 conditions=0; Await"]);
}

#[test]
fn pods_are_deleted_in_upstreams_order() {
    let pods = "replicas=1\n\
        best ready=1000 age=1000\n\
        unassigned node=-\n\
        pending phase=Pending\n\
        unready\n\
        cheap ready=1000 cost=-5 age=1000\n\
        crowded ready=1000 node=b age=1000\nother1 node=b related\nother2 node=b related\nother3 node=b related\nother4 node=b related\nother5 node=b related\nother6 node=b related\n\
        young ready=10 age=1000\n\
        restarted ready=1000 restarts=3 age=1000";
    check(
        pods,
        expect![
            "delete unassigned pending unready cheap crowded young restarted; replicas=8 ready=5 available=5 terminating=0 conditions=0; Await"
        ],
    );
}

#[test]
fn restarts_count_between_pods_of_one_age() {
    check(
        "replicas=1\na ready=64 age=100\nb ready=64 restarts=2 age=100",
        expect!["delete b; replicas=2 ready=2 available=2 terminating=0 conditions=0; Await"],
    );
}
