//! Service rules in namespaces of their own: who answers whom, what a change and a restart do to traffic.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod external;
mod figures;
mod life;
mod world;

use expect_test::expect;
use serde_json::json;
use world::*;

#[test]
fn a_cluster_ip_is_answered_by_every_endpoint() {
    let world = World::new();
    world.run(async || {
        let (a, b, client) = (world.pod(2).await, world.pod(3).await, world.pod(4).await);
        serve(&a, "a");
        serve(&b, "b");
        let objects = (service(json!({})), slice(&["10.42.7.2", "10.42.7.3"]));
        let mut cluster = Cluster::start(config(), &[objects]).await;

        assert_eq!(answering(&client, "10.43.0.10:80", 20), names(&["a", "b"]), "from a pod");
        assert_eq!(ask(&client, "10.43.0.10:80").unwrap().1, ip("10.42.7.4"), "a pod keeps its address");
        assert_eq!(answering(&world.node, "10.43.0.10:80", 20), names(&["a", "b"]), "from the node");
        assert_eq!(answering(&a, "10.43.0.10:80", 20), names(&["a", "b"]), "from an endpoint, to itself too");
        assert_eq!(ask(&world.outside, "10.43.0.10:80").unwrap().1, ip("10.42.7.1"), "from elsewhere masqueraded");

        cluster.apply(None, Some(&slice(&["10.42.7.3"]))).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 10), names(&["b"]));

        assert!(refused(&client, "10.43.0.10:81"), "another port of a cluster IP");
        assert!(refused(&world.node, "10.43.0.10:81"));
        assert!(dropped(&client, "10.43.0.11:80"), "an unused cluster IP");

        cluster.apply(None, Some(&slice(&[]))).await;
        assert!(refused(&client, "10.43.0.10:80"), "no endpoint");
        assert!(refused(&world.node, "10.43.0.10:80"));
        cluster.apply(None, Some(&slice(&["10.42.7.2"]))).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 3), names(&["a"]));

        let web = service(json!({}));
        cluster.delete(&web).await;
        assert!(dropped(&client, "10.43.0.10:80"));
    });
}

#[test]
fn ipv6_is_answered_too() {
    let world = World::new();
    world.run(async || {
        let (a, client) = (world.pod(2).await, world.pod(4).await);
        serve(&a, "a");
        let web = service(json!({ "clusterIPs": ["10.43.0.10", "fd43::10"], "sessionAffinity": "ClientIP" }));
        let mut cluster = Cluster::start(config(), &[(web, slice(&["10.42.7.2"]))]).await;
        assert!(refused(&client, "[fd43::10]:80"), "no endpoint of that family");
        cluster.apply(None, Some(&slice(&["fd42::2"]))).await;
        for _ in 0..2 {
            assert_eq!(ask(&client, "[fd43::10]:80").unwrap(), ("a".to_owned(), ip("fd42::4")));
            assert_eq!(ask(&client, "10.43.0.10:80").unwrap(), ("a".to_owned(), ip("10.42.7.4")));
        }
        assert_eq!(ask(&a, "[fd43::10]:80").unwrap().0, "a", "to itself");
        assert_eq!(ask(&world.node, "[fd43::10]:80").unwrap().0, "a");
    });
}

#[test]
fn a_terminating_endpoint_serves_when_nobody_else_does() {
    let world = World::new();
    world.run(async || {
        let (a, b, client) = (world.pod(2).await, world.pod(3).await, world.pod(4).await);
        serve(&a, "a");
        serve(&b, "b");
        let leaving = json!({ "ready": false, "serving": true, "terminating": true });
        let last = slice_with(&["10.42.7.2"], "TCP", leaving);
        let mut cluster = Cluster::start(config(), &[(service(json!({})), last.clone())]).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 3), names(&["a"]));
        let mut both = last;
        both.endpoints.as_mut().unwrap().extend(slice(&["10.42.7.3"]).endpoints.unwrap());
        cluster.apply(None, Some(&both)).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 10), names(&["b"]));
    });
}

