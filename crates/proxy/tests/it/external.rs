//! Traffic from outside of the cluster and from the machine's own users.

use std::io::{Read, Write};

use serde_json::json;

use crate::world::*;

fn ports() -> serde_json::Value {
    json!([{ "name": "http", "port": 8086, "nodePort": 30080, "protocol": "TCP", "targetPort": 8080 }])
}

#[test]
fn a_node_port_is_answered_on_every_address() {
    let world = World::new();
    world.run(async || {
        let (a, client) = (world.pod(2).await, world.pod(4).await);
        serve(&a, "a");
        let web = service(json!({ "type": "NodePort", "ports": ports() }));
        let mut cluster = Cluster::start(config(), &[(web, slice(&["10.42.7.2"]))]).await;
        let node = &world.node;
        for (from, to) in [
            (&world.outside, "192.0.2.1:30080"),
            (node, "127.0.0.1:30080"),
            (node, "192.0.2.1:30080"),
            (node, "10.42.7.1:30080"),
            (&client, "10.42.7.1:30080"),
            (&a, "192.0.2.1:30080"),
        ] {
            assert_eq!(ask(from, to).unwrap(), ("a".to_owned(), ip("10.42.7.1")), "{to}");
        }
        assert!(refused(&world.outside, "192.0.2.1:8086"), "the Service's port is not the node's");
        cluster.apply(None, Some(&slice(&[]))).await;
        for (from, to) in [(&world.outside, "192.0.2.1:30080"), (node, "127.0.0.1:30080")] {
            assert!(refused(from, to), "{to}");
        }
    });
}

#[test]
fn a_load_balancer_is_the_node_and_localhost() {
    let world = World::new();
    world.run(async || {
        let (a, client) = (world.pod(2).await, world.pod(4).await);
        serve(&a, "a");
        let pending = service(json!({ "type": "LoadBalancer", "ports": ports() }));
        let mut cluster = Cluster::start(config(), &[(pending.clone(), slice(&["10.42.7.2"]))]).await;
        assert!(refused(&world.outside, "192.0.2.1:8086"), "it has no address yet");
        cluster.apply(Some(&with_ingress(pending.clone(), NODE)), None).await;
        let node = &world.node;
        for (from, to) in [
            (&world.outside, "192.0.2.1:8086"),
            (node, "127.0.0.1:8086"),
            (node, "192.0.2.1:8086"),
            (&client, "192.0.2.1:8086"),
            (&a, "192.0.2.1:8086"),
            (node, "10.43.0.10:8086"),
        ] {
            assert_eq!(ask(from, to).unwrap().0, "a", "{to}");
        }
        cluster.apply(Some(&pending), None).await;
        assert!(refused(node, "127.0.0.1:8086"));
        assert!(refused(&world.outside, "192.0.2.1:8086"));
    });
}

#[test]
fn an_address_that_is_announced_elsewhere_is_not_localhost() {
    let world = World::new();
    world.run(async || {
        let a = world.pod(2).await;
        serve(&a, "a");
        let web = with_ingress(service(json!({ "type": "LoadBalancer", "ports": ports() })), "203.0.113.9");
        let _cluster = Cluster::start(config(), &[(web, slice(&["10.42.7.2"]))]).await;
        assert_eq!(ask(&world.node, "203.0.113.9:8086").unwrap().0, "a", "short of the load balancer");
        assert!(refused(&world.node, "127.0.0.1:8086"));
    });
}

#[test]
fn an_address_that_the_node_gets_becomes_localhost() {
    let world = World::new();
    world.run(async || {
        let a = world.pod(2).await;
        serve(&a, "a");
        let web = with_ingress(service(json!({ "type": "LoadBalancer", "ports": ports() })), "198.51.100.7");
        let cluster = Cluster::start(config(), &[(web, slice(&["10.42.7.2"]))]).await;
        assert!(refused(&world.node, "127.0.0.1:8086"));
        let mut transactions = cluster.proxy.transactions();
        let before = *transactions.borrow_and_update();
        world.ip(&["address", "add", "198.51.100.7/32", "dev", "eth0"]);
        transactions.wait_for(|now| *now > before).await.unwrap();
        assert_eq!(ask(&world.node, "127.0.0.1:8086").unwrap().0, "a");
    });
}

