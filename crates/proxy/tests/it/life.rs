//! Restarts, changes under traffic, rules that somebody else removed, and the end.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::world::*;

#[test]
fn a_restart_interrupts_nothing() {
    let world = World::new();
    world.run(async || {
        let (a, b, client) = (world.pod(2).await, world.pod(3).await, world.pod(4).await);
        serve(&a, "a");
        serve(&b, "b");
        let objects = [(service(json!({})), slice(&["10.42.7.2"]))];
        let cluster = Cluster::start(config(), &objects).await;
        let mut open = connect(&client, "10.43.0.10:80").unwrap();
        assert_eq!(read_line(&mut open).unwrap(), "a 10.42.7.4");

        // Killed: the kernel goes on.
        cluster.supervisor.shutdown().await;
        drop(cluster);
        assert_eq!(ask(&client, "10.43.0.10:80").unwrap().0, "a");

        let (stop, tried) = (AtomicBool::new(false), AtomicUsize::new(0));
        let failures = std::thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                let mut failures = 0;
                while !stop.load(Ordering::Relaxed) {
                    failures += usize::from(ask(&client, "10.43.0.10:80").is_err());
                    tried.fetch_add(1, Ordering::Relaxed);
                }
                failures
            });
            while tried.load(Ordering::Relaxed) < 20 {
                std::thread::yield_now();
            }
            world.run(async || {
                for _ in 0..5 {
                    let cluster = Cluster::start(config(), &[(service(json!({})), slice(&["10.42.7.2"]))]).await;
                    cluster.supervisor.shutdown().await;
                }
                // The last one knows better.
                let cluster = Cluster::start(config(), &[(service(json!({})), slice(&["10.42.7.3"]))]).await;
                cluster.supervisor.shutdown().await;
            });
            stop.store(true, Ordering::Relaxed);
            traffic.join().unwrap()
        });
        assert_eq!(failures, 0, "of {} connections", tried.load(Ordering::Relaxed));
        assert_eq!(answering(&client, "10.43.0.10:80", 3), names(&["b"]));
        open.write_all(b"still here\n").unwrap();
        assert_eq!(read_line(&mut open).unwrap(), "still here", "an open connection stays with its endpoint");
    });
}

#[test]
fn changes_interrupt_nothing() {
    let world = World::new();
    world.run(async || {
        let (a, b, c, client) = (world.pod(2).await, world.pod(3).await, world.pod(5).await, world.pod(4).await);
        for (pod, name) in [(&a, "a"), (&b, "b"), (&c, "c")] {
            serve(pod, name);
        }
        let mut cluster = Cluster::start(config(), &[(service(json!({})), slice(&["10.42.7.2"]))]).await;
        let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (stop.clone(), tried.clone());
        let traffic = std::thread::spawn(move || {
            let mut failures = 0;
            while !stopped.load(Ordering::Relaxed) {
                failures += usize::from(ask(&client, "10.43.0.10:80").is_err());
                counted.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
        let all = ["10.42.7.2", "10.42.7.3", "10.42.7.5"];
        let mut round = 0;
        while tried.load(Ordering::Relaxed) < 300 {
            round += 1;
            let some: Vec<&str> = (0..=round % 3).map(|number| all[(round / 3 + number) % 3]).collect();
            let wanted = slice(&some);
            let sorted = |slice: &api::discovery::v1::EndpointSlice| {
                let endpoints = slice.endpoints.iter().flatten();
                endpoints.map(|endpoint| endpoint.addresses[0].clone()).collect::<std::collections::BTreeSet<_>>()
            };
            // Two rounds may want the same.
            if sorted(&cluster.slices.list()[0]) != sorted(&wanted) {
                cluster.apply(None, Some(&wanted)).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(traffic.join().unwrap(), 0, "failures in {round} changes");
    });
}

#[test]
fn rules_that_were_removed_come_back_with_the_next_change() {
    let world = World::new();
    world.run(async || {
        let (a, client) = (world.pod(2).await, world.pod(4).await);
        serve(&a, "a");
        let mut cluster = Cluster::start(config(), &[(service(json!({})), slice(&[]))]).await;
        world.nft(&["flush", "ruleset"]);
        cluster.apply(None, Some(&slice(&["10.42.7.2"]))).await;
        assert_eq!(ask(&client, "10.43.0.10:80").unwrap().0, "a");
    });
}

#[test]
fn a_teardown_leaves_others_alone() {
    let world = World::new();
    world.run(async || {
        let cluster = Cluster::start(config(), &[(service(json!({})), slice(&["10.42.7.2"]))]).await;
        cluster.supervisor.shutdown().await;
        world.nft(&["add", "chain", "inet", "tiphys", "pod-postrouting"]);
        proxy::teardown(&config()).await.unwrap();
        let left = world.nft(&["list", "ruleset"]);
        assert_eq!(left, "table inet tiphys {\n\tchain pod-postrouting {\n\t}\n}\n");
        world.nft(&["delete", "chain", "inet", "tiphys", "pod-postrouting"]);
        proxy::teardown(&config()).await.unwrap();
        assert_eq!(world.nft(&["list", "ruleset"]), "");
        proxy::teardown(&config()).await.unwrap();
    });
}

/// Two clusters whose nodes share a machine's namespace.
#[test]
fn two_clusters_do_not_meet() {
    let world = World::new();
    world.run(async || {
        let (a, b) = (world.pod(2).await, world.pod(3).await);
        serve(&a, "a");
        serve(&b, "b");
        let one = Cluster::start(config(), &[(service(json!({})), slice(&["10.42.7.2"]))]).await;
        let other_config = proxy::Config {
            table: netlink::nft::Table::inet("tiphys-two"),
            service_ranges: vec!["10.44.0.0/16".parse().unwrap()],
            ..config()
        };
        let second = service(json!({ "clusterIPs": ["10.44.0.10"], "clusterIP": "10.44.0.10" }));
        let _two = Cluster::start(other_config.clone(), &[(second, slice(&["10.42.7.3"]))]).await;
        assert_eq!(ask(&a, "10.43.0.10:80").unwrap().0, "a");
        assert_eq!(ask(&a, "10.44.0.10:80").unwrap().0, "b");
        one.supervisor.shutdown().await;
        proxy::teardown(&config()).await.unwrap();
        assert_eq!(ask(&a, "10.44.0.10:80").unwrap().0, "b");
    });
}
