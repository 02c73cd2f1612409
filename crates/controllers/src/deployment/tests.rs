//! Deployments and ReplicaSets in, actions, conditions and next look out.

use std::sync::Arc;

use api::{Time, core::v1::PodStatus};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{plan::*, *};

const NOW: i64 = 1_000_000;

/// One object a line:
/// `deploy web replicas=N template=T [surge=] [unavailable=] [recreate] [paused] [limit=N] [deadline=S] [deleting]
/// [progressing=REASON,SECONDS_AGO] [complete]`,
/// `rs NAME template=T size=N [has=N] [ready=N] [desired=N] [max=N] [rev=N] [age=S]`, `pod NAME of RS`.
fn check(input: &str, expected: Expect) {
    let mut deployment = Deployment::default();
    let (mut replica_sets, mut pods) = (Vec::new(), Vec::new());
    for line in input.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")));
        let number = |name: &str| value(name).and_then(|text| text.parse::<i64>().ok());
        let template = |text: Option<&str>| {
            json!({"metadata": {"labels": {"app": "web"}},
                   "spec": {"containers": [{"name": "c", "image": text.unwrap_or("a")}]}})
        };
        match words[0] {
            "deploy" => deployment = deployment_of(&words, &value, &number, template(value("template"))),
            "rs" => {
                let size = number("size").unwrap_or(0);
                let mut annotations = serde_json::Map::new();
                for (name, word) in [("desired-replicas", "desired"), ("max-replicas", "max"), ("revision", "rev")] {
                    if let Some(text) = value(word) {
                        annotations.insert(format!("deployment.kubernetes.io/{name}"), text.into());
                    }
                }
                let ready = number("ready").unwrap_or(0);
                let created = Timestamp::from_second(NOW - number("age").unwrap_or(100)).unwrap();
                let replica_set: ReplicaSet = serde_json::from_value(json!({
                    "metadata": {"name": words[1], "namespace": "n", "uid": words[1], "generation": 1,
                        "annotations": annotations, "creationTimestamp": created},
                    "spec": {"replicas": size, "selector": {}, "template": template(value("template"))},
                    "status": {"replicas": number("has").unwrap_or(size), "readyReplicas": ready,
                        "availableReplicas": ready, "observedGeneration": 1},
                }))
                .unwrap();
                replica_sets.push(Arc::new(replica_set));
            }
            _ => {
                let pod: Pod = serde_json::from_value(json!({
                    "metadata": {"name": words[1], "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                        "name": words[3], "uid": words[3], "controller": true}]},
                }))
                .unwrap();
                pods.push(Arc::new(Pod { status: Some(PodStatus::default()), ..pod }));
            }
        }
    }
    let view = View { deployment: &deployment, replica_sets, pods };
    let plan = plan(view, Timestamp::from_second(NOW).unwrap());
    expected.assert_eq(&text(&plan));
}

fn deployment_of<'a>(
    words: &[&str],
    value: &dyn Fn(&str) -> Option<&'a str>,
    number: &dyn Fn(&str) -> Option<i64>,
    template: Value,
) -> Deployment {
    let int_or_string = |text: Option<&str>| match text {
        None => Value::Null,
        Some(text) => text.parse::<i32>().map_or_else(|_| text.into(), Into::into),
    };
    let wanted = number("replicas").unwrap_or(1);
    let kind = if words.contains(&"recreate") { "Recreate" } else { "RollingUpdate" };
    let rolling = (kind == "RollingUpdate").then(|| {
        json!({"maxSurge": int_or_string(value("surge").or(Some("25%"))),
               "maxUnavailable": int_or_string(value("unavailable").or(Some("25%")))})
    });
    let mut deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": words[1], "namespace": "n", "uid": "me", "generation": 1},
        "spec": {"replicas": wanted, "selector": {"matchLabels": {"app": "web"}}, "template": template,
            "strategy": {"type": kind, "rollingUpdate": rolling}, "paused": words.contains(&"paused"),
            "revisionHistoryLimit": number("limit").unwrap_or(10), "progressDeadlineSeconds": number("deadline")},
    }))
    .unwrap();
    if words.contains(&"deleting") {
        deployment.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(NOW).unwrap()));
    }
    if words.contains(&"complete") {
        deployment.status = serde_json::from_value(json!({"replicas": wanted, "updatedReplicas": wanted,
            "availableReplicas": wanted, "readyReplicas": wanted, "observedGeneration": 1}))
        .unwrap();
    }
    if let Some((reason, ago)) = value("progressing").and_then(|text| text.split_once(',')) {
        let since = Timestamp::from_second(NOW - ago.parse::<i64>().unwrap()).unwrap();
        let condition = condition_of(reason, since);
        deployment.status.get_or_insert_default().conditions = Some(vec![condition]);
    }
    deployment
}

