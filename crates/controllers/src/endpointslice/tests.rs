//! Services and pods in, slices out.

use std::sync::Arc;

use api::core::v1::Pod;
use expect_test::{Expect, expect};
use serde_json::json;

use super::{plan::*, *};

fn service(extra: &str) -> Service {
    let named = extra.contains("named");
    let mut spec = json!({
        "selector": {"app": "web"}, "clusterIP": "10.43.0.9", "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": if named { json!("web") } else { json!(8080) }, "protocol": "TCP"}],
        "publishNotReadyAddresses": extra.contains("publish"),
    });
    if extra.contains("headless") {
        spec["clusterIP"] = "None".into();
    }
    if extra.contains("dual") {
        spec["ipFamilies"] = json!(["IPv4", "IPv6"]);
    }
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "me"}, "spec": spec})).unwrap()
}

/// `NAME [ready] [deleting] [phase=P] [lost] [port=N] [noip] [hostname]`
fn pod(line: &str) -> Arc<Pod> {
    let words: Vec<_> = line.split_whitespace().collect();
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")));
    let has = |word| words.contains(&word);
    let number: u32 = words[0].trim_start_matches(char::is_alphabetic).parse().unwrap_or(1);
    let ips = if has("noip") {
        json!([])
    } else {
        json!([{"ip": format!("10.42.0.{number}")}, {"ip": format!("fd00::{number}")}])
    };
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": words[0], "namespace": "n", "uid": words[0], "labels": {"app": "web"}},
        "spec": {"nodeName": if has("lost") { "gone" } else { "node" },
            "hostname": if has("hostname") { json!("h") } else { json!(null) }, "subdomain": "web",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort":
                value("port").and_then(|port| port.parse::<i32>().ok()).unwrap_or(8080)}]}]},
        "status": {"phase": value("phase").unwrap_or("Running"), "podIPs": ips,
            "conditions": [{"type": "Ready", "status": if has("ready") { "True" } else { "False" }}]},
    }))
    .unwrap();
    pod.metadata.deletion_timestamp = has("deleting").then_some(api::Time(jiff::Timestamp::UNIX_EPOCH));
    Arc::new(pod)
}

fn planned(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    let node = |name: &str| {
        (name == "node").then(|| {
            let labels = json!({"topology.kubernetes.io/zone": "z"});
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap())
        })
    };
    plan(&View { service, pods, existing, node: &node, trigger: None })
}

/// The slices as the server would store them.
fn stored(plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let mut number = 0;
    plan.create
        .into_iter()
        .map(|mut slice| {
            number += 1;
            slice.metadata.name = Some(format!("web-{number}"));
            slice.metadata.uid = slice.metadata.name.clone();
            Arc::new(slice)
        })
        .collect()
}

fn text(plan: &Plan) -> String {
    let slice = |verb: &str, slice: &EndpointSlice| {
        let endpoints: Vec<_> = slice.endpoints.iter().flatten().collect();
        let ports: Vec<_> = slice
            .ports
            .iter()
            .flatten()
            .map(|port| format!("{}:{}", port.name.as_deref().unwrap_or(""), port.port.unwrap_or(0)))
            .collect();
        let shown: Vec<_> = endpoints
            .iter()
            .take(3)
            .map(|endpoint| {
                let conditions = endpoint.conditions.clone().unwrap_or_default();
                let flag = |flag: Option<bool>, letter: &'static str| if flag == Some(true) { letter } else { "-" };
                format!(
                    "{}({}{}{}){}",
                    endpoint.addresses.join("+"),
                    flag(conditions.ready, "r"),
                    flag(conditions.serving, "s"),
                    flag(conditions.terminating, "t"),
                    endpoint.hostname.as_ref().map(|name| format!("={name}")).unwrap_or_default(),
                )
            })
            .collect();
        let name = slice.metadata.name.as_deref().or(slice.metadata.generate_name.as_deref()).unwrap_or_default();
        format!("{verb} {name} {} [{}] {}x {}", slice.address_type, ports.join(" "), endpoints.len(), shown.join(" "))
    };
    let mut lines: Vec<_> = plan.create.iter().map(|new| slice("create", new)).collect();
    lines.extend(plan.update.iter().map(|new| slice("update", new)));
    lines.extend(plan.delete.iter().map(|old| format!("delete {}", old.metadata.name.as_deref().unwrap_or_default())));
    lines.join("\n")
}

