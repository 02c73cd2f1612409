//! Plans as text: a Service and its endpoints in, the elements out.

use expect_test::{Expect, expect};
use serde_json::{Value as Json, json};

use super::*;
use crate::view::ServiceView;

/// `endpoints`: address, `@node` if it is not here, `!` when it is terminating and `?` when it is not ready.
fn view(spec: Json, ingress: &[&str], endpoints: &[&str]) -> ServiceView {
    let mut whole = json!({
        "type": "ClusterIP", "clusterIPs": ["10.43.0.10"],
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
    });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let ingress: Vec<Json> = ingress.iter().map(|ip| json!({ "ip": ip })).collect();
    let service = json!({
        "metadata": { "name": "web", "namespace": "default" }, "spec": whole,
        "status": { "loadBalancer": { "ingress": ingress } },
    });
    let endpoint = |text: &&str| {
        let terminating = text.ends_with('!');
        let ready = !terminating && !text.ends_with('?');
        let text = text.trim_end_matches(['!', '?']);
        let (address, node) = text.split_once('@').unwrap_or((text, "here"));
        let zone = if node == "here" { "a" } else { "b" };
        json!({
            "addresses": [address], "nodeName": node,
            "conditions": { "ready": ready, "serving": ready || terminating, "terminating": terminating },
            "hints": { "forZones": [{ "name": zone }], "forNodes": [{ "name": node }] },
        })
    };
    let slice = json!({
        "addressType": "IPv4", "metadata": {},
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    });
    let key = apimachinery::ObjectKey::new("default", "web");
    let slice = serde_json::from_value(slice).unwrap();
    ServiceView::of(&key, &serde_json::from_value(service).unwrap(), [&slice], true).unwrap()
}

fn config() -> Config {
    Config {
        node_addresses: vec!["192.0.2.1".parse().unwrap()],
        ..Config::new("here", vec!["10.42.0.0/16".parse().unwrap()], vec!["10.43.0.0/16".parse().unwrap()])
    }
}

fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for (entry, value) in &plan.entries {
        let mut line = format!("{}: {}", entry.set.name(), read(entry.set, entry.key.bytes()));
        if let Some(end) = &entry.end {
            line += &format!(" .. {}", read(entry.set, end.bytes()));
        }
        match value {
            Value::None => {}
            Value::Data(data) => line += &format!(" -> {}", endpoint(data.bytes())),
            Value::Verdict(Verdict::Goto(chain)) => line += &format!(" -> {chain}"),
            Value::Verdict(verdict) => line += &format!(" -> {verdict:?}"),
        }
        text += &line;
        text.push('\n');
    }
    for chain in &plan.chains {
        text += &format!("chain {}\n", chain.name());
    }
    if let Some(health) = plan.health {
        text += &format!("health check :{} of {}\n", health.port, health.local_endpoints);
    }
    text
}

fn ip(bytes: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap())
}

fn endpoint(bytes: &[u8]) -> String {
    format!("{}:{}", ip(bytes), u16::from_be_bytes([bytes[4], bytes[5]]))
}

fn read(set: SetId, bytes: &[u8]) -> String {
    match set.kind {
        SetKind::ClusterIps => return ip(bytes).to_string(),
        SetKind::Hairpin => return format!("{} {}", ip(bytes), ip(&bytes[4..])),
        _ => {}
    }
    let (address, rest) =
        if set.front.node_port { ("*".to_owned(), bytes) } else { (ip(bytes).to_string(), &bytes[4..]) };
    let mut text = format!("{address}:{}/{}", u16::from_be_bytes([rest[4], rest[5]]), rest[0]);
    match (set.kind, rest.get(8..)) {
        (SetKind::Endpoints, Some(number)) => text += &format!(" #{}", u32::from_ne_bytes(number.try_into().unwrap())),
        (SetKind::Sources, Some(source)) => text += &format!(" from {}", ip(source)),
        _ => {}
    }
    text
}

fn check(view: &ServiceView, expect: Expect) {
    expect.assert_eq(&render(&plan(view, &config(), None)));
}

