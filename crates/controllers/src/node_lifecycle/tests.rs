//! Nodes in, conditions and taints out.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{plan::*, *};

/// `ready=STATUS [pressure] [cordoned] silent=S [alone] [taints=KEY:EFFECT,…]`
fn check(line: &str, expected: Expect) {
    let words: Vec<_> = line.split_whitespace().collect();
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")).map(str::to_owned));
    let mut conditions: Vec<Value> = Vec::new();
    if let Some(status) = value("ready") {
        conditions.push(json!({"type": "Ready", "status": status}));
    }
    if words.contains(&"pressure") {
        conditions.push(json!({"type": "MemoryPressure", "status": "True"}));
    }
    let taints: Vec<_> = value("taints")
        .iter()
        .flat_map(|list| list.split(','))
        .filter_map(|taint| taint.split_once(':'))
        .map(|(key, effect)| json!({"key": key, "effect": effect}))
        .collect();
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "node"},
        "spec": {"unschedulable": words.contains(&"cordoned"), "taints": taints},
        "status": {"conditions": conditions},
    }))
    .unwrap();
    let silent = Duration::from_secs(value("silent").and_then(|text| text.parse().ok()).unwrap_or(0));
    let view = View { node: &node, silent, grace: Duration::from_secs(50), any_ready: !words.contains(&"alone") };
    let plan = plan(&view, Timestamp::UNIX_EPOCH);
    let conditions = plan.conditions.map_or("unchanged".to_owned(), |conditions| {
        let one = |condition: &api::core::v1::NodeCondition| {
            format!("{}={}/{}", condition.type_, condition.status, condition.reason.as_deref().unwrap_or_default())
        };
        conditions.iter().map(one).collect::<Vec<_>>().join(" ")
    });
    let taints = plan.taints.map_or("unchanged".to_owned(), |taints| {
        let one = |taint: &api::core::v1::Taint| {
            format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect)
        };
        taints.iter().map(one).collect::<Vec<_>>().join(" ")
    });
    expected.assert_eq(&format!("conditions {conditions}\ntaints {taints}\n{:?}", plan.next));
}

#[test]
fn a_node_that_reports_is_looked_at_when_its_grace_ends() {
    check(
        "ready=True silent=10",
        expect![[r#"
        conditions unchanged
        taints unchanged
        After(40.1s)"#]],
    );
}

#[test]
fn a_silent_node_is_unreachable() {
    check(
        "ready=True silent=51",
        expect![[r#"
        conditions Ready=Unknown/NodeStatusUnknown MemoryPressure=Unknown/NodeStatusNeverUpdated DiskPressure=Unknown/NodeStatusNeverUpdated PIDPressure=Unknown/NodeStatusNeverUpdated
        taints unreachable:NoSchedule unreachable:NoExecute
        Await"#]],
    );
}

#[test]
fn a_node_that_never_reported_says_so() {
    check(
        "silent=51",
        expect![[r#"
        conditions Ready=Unknown/NodeStatusNeverUpdated MemoryPressure=Unknown/NodeStatusNeverUpdated DiskPressure=Unknown/NodeStatusNeverUpdated PIDPressure=Unknown/NodeStatusNeverUpdated
        taints unreachable:NoSchedule unreachable:NoExecute
        Await"#]],
    );
}

#[test]
fn when_all_nodes_are_lost_no_pod_is_given_up() {
    check(
        "ready=True silent=51 alone",
        expect![[r#"
        conditions Ready=Unknown/NodeStatusUnknown MemoryPressure=Unknown/NodeStatusNeverUpdated DiskPressure=Unknown/NodeStatusNeverUpdated PIDPressure=Unknown/NodeStatusNeverUpdated
        taints unreachable:NoSchedule
        Await"#]],
    );
    check(
        "ready=Unknown silent=99 alone taints=node.kubernetes.io/unreachable:NoSchedule,node.kubernetes.io/unreachable:NoExecute",
        expect![[r#"
            conditions Ready=Unknown/ MemoryPressure=Unknown/NodeStatusNeverUpdated DiskPressure=Unknown/NodeStatusNeverUpdated PIDPressure=Unknown/NodeStatusNeverUpdated
            taints unreachable:NoSchedule
            Await"#]],
    );
}

#[test]
fn a_node_that_is_back_loses_its_taints_but_not_those_of_others() {
    check(
        "ready=True taints=node.kubernetes.io/unreachable:NoExecute,node.kubernetes.io/not-ready:NoSchedule,mine:NoSchedule",
        expect![[r#"
            conditions unchanged
            taints mine:NoSchedule
            After(50.1s)"#]],
    );
}

#[test]
fn conditions_and_cordon_become_taints() {
    check(
        "ready=False pressure cordoned",
        expect![[r#"
        conditions unchanged
        taints not-ready:NoSchedule not-ready:NoExecute memory-pressure:NoSchedule unschedulable:NoSchedule
        After(50.1s)"#]],
    );
}
