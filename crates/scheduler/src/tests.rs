//! Whole cycles over small clusters, text in, text out.

use std::sync::Arc;

use api::core::v1::{Node, Pod};
use tokio::time::Instant;

use crate::{Columns, PodInfo, Profile, events::Events, queue::Queue, schedule};

fn node(name: &str, extra: &str) -> Node {
    serde_json::from_str(&format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"kubernetes.io/hostname":"{name}","zone":"{}"}}}}{extra},
            "status":{{"allocatable":{{"cpu":"2","memory":"4Gi","pods":"10","example.com/gpu":"1"}}}}}}"#,
        &name[..1]
    ))
    .unwrap()
}

fn pod(name: &str, spec: &str) -> PodInfo {
    let json = format!(r#"{{"metadata":{{"name":"{name}","namespace":"d","uid":"{name}"}},"spec":{spec}}}"#);
    PodInfo::new(Arc::new(serde_json::from_str::<Pod>(&json).unwrap()))
}

fn asking(name: &str, requests: &str) -> PodInfo {
    pod(name, &format!(r#"{{"containers":[{{"name":"c","resources":{{"requests":{requests}}}}}]}}"#))
}

fn cluster(nodes: &[Node]) -> Columns {
    let mut columns = Columns::default();
    for node in nodes {
        columns.set_node(node);
    }
    columns
}

fn place(columns: &mut Columns, pod: PodInfo) -> String {
    let mut profile = Profile::new("default-scheduler", 1);
    match schedule(&mut profile, columns, &pod) {
        Ok(node) => {
            columns.place(pod, &node);
            node
        }
        Err(diagnosis) => diagnosis.to_string(),
    }
}

#[test]
fn resources_run_out_and_come_back() {
    let mut columns = cluster(&[node("a1", "")]);
    assert_eq!(place(&mut columns, asking("x", r#"{"cpu":"1500m"}"#)), "a1");
    assert_eq!(
        place(&mut columns, asking("y", r#"{"cpu":"1","memory":"8Gi"}"#)),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    );
    columns.unplace(&apimachinery::ObjectKey::new("d", "x"));
    assert_eq!(place(&mut columns, asking("y", r#"{"cpu":"1"}"#)), "a1");
    assert_eq!(place(&mut columns, asking("g", r#"{"example.com/gpu":"1"}"#)), "a1");
    assert_eq!(
        place(&mut columns, asking("h", r#"{"example.com/gpu":"1"}"#)),
        "0/1 nodes are available: 1 Insufficient example.com/gpu."
    );
    assert_eq!(
        place(&mut columns, asking("i", r#"{"example.com/none":"1"}"#)),
        "0/1 nodes are available: 1 Insufficient example.com/none."
    );
}

#[test]
fn pods_spread_over_what_is_least_used() {
    let mut columns = cluster(&[node("a1", ""), node("b1", ""), node("c1", "")]);
    let mut nodes: Vec<String> =
        (0..3).map(|i| place(&mut columns, asking(&format!("p{i}"), r#"{"cpu":"500m"}"#))).collect();
    nodes.sort();
    assert_eq!(nodes, ["a1", "b1", "c1"]);
}

#[test]
fn taints_selectors_names_and_ports_exclude_nodes() {
    let tainted = r#","spec":{"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]}"#;
    let cordoned = r#","spec":{"unschedulable":true}"#;
    let mut columns = cluster(&[node("a1", tainted), node("b1", cordoned), node("c1", "")]);
    let spec = |extra: &str| {
        format!(r#"{{"containers":[{{"name":"c","ports":[{{"containerPort":1,"hostPort":80}}]}}]{extra}}}"#)
    };
    assert_eq!(place(&mut columns, pod("p", &spec(""))), "c1");
    assert_eq!(
        place(&mut columns, pod("q", &spec(""))),
        "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable."
    );
    let tolerant = r#","tolerations":[{"key":"k","operator":"Exists"}]"#;
    assert_eq!(place(&mut columns, pod("q", &spec(tolerant))), "a1");
    let selecting = r#","nodeSelector":{"zone":"z"}"#;
    assert!(
        place(&mut columns, pod("r", &spec(selecting))).contains("1 node(s) didn't match Pod's node affinity/selector")
    );
    let affinity = |operator: &str| {
        format!(
            r#","affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[
            {{"matchExpressions":[{{"key":"zone","operator":"{operator}","values":["c"]}}]}}]}}}}}}"#
        )
    };
    let plain = |extra: &str| format!(r#"{{"containers":[{{"name":"c"}}]{extra}}}"#);
    assert_eq!(place(&mut columns, pod("s", &plain(&affinity("In")))), "c1");
    assert!(place(&mut columns, pod("t", &plain(&affinity("NotIn")))).starts_with("0/3"));
}

#[test]
fn no_nodes_at_all() {
    assert_eq!(place(&mut Columns::default(), pod("p", r#"{"containers":[]}"#)), "no nodes available to schedule pods");
}

#[test]
fn a_pod_known_before_its_node_counts_when_the_node_comes() {
    let mut columns = Columns::default();
    columns.place(asking("x", r#"{"cpu":"2"}"#), "a1");
    columns.set_node(&node("a1", ""));
    assert_eq!(place(&mut columns, asking("y", r#"{"cpu":"1"}"#)), "0/1 nodes are available: 1 Insufficient cpu.");
    columns.remove_node("a1");
    columns.set_node(&node("b1", ""));
    assert_eq!(place(&mut columns, asking("y", r#"{"cpu":"1"}"#)), "b1", "the row is clean when it is used again");
}

#[tokio::test(start_paused = true)]
async fn the_queue_goes_by_priority_and_waits_for_what_helps() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let low = pod("low", r#"{"containers":[]}"#);
    let high = pod("high", r#"{"containers":[],"priority":5}"#);
    let gated = pod("gated", r#"{"containers":[],"schedulingGates":[{"name":"g"}]}"#);
    for info in [&low, &high, &gated] {
        queue.update(info.clone(), now);
    }
    assert_eq!(queue.pop().unwrap().key.name, "high");
    assert_eq!(queue.pop().unwrap().key.name, "low");
    assert!(queue.pop().is_none(), "the gate holds the third");
    queue.unschedulable(&low.key, Events::POD_GONE, now);
    queue.on_events(Events::NODE_LABELS, now);
    assert!(queue.pop().is_none(), "labels do not help");
    queue.on_events(Events::POD_GONE, now);
    assert!(queue.pop().is_none(), "it still has to pause");
    let later = queue.next_timer().unwrap();
    queue.advance(later);
    assert_eq!(queue.pop().unwrap().key.name, "low");
    queue.update(pod("gated", r#"{"containers":[]}"#), later);
    assert_eq!(queue.pop().unwrap().key.name, "gated");
}