#[test]
fn a_client_stays_with_its_endpoint_while_it_is_there() {
    let world = World::new();
    world.run(async || {
        let (a, b, client) = (world.pod(2).await, world.pod(3).await, world.pod(4).await);
        serve(&a, "a");
        serve(&b, "b");
        let web = service(json!({ "sessionAffinity": "ClientIP" }));
        let addresses = ["10.42.7.2", "10.42.7.3"];
        let mut cluster = Cluster::start(config(), &[(web, slice(&addresses))]).await;
        let first = ask(&client, "10.43.0.10:80").unwrap().0;
        assert_eq!(answering(&client, "10.43.0.10:80", 20), names(&[&first]));

        let (gone, other) = if first == "a" { (0, "b") } else { (1, "a") };
        cluster.apply(None, Some(&slice(&[addresses[1 - gone]]))).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 3), names(&[other]), "its endpoint is gone");
        cluster.apply(None, Some(&slice(&addresses))).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 20), names(&[other]), "and is not the one remembered");

        // A restart remembers.
        cluster.supervisor.shutdown().await;
        let web = service(json!({ "sessionAffinity": "ClientIP" }));
        let _cluster = Cluster::start(config(), &[(web, slice(&addresses))]).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 20), names(&[other]));
    });
}

#[test]
fn internal_policy_local_stays_on_the_node() {
    let world = World::new();
    world.run(async || {
        let (a, client) = (world.pod(2).await, world.pod(4).await);
        serve(&a, "a");
        let web = service(json!({ "internalTrafficPolicy": "Local" }));
        let objects = (web, slice(&["10.42.7.2", "192.0.2.2@node-2"]));
        let mut cluster = Cluster::start(config(), &[objects]).await;
        assert_eq!(answering(&client, "10.43.0.10:80", 10), names(&["a"]));
        cluster.apply(None, Some(&slice(&["192.0.2.2@node-2"]))).await;
        assert!(dropped(&client, "10.43.0.10:80"), "there are endpoints, elsewhere");
    });
}

#[test]
fn a_datagram_client_is_sent_to_the_new_endpoint() {
    let world = World::new();
    world.run(async || {
        let (a, b, client) = (world.pod(2).await, world.pod(3).await, world.pod(4).await);
        serve_udp(&a, "a");
        serve_udp(&b, "b");
        let dns = service(json!({ "ports": [{ "name": "http", "port": 53, "protocol": "UDP" }] }));
        let ready = json!({ "ready": true });
        let mut cluster = Cluster::start(config(), &[(dns, slice(&[]))]).await;

        let socket = client.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.connect("10.43.0.10:53").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        let ask = || {
            let mut buffer = [0; 8];
            socket.send(b"?").and_then(|_| socket.recv(&mut buffer)).map(|length| buffer[..length].to_vec())
        };
        assert!(ask().is_err(), "refused");
        cluster.apply(None, Some(&slice_with(&["10.42.7.2"], "UDP", ready.clone()))).await;
        assert_eq!(ask().unwrap(), b"a");
        cluster.apply(None, Some(&slice_with(&["10.42.7.3"], "UDP", ready))).await;
        assert_eq!(ask().unwrap(), b"b", "the same socket, tracked as going to the endpoint that left");
    });
}

/// The kernel lists elements in the order of a hash that differs each time.
fn with_sorted_elements(text: &str) -> String {
    let mut sorted = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("elements = {") {
        let (elements, after) = after.split_once('}').unwrap();
        let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        sorted.push_str(before);
        for element in elements {
            sorted.push_str(&format!("\n\t\t\t{element}"));
        }
        rest = after;
    }
    sorted + rest
}

