//! The pod network in namespaces of its own: what pods reach, what a restart keeps, what a teardown leaves.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use cri::{PodNetwork, PortMapping, Protocol};
use network::BridgeNetwork;
use world::{World, attach, command_in, ip, seen_by};

#[test]
fn pods_reach_each_other_the_node_and_the_world() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let (a, b) = (world.pod("a"), world.pod("b"));
        assert_eq!(attach(&network, &a).await, ip("10.42.7.2"));
        assert_eq!(attach(&network, &b).await, ip("10.42.7.3"));
        assert_eq!(attach(&network, &a).await, ip("10.42.7.2"), "attaching again answers what there is");
        network.ready().await.unwrap();

        let (a, b) = (&a.namespace, &b.namespace);
        assert_eq!(seen_by(b, "0.0.0.0:80", a, "10.42.7.3:80"), ip("10.42.7.2"), "pod to pod without translation");
        assert_eq!(seen_by(a, "0.0.0.0:80", a, "10.42.7.2:80"), ip("10.42.7.2"), "a pod to itself");
        assert_eq!(seen_by(&world.node, "0.0.0.0:81", a, "10.42.7.1:81"), ip("10.42.7.2"), "pod to node");
        assert_eq!(seen_by(a, "0.0.0.0:82", &world.node, "10.42.7.2:82"), ip("10.42.7.1"), "node to pod");
        assert_eq!(seen_by(&world.outside, "0.0.0.0:83", a, "192.0.2.2:83"), ip("192.0.2.1"), "pod to the world");
        assert_eq!(seen_by(a, "127.0.0.1:84", a, "127.0.0.1:84"), ip("127.0.0.1"), "a pod's own loopback");
    });
}

#[test]
fn both_families_at_once() {
    let world = World::new();
    world.run(async || {
        let ranges = ["10.42.0.0/16", "fd42::/48"].map(|range| range.parse().unwrap()).to_vec();
        let config = network::Config { cluster_ranges: ranges, ..world.config() };
        let network = BridgeNetwork::new(config);
        let node = ["10.42.7.0/24", "fd42:0:0:7::/64"].map(|range| range.parse().unwrap());
        network.configure(&node).await.unwrap();
        let (mut a, b) = (world.pod("a"), world.pod("b"));
        a.request.port_mappings = vec![mapping(Protocol::Tcp, 8080, 80)];
        let ips = network.attach(&a.request).await.unwrap().ips;
        assert_eq!(ips, [ip("10.42.7.2"), ip("fd42:0:0:7::2")]);
        attach(&network, &b).await;
        let (a, b) = (&a.namespace, &b.namespace);
        // Looking for duplicates would hold addresses back for a second, those of the link among them.
        for (namespace, interface) in [(a, "eth0"), (b, "eth0"), (&world.node, "tiphys0")] {
            assert_eq!(command_in(namespace, "ip", &["-6", "address", "show", "dev", interface, "tentative"]), "");
        }
        assert_eq!(seen_by(a, "[::]:80", b, "[fd42:0:0:7::2]:80"), ip("fd42:0:0:7::3"));
        assert_eq!(seen_by(a, "[::]:80", &world.node, "[fd42:0:0:7::2]:80"), ip("fd42:0:0:7::1"));
        assert_eq!(seen_by(a, "[::]:80", b, "[fd42:0:0:7::1]:8080"), ip("fd42:0:0:7::3"), "host port");
    });
}

/// A machine with nothing but loopback: the cluster's own routes are enough.
#[test]
fn cluster_ips_are_routed_without_a_default_route() {
    let world = World::new();
    world.run(async || {
        world.command("ip", &["route", "del", "default"]);
        let config = network::Config { service_ranges: vec!["10.43.0.0/16".parse().unwrap()], ..world.config() };
        BridgeNetwork::new(config).configure(&["10.42.7.0/24".parse().unwrap()]).await.unwrap();
        let route = world.command("ip", &["route", "get", "10.43.0.1"]);
        assert!(route.contains("dev tiphys0 src 10.42.7.1"), "{route}");
    });
}

fn mapping(protocol: Protocol, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol, host_port, container_port, host_ip: None }
}