fn check(extra: &str, pods: &str, expected: Expect) {
    let pods: Vec<_> = pods.lines().map(pod).collect();
    expected.assert_eq(&text(&planned(&service(extra), &pods, &[])));
}

#[test]
fn conditions_tell_ready_serving_and_terminating() {
    check(
        "",
        "p1 ready\np2\np3 ready deleting\np4 phase=Failed\np5 noip\np6 ready lost",
        expect!["create web- IPv4 [http:8080] 3x 10.42.0.1(rs-) 10.42.0.2(---) 10.42.0.3(-st)"],
    );
}

#[test]
fn addresses_may_be_published_before_they_are_ready() {
    check("publish", "p1\np2 lost", expect!["create web- IPv4 [http:8080] 2x 10.42.0.1(r--) 10.42.0.2(r--)"]);
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    check("", "", expect!["create web- IPv4 [] 0x "]);
    let service = service("");
    let existing = stored(planned(&service, &[], &[]));
    expect![[""]].assert_eq(&text(&planned(&service, &[], &existing)));
    expect!["update web-1 IPv4 [http:8080] 1x 10.42.0.1(rs-)"].assert_eq(&text(&planned(
        &service,
        &[pod("p1 ready")],
        &existing,
    )));
}

#[test]
fn each_family_has_slices_of_its_own() {
    check(
        "dual",
        "p1 ready",
        expect![[r#"
        create web- IPv4 [http:8080] 1x 10.42.0.1(rs-)
        create web- IPv6 [http:8080] 1x fd00::1(rs-)"#]],
    );
}

#[test]
fn pods_that_name_another_port_are_apart() {
    check(
        "named",
        "p1 ready\np2 ready port=9090",
        expect![[r#"
        create web- IPv4 [http:8080] 1x 10.42.0.1(rs-)
        create web- IPv4 [http:9090] 1x 10.42.0.2(rs-)"#]],
    );
}

#[test]
fn a_headless_service_knows_hostnames() {
    check("headless", "p1 ready hostname", expect!["create web- IPv4 [http:8080] 1x 10.42.0.1(rs-)=h"]);
    assert!(labels(&service("headless")).contains_key(service::HEADLESS_LABEL));
}

#[test]
fn a_slice_holds_a_hundred() {
    let many: Vec<_> = (1..=250).map(|number| pod(&format!("p{number} ready"))).collect();
    let service = service("");
    let existing = stored(planned(&service, &many, &[]));
    let sizes: Vec<_> = existing.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    // Nothing changed: nothing is written.
    expect![[""]].assert_eq(&text(&planned(&service, &many, &existing)));
    // One more goes to the slice with room; one that is gone touches only its own slice.
    let more: Vec<_> = (1..=251).map(|number| pod(&format!("p{number} ready"))).collect();
    assert_eq!(planned(&service, &more, &existing).update.len(), 1);
    let fewer = planned(&service, &many[1..], &existing);
    assert_eq!((fewer.create.len(), fewer.update.len(), fewer.delete.len()), (0, 1, 0));
    // All gone: one is kept as the placeholder.
    let none = planned(&service, &[], &existing);
    assert_eq!((none.create.len(), none.update.len(), none.delete.len()), (0, 1, 2));
}

#[test]
fn a_pod_that_becomes_ready_is_one_update() {
    let service = service("");
    let existing = stored(planned(&service, &[pod("p1"), pod("p2 ready")], &[]));
    expect!["update web-1 IPv4 [http:8080] 2x 10.42.0.1(rs-) 10.42.0.2(rs-)"].assert_eq(&text(&planned(
        &service,
        &[pod("p1 ready"), pod("p2 ready")],
        &existing,
    )));
}