/// The whole table as people see it. Also shows that the tool can print it.
#[test]
fn the_table_can_be_read() {
    let world = World::new();
    world.run(async || {
        let one_family = proxy::Config {
            service_ranges: vec!["10.43.0.0/16".parse().unwrap()],
            cluster_ranges: vec!["10.42.0.0/16".parse().unwrap()],
            ..config()
        };
        let web = with_ingress(
            service(json!({
                "type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 60 } },
                "loadBalancerSourceRanges": ["10.0.0.0/8", "10.1.0.0/16"],
                "ports": [{ "name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP" }],
            })),
            NODE,
        );
        let objects = (web, slice(&["10.42.7.2", "10.42.7.3", "10.42.8.2@node-2"]));
        let _cluster = Cluster::start(one_family, &[objects]).await;
        let json: serde_json::Value = serde_json::from_str(&world.nft(&["-j", "list", "ruleset"])).unwrap();
        assert!(json["nftables"].as_array().unwrap().len() > 50);
        expect![[r#"
            table inet tiphys {
            	set ip-services {
            		type ipv4_addr . inet_proto . inet_service
		
            			10.43.0.10 . tcp . 80
            			127.0.0.1 . tcp . 80
            			192.0.2.1 . tcp . 80
            	}

            	set ip-external-services {
            		type ipv4_addr . inet_proto . inet_service
		
            			127.0.0.1 . tcp . 80
            			192.0.2.1 . tcp . 80
            	}

            	set ip-masquerade-services {
            		type ipv4_addr . inet_proto . inet_service
            	}

            	map ip-service-endpoints {
            		type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service
		
            			10.43.0.10 . tcp . 80 . 0x00000000 : 10.42.7.2 . 8080
            			10.43.0.10 . tcp . 80 . 0x00000001 : 10.42.7.3 . 8080
            			10.43.0.10 . tcp . 80 . 0x00000002 : 10.42.8.2 . 8080
            			127.0.0.1 . tcp . 80 . 0x00000000 : 10.42.7.2 . 8080
            			127.0.0.1 . tcp . 80 . 0x00000001 : 10.42.7.3 . 8080
            			127.0.0.1 . tcp . 80 . 0x00000002 : 10.42.8.2 . 8080
            			127.0.0.1 . tcp . 80 . 0x00010000 : 10.42.7.2 . 8080
            			127.0.0.1 . tcp . 80 . 0x00010001 : 10.42.7.3 . 8080
            			192.0.2.1 . tcp . 80 . 0x00000000 : 10.42.7.2 . 8080
            			192.0.2.1 . tcp . 80 . 0x00000001 : 10.42.7.3 . 8080
            			192.0.2.1 . tcp . 80 . 0x00000002 : 10.42.8.2 . 8080
            			192.0.2.1 . tcp . 80 . 0x00010000 : 10.42.7.2 . 8080
            			192.0.2.1 . tcp . 80 . 0x00010001 : 10.42.7.3 . 8080
            	}

            	map ip-service-affinity {
            		type ipv4_addr . inet_proto . inet_service . ipv4_addr : ipv4_addr . inet_service
            		size 262144
            		flags dynamic,timeout
            	}

            	map ip-sticky-services {
            		type ipv4_addr . inet_proto . inet_service : verdict
		
            			10.43.0.10 . tcp . 80 : goto ip-service-remember-60
            			127.0.0.1 . tcp . 80 : goto ip-service-remember-60
            			192.0.2.1 . tcp . 80 : goto ip-service-remember-60
            	}

            	set ip-no-endpoint-services {
            		type ipv4_addr . inet_proto . inet_service
            	}

            	set ip-no-local-endpoint-services {
            		type ipv4_addr . inet_proto . inet_service
            	}

            	set ip-cluster-ips {
            		type ipv4_addr
		
            			10.43.0.10
            	}

            	set ip-hairpin {
            		type ipv4_addr . ipv4_addr
		
            			10.42.7.2 . 10.42.7.2
            			10.42.7.3 . 10.42.7.3
            	}

            	set ip-firewall-ips {
            		type ipv4_addr . inet_proto . inet_service
		
            			192.0.2.1 . tcp . 80
            	}

            	set ip-firewall-sources {
            		type ipv4_addr . inet_proto . inet_service . ipv4_addr
            		flags interval
		
            			192.0.2.1 . tcp . 80 . 10.0.0.0/8
            			192.0.2.1 . tcp . 80 . 192.0.2.1
            	}

            	set ip-nodeports {
            		type inet_proto . inet_service
		
            			tcp . 30080
            	}

            	set ip-external-nodeports {
            		type inet_proto . inet_service
		
            			tcp . 30080
            	}

            	set ip-masquerade-nodeports {
            		type inet_proto . inet_service
            	}

            	map ip-nodeport-endpoints {
            		type inet_proto . inet_service . mark : ipv4_addr . inet_service
		
            			tcp . 30080 . 0x00000000 : 10.42.7.2 . 8080
            			tcp . 30080 . 0x00000001 : 10.42.7.3 . 8080
            			tcp . 30080 . 0x00000002 : 10.42.8.2 . 8080
            			tcp . 30080 . 0x00010000 : 10.42.7.2 . 8080
            			tcp . 30080 . 0x00010001 : 10.42.7.3 . 8080
            	}

            	map ip-nodeport-affinity {
            		type inet_proto . inet_service . ipv4_addr : ipv4_addr . inet_service
            		size 262144
            		flags dynamic,timeout
            	}

            	map ip-sticky-nodeports {
            		type inet_proto . inet_service : verdict
		
            			tcp . 30080 : goto ip-nodeport-remember-60
            	}

            	set ip-no-endpoint-nodeports {
            		type inet_proto . inet_service
            	}

            	set ip-no-local-endpoint-nodeports {
            		type inet_proto . inet_service
            	}

            	set ip-services-of-4 {
            		type ipv4_addr . inet_proto . inet_service
		
            			10.43.0.10 . tcp . 80
            			127.0.0.1 . tcp . 80
            			192.0.2.1 . tcp . 80
            	}

            	set ip-services-of-local-2 {
            		type ipv4_addr . inet_proto . inet_service
		
            			127.0.0.1 . tcp . 80
            			192.0.2.1 . tcp . 80
            	}

            	set ip-nodeports-of-4 {
            		type inet_proto . inet_service
		
            			tcp . 30080
            	}

            	set ip-nodeports-of-local-2 {
            		type inet_proto . inet_service
		
            			tcp . 30080
            	}

            	chain ip-service-choose {
            		dnat ip to ip daddr . meta l4proto . th dport . ip saddr map @ip-service-affinity
            		ip daddr . meta l4proto . th dport @ip-services-of-4 goto ip-service-draw-4
            	}

            	chain ip-service-choose-local {
            		dnat ip to ip daddr . meta l4proto . th dport . ip saddr map @ip-service-affinity
            		ip daddr . meta l4proto . th dport @ip-services-of-local-2 goto ip-service-draw-local-2
            	}

            	chain ip-service-external {
            		ip saddr 10.42.0.0/16 goto ip-service-choose
            		fib saddr type local meta mark set meta mark | 0x00004000 goto ip-service-choose
            		goto ip-service-choose-local
            	}

            	chain ip-service {
            		ip daddr . meta l4proto . th dport @ip-external-services goto ip-service-external
            		ip saddr != 10.42.0.0/16 meta mark set meta mark | 0x00004000
            		ip daddr . meta l4proto . th dport @ip-masquerade-services meta mark set meta mark | 0x00004000
            		jump ip-service-choose
            		goto ip-service-choose-local
            	}

            	chain ip-nodeport-choose {
            		dnat ip to meta l4proto . th dport . ip saddr map @ip-nodeport-affinity
            		meta nfproto ipv4 meta l4proto . th dport @ip-nodeports-of-4 goto ip-nodeport-draw-4
            	}

            	chain ip-nodeport-choose-local {
            		dnat ip to meta l4proto . th dport . ip saddr map @ip-nodeport-affinity
            		meta nfproto ipv4 meta l4proto . th dport @ip-nodeports-of-local-2 goto ip-nodeport-draw-local-2
            	}

            	chain ip-nodeport-external {
            		ip saddr 10.42.0.0/16 goto ip-nodeport-choose
            		fib saddr type local meta mark set meta mark | 0x00004000 goto ip-nodeport-choose
            		goto ip-nodeport-choose-local
            	}

            	chain ip-nodeport {
            		meta nfproto ipv4 meta l4proto . th dport @ip-external-nodeports goto ip-nodeport-external
            		ip saddr != 10.42.0.0/16 meta mark set meta mark | 0x00004000
            		meta nfproto ipv4 meta l4proto . th dport @ip-masquerade-nodeports meta mark set meta mark | 0x00004000
            		jump ip-nodeport-choose
            		goto ip-nodeport-choose-local
            	}

            	chain services {
            		ip daddr . meta l4proto . th dport @ip-services goto ip-service
            		fib daddr type local meta nfproto ipv4 meta l4proto . th dport @ip-nodeports goto ip-nodeport
            	}

            	chain endpoints-check {
            		ip daddr . meta l4proto . th dport @ip-no-endpoint-services reject
            		ip daddr . meta l4proto . th dport @ip-no-local-endpoint-services drop
            	}

            	chain nodeports-check {
            		fib daddr type local meta nfproto ipv4 meta l4proto . th dport @ip-no-endpoint-nodeports reject
            		fib daddr type local meta nfproto ipv4 meta l4proto . th dport @ip-no-local-endpoint-nodeports drop
            	}

            	chain cluster-ips-check {
            		ip daddr @ip-cluster-ips reject
            		ip daddr 10.43.0.0/16 drop
            	}

            	chain firewall-check {
            		ip daddr . meta l4proto . th dport . ip saddr @ip-firewall-sources return
            		ip daddr . meta l4proto . th dport @ip-firewall-ips drop
            	}

            	chain remember {
            		meta nfproto ipv4 ct original ip daddr . meta l4proto . ct original proto-dst vmap @ip-sticky-services
            		meta nfproto ipv4 meta l4proto . ct original proto-dst vmap @ip-sticky-nodeports
            	}

            	chain nat-prerouting {
            		type nat hook prerouting priority dstnat; policy accept;
            		jump services
            	}

            	chain nat-output {
            		type nat hook output priority -100; policy accept;
            		jump services
            	}

            	chain nat-postrouting {
            		type nat hook postrouting priority srcnat; policy accept;
            		ct status dnat jump remember
            		meta mark & 0x00004000 != 0x00000000 meta mark set meta mark & 0xffffbfff masquerade fully-random
            		ip saddr . ip daddr @ip-hairpin masquerade fully-random
            	}

            	chain filter-prerouting {
            		type filter hook prerouting priority dstnat - 10; policy accept;
            		ct state new jump firewall-check
            	}

            	chain filter-input {
            		type filter hook input priority -110; policy accept;
            		ct state new jump nodeports-check
            		ct state new jump endpoints-check
            		ct state new ct status dnat jump remember
            	}

            	chain filter-forward {
            		type filter hook forward priority -110; policy accept;
            		ct state new jump endpoints-check
            		ct state new jump cluster-ips-check
            	}

            	chain filter-output {
            		type filter hook output priority -110; policy accept;
            		ct state new jump firewall-check
            	}

            	chain filter-output-after {
            		type filter hook output priority -90; policy accept;
            		ct state new jump endpoints-check
            		ct state new jump cluster-ips-check
            	}

            	chain loopback-guard {
            		type filter hook prerouting priority raw; policy accept;
            		iifname != "lo" ip daddr 127.0.0.0/8 drop
            	}

            	chain ip-service-draw-4 {
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 4 map @ip-service-endpoints
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @ip-service-endpoints
            	}

            	chain ip-service-draw-local-2 {
            		dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 offset 65536 map @ip-service-endpoints
            	}

            	chain ip-nodeport-draw-4 {
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 4 map @ip-nodeport-endpoints
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 2 map @ip-nodeport-endpoints
            	}

            	chain ip-nodeport-draw-local-2 {
            		meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 2 offset 65536 map @ip-nodeport-endpoints
            	}

            	chain ip-service-remember-60 {
            		update @ip-service-affinity { ct original ip daddr . meta l4proto . ct original proto-dst . ct original ip saddr timeout 1m : ip daddr . th dport }
            	}

            	chain ip-nodeport-remember-60 {
            		update @ip-nodeport-affinity { meta l4proto . ct original proto-dst . ct original ip saddr timeout 1m : ip daddr . th dport }
            	}
            }
        "#]].assert_eq(&with_sorted_elements(&world.nft(&["-s", "list", "table", "inet", "tiphys"])));
    });
}