#[test]
fn external_policy_local_keeps_the_clients_address() {
    let world = World::new();
    world.run(async || {
        let (a, client) = (world.pod(2).await, world.pod(4).await);
        serve(&a, "a");
        serve(&world.outside, "other");
        let web = service(json!({ "type": "LoadBalancer", "ports": ports(), "externalTrafficPolicy": "Local" }));
        let web = with_ingress(web, NODE);
        let objects = (web, slice(&["10.42.7.2", "192.0.2.2@node-2"]));
        let mut cluster = Cluster::start(config(), &[objects]).await;
        for to in ["192.0.2.1:8086", "192.0.2.1:30080"] {
            for _ in 0..5 {
                assert_eq!(ask(&world.outside, to).unwrap(), ("a".to_owned(), ip(OUTSIDE)));
            }
        }
        let both = names(&["a", "other"]);
        assert_eq!(answering(&world.node, "127.0.0.1:8086", 20), both, "the node's own users go anywhere");
        assert_eq!(answering(&client, "192.0.2.1:30080", 20), both, "and pods do");

        cluster.apply(None, Some(&slice(&["192.0.2.2@node-2"]))).await;
        assert!(dropped(&world.outside, "192.0.2.1:8086"), "nobody here for the outside");
        assert_eq!(answering(&world.node, "192.0.2.1:8086", 3), names(&["other"]));
        cluster.apply(None, Some(&slice(&[]))).await;
        assert!(refused(&world.outside, "192.0.2.1:8086"), "nobody anywhere");
    });
}

#[test]
fn source_ranges_are_a_fence() {
    let world = World::new();
    world.run(async || {
        let a = world.pod(2).await;
        serve(&a, "a");
        let spec = |range: &str| {
            let spec = json!({ "type": "LoadBalancer", "ports": ports(), "loadBalancerSourceRanges": [range] });
            with_ingress(service(spec), NODE)
        };
        let mut cluster = Cluster::start(config(), &[(spec("198.51.100.0/24"), slice(&["10.42.7.2"]))]).await;
        assert!(dropped(&world.outside, "192.0.2.1:8086"));
        assert_eq!(ask(&world.outside, "192.0.2.1:30080").unwrap().0, "a", "the node port is another front");
        cluster.apply(Some(&spec("192.0.2.0/24")), None).await;
        assert_eq!(ask(&world.outside, "192.0.2.1:8086").unwrap().0, "a");
    });
}

#[test]
fn external_ips_only_when_they_are_allowed() {
    let world = World::new();
    world.run(async || {
        let a = world.pod(2).await;
        serve(&a, "a");
        let web = || service(json!({ "externalIPs": ["192.0.2.1"], "ports": ports() }));
        let cluster = Cluster::start(config(), &[(web(), slice(&["10.42.7.2"]))]).await;
        assert!(refused(&world.outside, "192.0.2.1:8086"));
        cluster.supervisor.shutdown().await;
        let allowed = proxy::Config { external_ips: true, ..config() };
        let _cluster = Cluster::start(allowed, &[(web(), slice(&["10.42.7.2"]))]).await;
        assert_eq!(ask(&world.outside, "192.0.2.1:8086").unwrap().0, "a");
    });
}

#[test]
fn a_health_check_says_how_many_endpoints_are_here() {
    let world = World::new();
    world.run(async || {
        let web = service(json!({
            "type": "LoadBalancer", "ports": ports(),
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30099,
        }));
        let objects = (web.clone(), slice(&["10.42.7.2", "10.42.7.3", "192.0.2.2@node-2"]));
        let mut cluster = Cluster::start(config(), &[objects]).await;
        let get = || {
            let get = || {
                let mut stream = loop {
                    // The server's task opens its port after the rules are in place.
                    match std::net::TcpStream::connect("127.0.0.1:30099") {
                        Ok(stream) => break stream,
                        Err(_) => std::thread::yield_now(),
                    }
                };
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                text
            };
            tokio::task::spawn_blocking(get)
        };
        let healthy = get().await.unwrap();
        assert!(healthy.starts_with("HTTP/1.1 200 OK\r\n"), "{healthy}");
        assert!(healthy.contains("\"localEndpoints\": 2,"), "{healthy}");
        cluster.apply(None, Some(&slice(&["192.0.2.2@node-2"]))).await;
        let unhealthy = get().await.unwrap();
        assert!(unhealthy.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{unhealthy}");
        assert!(unhealthy.contains("\"localEndpoints\": 0,"), "{unhealthy}");
    });
}