#[test]
fn a_host_port_is_answered_from_everywhere() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let (mut a, b) = (world.pod("a"), world.pod("b"));
        let special = PortMapping { host_ip: Some(ip("127.0.0.1")), ..mapping(Protocol::Tcp, 9090, 90) };
        a.request.port_mappings = vec![mapping(Protocol::Tcp, 8080, 80), special];
        attach(&network, &a).await;
        attach(&network, &b).await;

        let server = &a.namespace;
        assert_eq!(seen_by(server, "0.0.0.0:80", &world.outside, "192.0.2.1:8080"), ip("192.0.2.2"));
        seen_by(server, "0.0.0.0:80", &world.node, "127.0.0.1:8080");
        seen_by(server, "0.0.0.0:80", &world.node, "192.0.2.1:8080");
        assert_eq!(seen_by(server, "0.0.0.0:80", &b.namespace, "192.0.2.1:8080"), ip("10.42.7.3"));
        seen_by(server, "0.0.0.0:80", server, "192.0.2.1:8080");
        seen_by(server, "0.0.0.0:90", &world.node, "127.0.0.1:9090");
        let refused = world.outside.run(|| std::net::TcpStream::connect("192.0.2.1:9090").is_err()).unwrap();
        assert!(refused, "a host port on 127.0.0.1 is not offered outside");

        network.detach(&a.request).await.unwrap();
        assert!(!world.command("nft", &["list", "table", "inet", "tiphys"]).contains("8080"));
        let refused = world.node.run(|| std::net::TcpStream::connect("127.0.0.1:8080").is_err()).unwrap();
        assert!(refused);
    });
}

/// A client that goes on sending from its port reaches the pod that has the host port now.
#[test]
fn datagrams_follow_a_host_port() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let (mut a, mut b) = (world.pod("a"), world.pod("b"));
        for pod in [&mut a, &mut b] {
            pod.request.port_mappings = vec![mapping(Protocol::Udp, 5353, 53)];
        }
        let client = world.outside.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        client.connect("192.0.2.1:5353").unwrap();
        let timeout = Some(std::time::Duration::from_secs(2));
        let received_by = |pod: &world::Pod| {
            let server = pod.namespace.run(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap()).unwrap();
            server.set_read_timeout(timeout).unwrap();
            client.send(b"x").unwrap();
            server.recv(&mut [0; 8]).is_ok()
        };
        attach(&network, &a).await;
        assert!(received_by(&a));
        network.detach(&a.request).await.unwrap();
        // Tracked as going to the node itself, which has nobody there.
        drop(client.send(b"x"));
        attach(&network, &b).await;
        drop(client.take_error());
        assert!(received_by(&b));
    });
}

#[test]
fn a_loopback_server_of_the_node_is_not_reached_from_pods() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let a = world.pod("a");
        attach(&network, &a).await;
        let _listener = std::net::TcpListener::bind("127.0.0.9:85").unwrap();
        // What a container with NET_ADMIN could do.
        let prepare = || {
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            for arguments in ["del table local local 127.0.0.0/8 dev lo", "add 127.0.0.9 via 10.42.7.1 src 10.42.7.2"] {
                let arguments: Vec<&str> = ["route"].into_iter().chain(arguments.split(' ')).collect();
                assert!(std::process::Command::new("ip").args(arguments).status().unwrap().success());
            }
        };
        a.namespace.run(prepare).unwrap();
        let to = "127.0.0.9:85".parse().unwrap();
        let reach = || std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(300)).is_ok();
        assert!(!a.namespace.run(reach).unwrap());
        world.command("nft", &["flush", "chain", "inet", "tiphys", "pod-guard"]);
        assert!(a.namespace.run(reach).unwrap(), "without the guard the server is reached: the test tests something");
    });
}

#[test]
fn a_restart_adopts_what_is_there_and_releases_what_is_gone() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let (mut a, b) = (world.pod("a"), world.pod("b"));
        a.request.port_mappings = vec![mapping(Protocol::Tcp, 8080, 80)];
        attach(&network, &a).await;
        attach(&network, &b).await;
        drop(network);
        // A link that was given up and not deleted before the process died.
        let stray = ["link", "add", "tvstray", "master", "tiphys0", "type", "veth", "peer", "name", "other"];
        world.command("ip", &stray);

        let network = world.network().await;
        network.settled().await;
        assert!(!world.command("ip", &["-o", "link"]).contains("tvstray"));
        assert_eq!(attach(&network, &a).await, ip("10.42.7.2"));
        seen_by(&a.namespace, "0.0.0.0:80", &world.outside, "192.0.2.1:8080");
        seen_by(&b.namespace, "0.0.0.0:80", &a.namespace, "10.42.7.3:80");

        network.retain(&[a.request.sandbox_id.clone()]).await.unwrap();
        network.settled().await;
        let gone = b.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
        assert!(!gone.contains("eth0"));
        let c = world.pod("c");
        assert_eq!(attach(&network, &c).await, ip("10.42.7.4"));
        network.detach(&c.request).await.unwrap();
        network.detach(&c.request).await.unwrap();
        network.settled().await;
        assert_eq!(world.command("ip", &["-o", "link"]).matches(": tv").count(), 1, "only the first pod's is left");
    });
}