#[test]
fn a_cluster_ip() {
    check(
        &view(json!({}), &[], &["10.42.0.2", "10.42.0.3", "10.42.1.2@there", "10.42.0.4?"]),
        expect![[r#"
        ip-services: 10.43.0.10:80/6
        ip-services-of-4: 10.43.0.10:80/6
        ip-service-endpoints: 10.43.0.10:80/6 #0 -> 10.42.0.2:8080
        ip-service-endpoints: 10.43.0.10:80/6 #1 -> 10.42.0.3:8080
        ip-service-endpoints: 10.43.0.10:80/6 #2 -> 10.42.1.2:8080
        ip-cluster-ips: 10.43.0.10
        ip-hairpin: 10.42.0.2 10.42.0.2
        ip-hairpin: 10.42.0.3 10.42.0.3
        chain ip-service-draw-4
    "#]],
    );
}

#[test]
fn nobody_is_there() {
    check(
        &view(json!({}), &[], &["10.42.0.4?"]),
        expect![[r#"
        ip-no-endpoint-services: 10.43.0.10:80/6
        ip-cluster-ips: 10.43.0.10
    "#]],
    );
}

#[test]
fn the_last_are_leaving() {
    check(
        &view(json!({}), &[], &["10.42.0.2!", "10.42.0.4?"]),
        expect![[r#"
        ip-services: 10.43.0.10:80/6
        ip-services-of-1: 10.43.0.10:80/6
        ip-service-endpoints: 10.43.0.10:80/6 #0 -> 10.42.0.2:8080
        ip-cluster-ips: 10.43.0.10
        ip-hairpin: 10.42.0.2 10.42.0.2
        chain ip-service-draw-1
    "#]],
    );
}

#[test]
fn a_load_balancer_on_this_node() {
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "10.1.0.0/16"],
        "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
    });
    check(
        &view(spec, &["192.0.2.1", "192.0.2.9"], &["10.42.0.2"]),
        expect![[r#"
        ip-services: 10.43.0.10:80/6
        ip-services: 127.0.0.1:80/6
        ip-services: 192.0.2.1:80/6
        ip-services: 192.0.2.9:80/6
        ip-masquerade-services: 127.0.0.1:80/6
        ip-masquerade-services: 192.0.2.1:80/6
        ip-masquerade-services: 192.0.2.9:80/6
        ip-services-of-1: 10.43.0.10:80/6
        ip-services-of-1: 127.0.0.1:80/6
        ip-services-of-1: 192.0.2.1:80/6
        ip-services-of-1: 192.0.2.9:80/6
        ip-service-endpoints: 10.43.0.10:80/6 #0 -> 10.42.0.2:8080
        ip-service-endpoints: 127.0.0.1:80/6 #0 -> 10.42.0.2:8080
        ip-service-endpoints: 192.0.2.1:80/6 #0 -> 10.42.0.2:8080
        ip-service-endpoints: 192.0.2.9:80/6 #0 -> 10.42.0.2:8080
        ip-cluster-ips: 10.43.0.10
        ip-hairpin: 10.42.0.2 10.42.0.2
        ip-firewall-ips: 192.0.2.1:80/6
        ip-firewall-ips: 192.0.2.9:80/6
        ip-firewall-sources: 192.0.2.1:80/6 from 10.0.0.0 .. 192.0.2.1:80/6 from 10.255.255.255
        ip-firewall-sources: 192.0.2.1:80/6 from 192.0.2.1 .. 192.0.2.1:80/6 from 192.0.2.1
        ip-firewall-sources: 192.0.2.9:80/6 from 10.0.0.0 .. 192.0.2.9:80/6 from 10.255.255.255
        ip-firewall-sources: 192.0.2.9:80/6 from 192.0.2.9 .. 192.0.2.9:80/6 from 192.0.2.9
        ip-nodeports: *:30080/6
        ip-masquerade-nodeports: *:30080/6
        ip-nodeports-of-1: *:30080/6
        ip-nodeport-endpoints: *:30080/6 #0 -> 10.42.0.2:8080
        chain ip-service-draw-1
        chain ip-nodeport-draw-1
    "#]],
    );
}

/// Nobody locks the node's owner out.
#[test]
fn a_port_that_the_node_needs() {
    let spec = json!({ "type": "LoadBalancer", "ports": [{ "name": "http", "port": 6443 }] });
    let view = view(spec, &["192.0.2.1", "203.0.113.1"], &["10.42.0.2"]);
    let config = Config { reserved_ports: [6443].into(), ..config() };
    let fronts = plan(&view, &config, None).entries.into_keys().filter(|entry| entry.set.kind == SetKind::Fronts);
    let fronts: Vec<String> = fronts.map(|entry| read(entry.set, entry.key.bytes())).collect();
    assert_eq!(fronts, ["10.43.0.10:6443/6", "203.0.113.1:6443/6"]);
}

#[test]
fn external_policy_local_without_endpoints_here() {
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30099,
        "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
    });
    check(
        &view(spec, &["203.0.113.1"], &["10.42.1.2@there"]),
        expect![[r#"
        ip-services: 10.43.0.10:80/6
        ip-services: 203.0.113.1:80/6
        ip-external-services: 203.0.113.1:80/6
        ip-services-of-1: 10.43.0.10:80/6
        ip-services-of-1: 203.0.113.1:80/6
        ip-service-endpoints: 10.43.0.10:80/6 #0 -> 10.42.1.2:8080
        ip-service-endpoints: 203.0.113.1:80/6 #0 -> 10.42.1.2:8080
        ip-no-local-endpoint-services: 203.0.113.1:80/6
        ip-cluster-ips: 10.43.0.10
        ip-nodeports: *:30080/6
        ip-external-nodeports: *:30080/6
        ip-nodeports-of-1: *:30080/6
        ip-nodeport-endpoints: *:30080/6 #0 -> 10.42.1.2:8080
        ip-no-local-endpoint-nodeports: *:30080/6
        chain ip-service-draw-1
        chain ip-nodeport-draw-1
        health check :30099 of 0
    "#]],
    );
}

#[test]
fn internal_policy_local() {
    let spec = json!({ "internalTrafficPolicy": "Local" });
    check(
        &view(spec.clone(), &[], &["10.42.0.2", "10.42.1.2@there"]),
        expect![[r#"
        ip-services: 10.43.0.10:80/6
        ip-services-of-local-1: 10.43.0.10:80/6
        ip-service-endpoints: 10.43.0.10:80/6 #65536 -> 10.42.0.2:8080
        ip-cluster-ips: 10.43.0.10
        ip-hairpin: 10.42.0.2 10.42.0.2
        chain ip-service-draw-local-1
    "#]],
    );
    check(
        &view(spec, &[], &["10.42.1.2@there"]),
        expect![[r#"
        ip-no-local-endpoint-services: 10.43.0.10:80/6
        ip-cluster-ips: 10.43.0.10
    "#]],
    );
}

#[test]
fn affinity_remembers() {
    let spec =
        json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 7 } } });
    check(
        &view(spec, &[], &["10.42.0.2"]),
        expect![[r#"
        ip-services: 10.43.0.10:80/6
        ip-services-of-1: 10.43.0.10:80/6
        ip-service-endpoints: 10.43.0.10:80/6 #0 -> 10.42.0.2:8080
        ip-sticky-services: 10.43.0.10:80/6 -> ip-service-remember-7
        ip-cluster-ips: 10.43.0.10
        ip-hairpin: 10.42.0.2 10.42.0.2
        chain ip-service-draw-1
        chain ip-service-remember-7
    "#]],
    );
}

#[test]
fn near_endpoints_are_preferred_when_all_have_hints() {
    let endpoints = ["10.42.0.2", "10.42.1.2@there"];
    let in_zone = |zone: &str| Config { zone: Some(zone.to_owned()), ..config() };
    let reached = |spec: Json, config: &Config| {
        let plan = plan(&view(spec, &[], &endpoints), config, None);
        plan.pools.into_iter().find(|(key, _)| !key.local).unwrap().1.len()
    };
    assert_eq!(reached(json!({}), &config()), 2, "without a zone hints mean nothing");
    assert_eq!(reached(json!({}), &in_zone("a")), 1);
    assert_eq!(reached(json!({}), &in_zone("c")), 2, "no endpoint for the zone");
    assert_eq!(reached(json!({ "trafficDistribution": "PreferSameNode" }), &config()), 1);
}

#[test]
fn one_endpoint_more_is_one_element_more() {
    let before = plan(&view(json!({}), &[], &["10.42.1.2@b", "10.42.1.3@b", "10.42.1.4@b"]), &config(), None);
    let addresses = ["10.42.1.1@b", "10.42.1.2@b", "10.42.1.3@b", "10.42.1.4@b"];
    let after = plan(&view(json!({}), &[], &addresses), &config(), Some(&before));
    let differing = |one: &Plan, other: &Plan| {
        one.entries.iter().filter(|(entry, value)| other.entries.get(entry) != Some(value)).count()
    };
    assert_eq!((differing(&before, &after), differing(&after, &before)), (0, 1));
}

#[test]
fn what_is_not_for_us() {
    let key = apimachinery::ObjectKey::new("default", "web");
    let of = |service: Json| {
        let service = serde_json::from_value(service).unwrap();
        ServiceView::of(&key, &service, std::iter::empty(), false).is_some()
    };
    assert!(of(json!({ "metadata": {}, "spec": { "clusterIP": "10.43.0.1" } })));
    assert!(!of(json!({ "metadata": {}, "spec": { "clusterIP": "None" } })));
    assert!(!of(json!({ "metadata": {}, "spec": { "type": "ExternalName", "externalName": "x" } })));
    let labels = json!({ "service.kubernetes.io/service-proxy-name": "other" });
    assert!(!of(json!({ "metadata": { "labels": labels }, "spec": { "clusterIP": "10.43.0.1" } })));
    assert!(!of(json!({ "metadata": {} })));
}