fn condition_of(reason: &str, since: Timestamp) -> api::apps::v1::DeploymentCondition {
    super::status::condition("Progressing", "True", reason, "", since)
}

fn text(plan: &Plan) -> String {
    let mut lines = Vec::new();
    // Names of new ReplicaSets end in a hash that says nothing to a reader.
    let short = |replica_set: &ReplicaSet| {
        let name = replica_set.metadata.name.clone().unwrap_or_default();
        let hash = replica_set.metadata.labels.as_ref().and_then(|labels| labels.get(api::pod_template::HASH_LABEL));
        hash.map_or(name.clone(), |hash| name.replace(hash.as_str(), "HASH"))
    };
    for action in &plan.actions {
        lines.push(match action {
            Action::Create(replica_set) => {
                format!("create {} replicas={}", short(replica_set), replicas(replica_set))
            }
            Action::Update(replica_set) => format!(
                "update {} replicas={} revision={}",
                short(replica_set),
                replicas(replica_set),
                super::revision::of(replica_set)
            ),
            Action::Delete(replica_set) => format!("delete {}", short(replica_set)),
            Action::Event(_, reason, message) if message.contains("web-a") || message.contains("web-b") => {
                format!("event {reason} {message}")
            }
            Action::Event(_, reason, _) => format!("event {reason} …"),
        });
    }
    if let Some(deployment) = &plan.updated {
        let status = deployment.status.clone().unwrap_or_default();
        let conditions: Vec<_> = status
            .conditions
            .iter()
            .flatten()
            .map(|condition| {
                format!("{}={}/{}", condition.type_, condition.status, condition.reason.as_deref().unwrap_or_default())
            })
            .collect();
        lines.push(format!(
            "status {}/{} updated={} {}",
            status.available_replicas.unwrap_or(0),
            status.replicas.unwrap_or(0),
            status.updated_replicas.unwrap_or(0),
            conditions.join(" ")
        ));
    }
    lines.push(format!("{:?}", plan.next));
    lines.join("\n")
}