/// The process died between giving the address and plumbing it.
#[test]
fn an_attach_that_was_cut_short_is_done_again() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let (a, b) = (world.pod("a"), world.pod("b"));
        attach(&network, &a).await;
        attach(&network, &b).await;
        let delete = || std::process::Command::new("ip").args(["link", "set", "eth0", "down"]).status().unwrap();
        assert!(a.namespace.run(delete).unwrap().success());
        assert_eq!(attach(&network, &a).await, ip("10.42.7.2"));
        seen_by(&a.namespace, "0.0.0.0:80", &b.namespace, "10.42.7.2:80");
    });
}

#[test]
fn a_failed_attach_leaves_nothing() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let mut a = world.pod("a");
        a.request.annotations.insert("kubernetes.io/ingress-bandwidth".to_owned(), "1".to_owned());
        let error = network.attach(&a.request).await.unwrap_err();
        assert!(error.to_string().starts_with("network of pod default/a: "), "{error}");
        a.request.annotations.clear();
        // The link's name is taken inside the namespace.
        let add = || std::process::Command::new("ip").args(["link", "add", "eth0", "type", "bridge"]).status().unwrap();
        assert!(a.namespace.run(add).unwrap().success());
        network.attach(&a.request).await.unwrap_err();
        network.settled().await;
        assert!(!world.command("ip", &["-o", "link"]).contains(": tv"));
        assert_eq!(attach(&network, &world.pod("b")).await, ip("10.42.7.3"));
    });
}

#[test]
fn bandwidth_annotations_become_token_buckets() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let mut a = world.pod("a");
        for name in ["ingress", "egress"] {
            a.request.annotations.insert(format!("kubernetes.io/{name}-bandwidth"), "80M".to_owned());
        }
        attach(&network, &a).await;
        let inside =
            || std::process::Command::new("tc").args(["qdisc", "show", "dev", "eth0"]).output().unwrap().stdout;
        let egress = String::from_utf8(a.namespace.run(inside).unwrap()).unwrap();
        assert!(egress.contains("tbf") && egress.contains("rate 80Mbit"), "{egress}");
        let ingress = world.command("tc", &["qdisc", "show"]);
        assert!(ingress.contains("tbf") && ingress.contains("rate 80Mbit"), "{ingress}");
    });
}

#[test]
fn a_teardown_leaves_nothing() {
    let world = World::new();
    world.run(async || {
        let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        let network = world.network().await;
        let a = world.pod("a");
        attach(&network, &a).await;
        BridgeNetwork::teardown(&world.config()).await.unwrap();
        assert_eq!(world.command("nft", &["list", "ruleset"]), "");
        let links = world.command("ip", &["-o", "link"]);
        assert_eq!(links.lines().count(), 2, "{links}");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
        assert!(!world.config().directory.exists());
        BridgeNetwork::teardown(&world.config()).await.unwrap();
    });
}

/// Not a test of behaviour: prints what an attach and a detach cost.
#[test]
#[ignore = "measures"]
fn latency() {
    let world = World::new();
    world.run(async || {
        let network = world.network().await;
        let (mut attaching, mut detaching) = (Vec::new(), Vec::new());
        for number in 0..200 {
            let pod = world.pod(&format!("p{number}"));
            let start = std::time::Instant::now();
            network.attach(&pod.request).await.unwrap();
            attaching.push(start.elapsed());
            let start = std::time::Instant::now();
            network.detach(&pod.request).await.unwrap();
            detaching.push(start.elapsed());
        }
        for (what, mut times) in [("attach", attaching), ("detach", detaching)] {
            times.sort();
            println!("{what}: p50 {:?}, p90 {:?}, p99 {:?}", times[100], times[180], times[198]);
        }
    });
}
