//! Services and pods in, subsets out.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use super::{plan::*, *};

fn service(ports: &[i32]) -> Service {
    let ports: Vec<_> =
        ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port, "protocol": "TCP"})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "n"},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.43.0.9", "ports": ports},
    }))
    .unwrap()
}

fn pod(number: usize, ready: bool) -> Arc<Pod> {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}"), "labels": {"app": "web"}},
        "spec": {"nodeName": "node", "containers": []},
        "status": {"phase": "Running", "podIP": format!("10.42.{}.{}", number / 250, number % 250),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    }))
    .unwrap();
    Arc::new(pod)
}

fn text(plan: &Plan) -> String {
    let (verb, endpoints) = match plan {
        Plan::Nothing => return "nothing".into(),
        Plan::Create(endpoints) => ("create", endpoints),
        Plan::Update(endpoints) => ("update", endpoints),
    };
    let list = |addresses: &Option<Vec<api::core::v1::EndpointAddress>>| {
        addresses.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>().join(",")
    };
    let subsets: Vec<_> = endpoints
        .subsets
        .iter()
        .flatten()
        .map(|subset| {
            let ports: Vec<_> = subset.ports.iter().flatten().map(|port| port.port.to_string()).collect();
            format!(
                "{} ready={} not-ready={}",
                ports.join("+"),
                list(&subset.addresses),
                list(&subset.not_ready_addresses)
            )
        })
        .collect();
    format!("{verb} {}", subsets.join("; "))
}

fn check(service: &Service, pods: &[Arc<Pod>], expected: Expect) {
    expected.assert_eq(&text(&plan(service, pods, None, None)));
}

#[test]
fn addresses_with_the_same_ports_share_a_subset() {
    check(
        &service(&[80, 443]),
        &[pod(1, true), pod(2, true), pod(3, false)],
        expect!["create 443+80 ready=10.42.0.1,10.42.0.2 not-ready=10.42.0.3"],
    );
}

#[test]
fn a_service_without_pods_has_no_subsets() {
    check(&service(&[80]), &[], expect!["create "]);
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let (service, pods) = (service(&[80]), [pod(1, true)]);
    let Plan::Create(existing) = plan(&service, &pods, None, None) else { panic!("created first") };
    assert_eq!(text(&plan(&service, &pods, Some(&existing), None)), "nothing");
    expect!["update 80 ready= not-ready=10.42.0.1"].assert_eq(&text(&plan(
        &service,
        &[pod(1, false)],
        Some(&existing),
        None,
    )));
}

#[test]
fn more_than_a_thousand_addresses_are_truncated() {
    let pods: Vec<_> = (0..1200).map(|number| pod(number, number % 4 != 0)).collect();
    let Plan::Create(endpoints) = plan(&service(&[80]), &pods, None, None) else { panic!("created") };
    let subset = &endpoints.subsets.as_ref().unwrap()[0];
    let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    assert_eq!((count(&subset.addresses), count(&subset.not_ready_addresses)), (900, 100));
    let annotation = endpoints.metadata.annotations.as_ref().unwrap().get("endpoints.kubernetes.io/over-capacity");
    assert_eq!(annotation.map(String::as_str), Some("truncated"));
}