#[test]
fn the_first_replica_set_is_created_whole() {
    check(
        "deploy web replicas=3 deadline=600",
        expect![[r#"
        create web-HASH replicas=3
        event ScalingReplicaSet …
        status 0/0 updated=0 Progressing=True/NewReplicaSetCreated Available=False/MinimumReplicasUnavailable
        After(601s)"#]],
    );
}

#[test]
fn surge_rounds_up() {
    check(
        "deploy web replicas=3 template=b\nrs web-a template=a size=3 ready=3 rev=1",
        expect![[r#"
        create web-HASH replicas=1
        event ScalingReplicaSet …
        status 3/3 updated=0 Available=True/MinimumReplicasAvailable
        Await"#]],
    );
}

#[test]
fn old_pods_go_as_new_ones_become_available() {
    check(
        "deploy web replicas=4 template=b\nrs web-a size=3 ready=3 rev=1\nrs web-b template=b size=2 ready=2 rev=2",
        expect![[r#"
            update web-a replicas=1 revision=1
            event ScalingReplicaSet Scaled down replica set web-a from 3 to 1
            status 5/5 updated=2 Available=True/MinimumReplicasAvailable
            Await"#]],
    );
}

#[test]
fn unhealthy_old_pods_go_first() {
    check(
        "deploy web replicas=4 unavailable=0 surge=1 template=b\nrs web-a size=4 ready=3 rev=1\nrs web-b template=b size=1 ready=1 rev=2",
        expect![[r#"
            update web-a replicas=3 revision=1
            event ScalingReplicaSet Scaled down replica set web-a from 4 to 3
            status 4/5 updated=1 Available=True/MinimumReplicasAvailable
            Await"#]],
    );
}

#[test]
fn no_surge_and_no_unavailability_means_one_unavailable() {
    check(
        "deploy web replicas=2 unavailable=0 surge=0 template=b\nrs web-a size=2 ready=2 rev=1\nrs web-b template=b size=0 rev=2",
        expect![[r#"
            update web-a replicas=1 revision=1
            event ScalingReplicaSet Scaled down replica set web-a from 2 to 1
            status 2/2 updated=0 Available=True/MinimumReplicasAvailable
            Await"#]],
    );
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    check(
        "deploy web replicas=2 recreate template=b\nrs web-a size=2 ready=2 rev=1",
        expect![[r#"
        update web-a replicas=0 revision=1
        event ScalingReplicaSet Scaled down replica set web-a from 2 to 0
        status 2/2 updated=0 Available=True/MinimumReplicasAvailable
        Await"#]],
    );
    check(
        "deploy web replicas=2 recreate template=b\nrs web-a size=0 rev=1\npod x of web-a",
        expect![[r#"
        status 0/0 updated=0 Available=False/MinimumReplicasUnavailable
        Await"#]],
    );
    check(
        "deploy web replicas=2 recreate template=b\nrs web-a size=0 rev=1",
        expect![[r#"
        create web-HASH replicas=2
        event ScalingReplicaSet …
        status 0/0 updated=0 Available=False/MinimumReplicasUnavailable
        Await"#]],
    );
}

#[test]
fn a_change_of_size_is_shared_in_proportion() {
    check(
        "deploy web replicas=20 template=b\nrs web-a size=8 ready=8 rev=1 desired=10 max=13\nrs web-b template=b size=5 ready=3 rev=2 desired=10 max=13",
        expect![[r#"
            update web-a replicas=15 revision=1
            event ScalingReplicaSet Scaled up replica set web-a from 8 to 15
            update web-b replicas=10 revision=2
            event ScalingReplicaSet Scaled up replica set web-b from 5 to 10
            status 11/13 updated=5 Available=False/MinimumReplicasUnavailable
            Await"#]],
    );
}

#[test]
fn pausing_stops_the_rollout_and_its_clock() {
    check(
        "deploy web replicas=2 paused template=b deadline=60 progressing=ReplicaSetUpdated,30\nrs web-a size=2 ready=2 rev=1 desired=2 max=3",
        expect![[r#"
            status 2/2 updated=0 Progressing=Unknown/DeploymentPaused Available=True/MinimumReplicasAvailable
            Await"#]],
    );
}

#[test]
fn rolling_back_gives_the_old_replica_set_a_new_revision() {
    check(
        "deploy web replicas=1 template=a\nrs web-a template=a size=0 rev=1 desired=1 max=2\nrs web-b template=b size=1 ready=1 rev=2 desired=1 max=2",
        expect![[r#"
            update web-a replicas=1 revision=3
            event ScalingReplicaSet Scaled up replica set web-a from 0 to 1
            status 1/1 updated=0 Available=True/MinimumReplicasAvailable
            Await"#]],
    );
}

#[test]
fn history_beyond_the_limit_is_deleted() {
    check(
        "deploy web replicas=1 limit=1 complete template=c\nrs web-a size=0 rev=1\nrs web-b template=b size=0 rev=2\nrs web-c template=c size=1 ready=1 rev=3 desired=1 max=2",
        expect![[r#"
            delete web-a
            status 1/1 updated=1 Available=True/MinimumReplicasAvailable
            Await"#]],
    );
}

#[test]
fn a_stuck_rollout_times_out() {
    let sets = "rs web-a size=1 has=0 rev=1 desired=1 max=2";
    check(
        &format!("deploy web deadline=60 progressing=ReplicaSetUpdated,30\n{sets}"),
        expect![[r#"
        status 0/0 updated=0 Progressing=True/ReplicaSetUpdated Available=False/MinimumReplicasUnavailable
        After(31s)"#]],
    );
    check(
        &format!("deploy web deadline=60 progressing=ReplicaSetUpdated,61\n{sets}"),
        expect![[r#"
        status 0/0 updated=0 Available=False/MinimumReplicasUnavailable Progressing=False/ProgressDeadlineExceeded
        Await"#]],
    );
}

#[test]
fn one_being_deleted_only_reports() {
    check(
        "deploy web replicas=5 deleting\nrs web-a size=2 ready=2 rev=1",
        expect![[r#"
        status 2/2 updated=2 Available=False/MinimumReplicasUnavailable
        Await"#]],
    );
}

#[test]
fn a_collision_changes_the_name() {
    let deployment: Deployment = serde_json::from_value(json!({"spec": {"selector": {}, "template": {}}})).unwrap();
    let collided = collided(&deployment);
    assert_eq!(collided.status.unwrap().collision_count, Some(1));
}
